"""The class for ``[workers] state_store_backend``: translates, delegates, and nothing else.

The contract is Airflow's ``BaseStoreBackend`` (task-sdk 1.3.2 and 1.4.0b2, ``sdk/_shared/state``), as its
accessors use it (``sdk/execution_time/context.py``): ``set`` calls a hook and then writes the row;
``delete`` and ``clear`` remove the rows and then call the backend, except that under
``clear_on_success`` ``clear`` comes first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from airflow.sdk.state import AssetScope, BaseStoreBackend, TaskScope

from offload_backend.address import MAX_KEY, AssetAddress, StateAddress, TaskAddress
from offload_backend.airflow.worker import Worker
from offload_backend.errors import ConfigError, InvalidKeyError
from offload_backend.row import ENVELOPE_KEY, is_json

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["OffloadStateBackend"]

Scope: TypeAlias = TaskScope | AssetScope


class OffloadStateBackend(BaseStoreBackend):  # type: ignore[misc]  # Airflow ships no complete types
    """Large values of task and asset state go to object storage; Airflow keeps a small verified ref.

    Built without arguments; reads its configuration and connects at the first use that needs it. May
    be used from several threads, from an event loop, and on both sides of a fork. The errors it raises
    are those of :mod:`offload_backend.errors`.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def serialize_task_state_store_to_ref(self, *, value: Any, key: str, scope: TaskScope) -> Any:
        """The ref of the stored value, or what Airflow itself keeps for a value that stays in the row."""
        text = self._offload(value, key, scope)
        if _kept_inline(text):
            return super().serialize_task_state_store_to_ref(value=value, key=key, scope=scope)
        return text

    def serialize_asset_state_store_to_ref(self, *, value: Any, key: str, scope: AssetScope) -> Any:
        """As :meth:`serialize_task_state_store_to_ref`, for an asset."""
        text = self._offload(value, key, scope)
        if _kept_inline(text):
            return super().serialize_asset_state_store_to_ref(value=value, key=key, scope=scope)
        return text

    def deserialize_task_state_store_from_ref(self, stored: str) -> Any:
        """The value, verified; also one that Airflow's own common-io backend stored."""
        worker = self._use()
        return worker.resolve(stored, worker.ownership.is_own_task)

    def deserialize_asset_state_store_from_ref(self, stored: str) -> Any:
        """As :meth:`deserialize_task_state_store_from_ref`."""
        worker = self._use()
        return worker.resolve(stored, worker.ownership.is_own_asset)

    # The names of the hooks in Airflow's documents before 3.3.0 was released.
    serialize_task_store_to_ref = serialize_task_state_store_to_ref
    serialize_asset_store_to_ref = serialize_asset_state_store_to_ref
    deserialize_task_store_from_ref = deserialize_task_state_store_from_ref
    deserialize_asset_store_from_ref = deserialize_asset_state_store_from_ref

    def delete(self, scope: Scope, key: str, *, session: Any = None) -> None:
        """Give back the space of a key whose row Airflow has removed; storage trouble is only logged."""
        self._delete(self._dead_of_key(scope, key))

    def clear(self, scope: Scope, *, all_map_indices: bool = False, session: Any = None) -> None:
        """Give back the space of rows that Airflow has removed; storage trouble is only logged.

        Under ``clear_on_success`` the rows may still be there, and a crash before the success is
        reported must leave the next attempt able to resume: then the end of the task gives it back.
        """
        self._delete(self._dead_of_scope(scope))

    async def adelete(self, scope: Scope, key: str, *, session: Any = None) -> None:
        """As :meth:`delete`, away from the event loop."""
        if dead := self._dead_of_key(scope, key):
            await asyncio.to_thread(self._delete, dead)

    async def aclear(self, scope: Scope, *, all_map_indices: bool = False, session: Any = None) -> None:
        """As :meth:`clear`, away from the event loop."""
        if dead := self._dead_of_scope(scope):
            await asyncio.to_thread(self._delete, dead)

    def get(self, scope: Scope, key: str, *, session: Any = None) -> NoReturn:
        """Always :class:`ConfigError`: Airflow asks this only of a server-side backend."""
        raise _not_server_side()

    def set(
        self,
        scope: Scope,
        key: str,
        value: str,
        *,
        expires_at: datetime | None = None,
        session: Any = None,
    ) -> NoReturn:
        """Always :class:`ConfigError`, as :meth:`get`."""
        raise _not_server_side()

    async def aget(self, scope: Scope, key: str, *, session: Any = None) -> NoReturn:
        """Always :class:`ConfigError`, as :meth:`get`."""
        raise _not_server_side()

    async def aset(
        self,
        scope: Scope,
        key: str,
        value: str,
        *,
        expires_at: datetime | None = None,
        session: Any = None,
    ) -> NoReturn:
        """Always :class:`ConfigError`, as :meth:`get`."""
        raise _not_server_side()

    def _offload(self, value: Any, key: str, scope: Scope) -> str:
        check_key(key)
        return self._use().offload(value, address_of(scope), key)

    def _dead_of_key(self, scope: Scope, key: str) -> list[str]:
        return self._worker.dead_of_key(address_of(scope), key) if self._worker else []

    def _dead_of_scope(self, scope: Scope) -> list[str]:
        return self._worker.dead_of_scope(address_of(scope)) if self._worker else []

    def _delete(self, dead: list[str]) -> None:
        if dead:
            self._use().delete(dead)

    def _use(self) -> Worker:
        if self._worker is None:
            worker = Worker()
            self._worker = self._worker or worker
        return self._worker


