"""Which ref does a row hold now? Asked of the supervisor, as Airflow's own accessors ask it (3.3.2, 3.4.0b2).

A row that is not found and an attempt that was superseded get the same answer: the supervisor makes
``TASK_STORE_NOT_FOUND`` with the key that was asked for of any 404. Only a request that changes something
tells them apart: it succeeds for the current attempt, and fails for any other.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any, NamedTuple
from urllib.parse import unquote

from airflow.sdk.execution_time import comms

from offload_backend.address import AssetAddress, BlobName, StateAddress, blob_scope
from offload_backend.airflow.running import address_of_ti, running
from offload_backend.row import open_envelope

__all__ = ["Place", "RowNow", "Rows", "on_event_loop", "place_for", "place_of"]

_HASHED = "~"


class Place(NamedTuple):
    """Where a row is, in the words of Airflow's messages: of this task instance, or of an asset."""

    key: str
    ti_id: uuid.UUID | None = None
    asset: AssetAddress | None = None

    def question(self, key: str) -> Any:
        """The message that reads the row of the key beside this one."""
        if self.asset is None:
            return comms.GetTaskStateStore(ti_id=self.ti_id, key=key)
        if self.asset.name is not None:
            return comms.GetAssetStateStoreByName(name=self.asset.name, key=key)
        return comms.GetAssetStateStoreByUri(uri=self.asset.uri, key=key)


class RowNow(NamedTuple):
    """What a row says: the text in its envelope, empty if it has none; ``None`` if it was not found.

    ``plain`` is the value in a row that has none.
    """

    named: str | None
    plain: Any = None


class Rows:
    """Reads rows back, in the process that made it. Trouble proves nothing, and is never raised.

    Exceptions that are no :class:`Exception`, such as a task's time-out, pass through.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._is_torn = False

    def read(self, place: Place) -> RowNow | None:
        """The row, or ``None`` if it cannot be told."""
        answer = self.ask(place.question(place.key))
        if isinstance(answer, (comms.TaskStateStoreResult, comms.AssetStateStoreResult)):
            text = open_envelope(answer.value)
            return RowNow("", answer.value) if text is None else RowNow(text)
        return RowNow(None) if _is_not_found(answer, place.key) else None

    def is_in_step(self, place: Place) -> bool:
        """Whether the next answer will be the one to the next question, and not to an earlier one.

        A key that nobody can have asked for before is asked for; the answer repeats it.
        """
        unheard = f"offload-backend-{uuid.uuid4()}"
        return _is_not_found(self.ask(place.question(unheard)), unheard)

    def is_gone(self, place: Place) -> bool:
        """Whether the row, which was not found, is gone: then deleting it once more succeeds."""
        if place.ti_id is None:
            return False
        answer = self.ask(comms.DeleteTaskStateStore(ti_id=place.ti_id, key=place.key))
        return isinstance(answer, comms.OKResponse) and answer.ok

    def ask(self, message: Any) -> Any:
        """The answer to any question, or ``None`` without one."""
        from airflow.sdk.exceptions import AirflowRuntimeError

        if self._is_torn or self._pid != os.getpid():
            return None
        try:
            from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

            return SUPERVISOR_COMMS.send(message)
        except (AirflowRuntimeError, comms.DeadlockImminentError, ImportError):
            return None  # refused by the server, or before anything was sent; or nobody is there to be asked
        except Exception:  # noqa: BLE001 - no task may fail because a row could not be read back
            self._is_torn = True
            return None
        except BaseException:
            self._is_torn = True
            raise


def place_for(address: StateAddress, key: str) -> Place | None:
    """The place of the row; ``None`` where no task runs, as in a triggerer, and for another task's state."""
    ti = running("ti")
    if ti is None:
        return None
    if isinstance(address, AssetAddress):
        return Place(key, asset=address)
    return Place(key, ti_id=ti.id) if address_of_ti(ti) == address else None


def place_of(blob: BlobName) -> Place | None:
    """The place of the row that a blob's name tells; ``None`` where it does not tell it all.

    Of a task's state only the place of the task that runs here is known; of an asset's, in a trigger as well.
    """
    if _HASHED in blob.key:
        return None
    key = unquote(blob.key)
    kind, _, asset = blob.scope.removeprefix("asset/").partition("=")
    if blob.scope.startswith("asset/"):
        return None if _HASHED in asset else Place(key, asset=AssetAddress(**{kind: unquote(asset)}))
    ti = running("ti")
    is_own = ti is not None and blob.scope == blob_scope(address_of_ti(ti), "")[0]
    return Place(key, ti_id=ti.id) if is_own else None


def on_event_loop() -> bool:
    """Whether this thread runs an event loop, on which nothing may wait for an answer."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_not_found(answer: Any, key: str) -> bool:
    from airflow.sdk.exceptions import ErrorType

    absent = (ErrorType.TASK_STORE_NOT_FOUND, ErrorType.ASSET_STORE_NOT_FOUND)
    return (
        isinstance(answer, comms.ErrorResponse)
        and answer.error in absent
        and (answer.detail or {}).get("key") == key
    )
