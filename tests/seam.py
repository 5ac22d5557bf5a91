"""Airflow's real accessors over rows in memory, with any worker-side backend behind them.

The accessors, their order of calls and their envelope are the SDK's own; only the supervisor, and so
the metadata database, is played by :class:`Supervisor`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, context, task_runner
from airflow.sdk.state import TaskScope

TASK = UUID(int=1)
OURS = "offload_backend.airflow.OffloadStateBackend"
PEER = "airflow.providers.common.io.state_store.backend.StateStoreObjectStorageBackend"


class RowRefusedError(RuntimeError):
    """The API server refused the request, as it does for a superseded attempt."""


@dataclass
class Supervisor:
    """Rows by namespace and key, JSON text as in the database; ``refuse`` makes the next write fail."""

    rows: dict[tuple[str, str], str] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    refuse: bool = False

    def send(self, message: Any) -> Any:
        kind = type(message).__name__
        if not kind.endswith(("StateStore", "StateStoreByName", "StateStoreByUri")):
            return None
        verb, space = kind[:3], self._space(message)
        if self.refuse and verb != "Get":
            raise RowRefusedError(kind)
        if verb == "Get":
            return self._get(kind, (space, message.key))
        if verb == "Set":
            self.rows[space, message.key] = json.dumps(message.value)
        elif verb == "Del":
            self.rows.pop((space, message.key), None)
        else:
            self.rows = {at: text for at, text in self.rows.items() if at[0] != space}
        return None

    async def asend(self, message: Any) -> Any:
        return self.send(message)

    def ref(self, key: str, space: str = "task") -> str:
        """What the backend returned for the row."""
        return str(json.loads(self.rows[space, key])["__airflow_state_ref__"])

    def _space(self, message: Any) -> str:
        """One asset has one namespace, whether it is addressed by its name or by its uri."""
        if hasattr(message, "name"):
            return self.assets.get(f"name:{message.name}", f"name:{message.name}")
        if hasattr(message, "uri"):
            return self.assets.get(f"uri:{message.uri}", f"uri:{message.uri}")
        return "task"

    def _get(self, kind: str, at: tuple[str, str]) -> Any:
        is_task = "Task" in kind
        if at not in self.rows:
            error = ErrorType.TASK_STORE_NOT_FOUND if is_task else ErrorType.ASSET_STORE_NOT_FOUND
            return comms.ErrorResponse(error=error)
        result = comms.TaskStateStoreResult if is_task else comms.AssetStateStoreResult
        return result(value=json.loads(self.rows[at]))


@dataclass
class Seam:
    """One worker process's view: accessors, the rows behind them, and a restart that forgets all caches."""

    supervisor: Supervisor

    def task(self, dag_id: str = "d", run_id: str = "r", task_id: str = "t", map_index: int = -1) -> Any:
        scope = TaskScope(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
        return context.TaskStateStoreAccessor(ti_id=TASK, scope=scope)

    def asset(self, **name_or_uri: str) -> Any:
        return context.AssetStateStoreAccessor(**name_or_uri)

    def backend(self) -> Any:
        return context._get_worker_state_store_backend()

    def restart(self) -> None:
        """What a new worker process begins with."""
        context._get_worker_state_store_backend.cache_clear()
        try:
            from airflow.providers.common.io.state_store import backend as peer
        except ImportError:
            return
        for cached in (peer._get_base_path, peer._get_compression, peer._get_threshold):
            cached.cache_clear()
        from airflow.sdk.io import store
        from fsspec.spec import AbstractFileSystem

        store._STORE_CACHE.clear()
        AbstractFileSystem.clear_instance_cache()


def start(monkeypatch: Any, backend: str) -> Seam:
    """A seam with the backend configured as a user would, by its class name."""
    monkeypatch.setenv("AIRFLOW__WORKERS__STATE_STORE_BACKEND", backend)
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    seam = Seam(supervisor)
    seam.restart()
    return seam