def address_of(scope: Scope) -> StateAddress:
    """Our address for Airflow's scope, of 3.3 (``map_index``) and of 3.4 (``region_id``, ``region_index``)."""
    if isinstance(scope, TaskScope):
        region_id = getattr(scope, "region_id", None)
        return TaskAddress(scope.dag_id, scope.run_id, scope.task_id, scope.map_index, region_id)
    if isinstance(scope, AssetScope) and (scope.name or scope.uri):
        return AssetAddress(name=scope.name) if scope.name else AssetAddress(uri=scope.uri)
    raise TypeError(f"expected a TaskScope, or an AssetScope with a name or a uri, got {scope!r}")


def check_key(key: str) -> None:
    """Refuse, before a blob is written, a key that Airflow's API (3.3.2, 3.4.0b2) would mishandle.

    ``.`` and ``..`` vanish from the request's path, so that ``delete(".")`` deletes every row of the
    task instance; a line break does not match the route; a lone surrogate cannot be sent; a key longer
    than the column does not fit.
    """
    problem = ""
    if not isinstance(key, str) or not key:
        problem = "is not a text of at least one character"
    elif key in (".", ".."):
        problem = "is a relative path, which Airflow's API resolves to another request"
    elif "\n" in key or "\r" in key:
        problem = "has a line break, which Airflow's API does not find again"
    elif len(key) > MAX_KEY:
        problem = f"has {len(key)} characters, more than the {MAX_KEY} that Airflow's tables hold"
    elif not key.isascii() and any("\ud800" <= char <= "\udfff" for char in key):
        problem = "has a lone surrogate, which cannot be sent to Airflow's API"
    if problem:
        raise InvalidKeyError(f"the key {problem}", key=str(key)[:80], hint="choose another key")


def _kept_inline(text: str) -> bool:
    """Whether Airflow may keep the value in its own way, which is JSON.

    An SDK that keeps inline values as plain JSON would take a user's dict with the envelope's key
    for a ref; such a value is wrapped, as every value is in 3.3.2.
    """
    return is_json(text) and ENVELOPE_KEY not in text


def _not_server_side() -> ConfigError:
    return ConfigError(
        "OffloadStateBackend runs in workers, where only a row knows which blob is the current one",
        hint="set [workers] state_store_backend = offload_backend.airflow.OffloadStateBackend and leave "
        "[state_store] backend at its default",
    )
