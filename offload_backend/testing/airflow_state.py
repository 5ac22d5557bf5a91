"""State under test with Airflow's own accessors, over the backend as ``[workers] state_store_backend`` names it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import listener
from airflow.sdk._shared.listeners.listener import ListenerManager
from airflow.sdk._shared.listeners.spec import lifecycle
from airflow.sdk.execution_time import context as accessors
from airflow.sdk.execution_time import task_runner
from airflow.sdk.state import TaskScope

from offload_backend.airflow import worker
from offload_backend.airflow.configuration import clears_on_success, load_settings
from offload_backend.testing.state_faults import Killed
from offload_backend.testing.supervisor import Supervisor
from offload_backend.testing.tasks import StateUnderTest, TaskUnderTest

if TYPE_CHECKING:
    from offload_backend.address import TaskAddress
    from offload_backend.settings import Settings
    from offload_backend.testing.state_faults import StateFaults

__all__ = ["AirflowState", "airflow_state"]

_BACKEND = "offload_backend.airflow.OffloadStateBackend"


@contextmanager
def airflow_state(settings: Mapping[str, Any], faults: StateFaults) -> Iterator[AirflowState]:
    """The state, for as long as the block lasts; Airflow's configuration counts, with ``settings`` over it."""
    state = AirflowState(load_settings().replaced(settings), faults)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__WORKERS__STATE_STORE_BACKEND", _BACKEND)
        patch.setattr(worker, "load_settings", lambda: state.settings)
        patch.setattr(worker, "open_store", lambda path, _: state.open_store(path))
        patch.setattr(task_runner, "SUPERVISOR_COMMS", state.supervisor, raising=False)
        forget_backend()
        yield state
    forget_backend()


def forget_backend() -> None:
    """As in a process that has just been started."""
    accessors._get_worker_state_store_backend.cache_clear()  # noqa: SLF001 - Airflow has no other way


class AirflowState(StateUnderTest):
    """The supervisor, and with it the database, is played by a :class:`Supervisor`; all else is Airflow's.

    What an overwritten or deleted row let go of is no orphan here, though it may stay: in production, the collector
    takes what no attempt could prove dead.
    """

    def __init__(self, settings: Settings, faults: StateFaults) -> None:
        super().__init__(settings, faults)
        self.supervisor = Supervisor(self.rows)

    def task_store(self, address: TaskAddress) -> Any:
        """See :class:`StateUnderTest`."""
        return accessors.TaskStateStoreAccessor(self.supervisor.looking(address), _scope(address))

    def asset_store(self, *, name: str | None = None, uri: str | None = None) -> Any:
        """See :class:`StateUnderTest`."""
        return accessors.AssetStateStoreAccessor(name=name, uri=uri)

    def let_go(self) -> Collection[str]:
        """See :class:`StateUnderTest`."""
        return self.rows.committed

    @contextmanager
    def attempt(self, task: TaskUnderTest, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """See :class:`StateUnderTest`. As in a task, the context is the current one."""
        forget_backend()
        context = self._context(task) | more
        listeners = ListenerManager()
        listeners.add_hookspecs(lifecycle)
        with pytest.MonkeyPatch.context() as patch, accessors.set_current_context(context):
            patch.setattr(listener, "get_listener_manager", lambda: listeners)
            try:
                yield context
                if clears_on_success():
                    context["task_state_store"]._clear_backend_only()  # noqa: SLF001 - as Airflow's task runner does
                    self.rows.clear(task.address)  # and then its API server
            except Killed:
                raise
            except BaseException:
                listeners.hook.before_stopping(component=None)
                raise
            listeners.hook.before_stopping(component=None)

    def _context(self, task: TaskUnderTest) -> dict[str, Any]:
        address = task.address
        ti = SimpleNamespace(
            id=self.supervisor.started(address),
            dag_id=address.dag_id,
            run_id=address.run_id,
            task_id=address.task_id,
            map_index=address.map_index,
            try_number=task.try_number,
        )
        context = {"ti": ti, "task_instance": ti, "run_id": address.run_id}
        context |= {"inlets": task.inlets, "outlets": task.outlets}
        context["task_state_store"] = accessors.TaskStateStoreAccessor(ti.id, _scope(address))
        self.supervisor.knows([*task.inlets, *task.outlets])
        if task.inlets or task.outlets:
            context["asset_state_store"] = accessors.AssetStateStoreAccessors(task.inlets, task.outlets)
        return context


def _scope(address: TaskAddress) -> TaskScope:
    return TaskScope(
        dag_id=address.dag_id, run_id=address.run_id, task_id=address.task_id, map_index=address.map_index
    )
