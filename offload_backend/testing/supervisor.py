"""Airflow's supervisor, as far as a task's state goes: answers what the accessors ask, over rows in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.errors import CoreStoreError

if TYPE_CHECKING:
    from offload_backend.testing.tasks import FaultyRows

__all__ = ["Supervisor"]


class Supervisor:
    """Stands where a task has the connection to its supervisor, and behind that the API server (3.3.2, 3.4.0b2).

    Of a task instance, the attempt that was started last is the current one. An earlier one that still runs finds
    no keys and changes nothing, as in Airflow. What is not about state gets the answer that it was not found.
    """

    def __init__(self, rows: FaultyRows) -> None:
        self._rows = rows
        self._addresses: dict[UUID, TaskAddress] = {}
        self._current: dict[TaskAddress, UUID] = {}
        self._superseded: set[UUID] = set()
        self._assets: dict[AssetAddress, Asset] = {}

    def started(self, address: TaskAddress) -> UUID:
        """The id of a new attempt, which supersedes the one before it."""
        if address in self._current:
            self._superseded.add(self._current[address])
        ti_id = self._current[address] = self.looking(address)
        return ti_id

    def looking(self, address: TaskAddress) -> UUID:
        """An id for who looks at the task's state from outside; it is never superseded."""
        ti_id = uuid4()
        self._addresses[ti_id] = address
        return ti_id

    def knows(self, assets: Iterable[Any]) -> None:
        """The assets among these are in the database: name and uri of each are the same one."""
        for asset in assets:
            if isinstance(asset, Asset):
                self._assets[AssetAddress(name=asset.name)] = self._assets[AssetAddress(uri=asset.uri)] = asset

    def send(self, message: Any) -> Any:
        """The answer; raises ``AirflowRuntimeError`` where the API server refuses to change a row."""
        verb, kind, _ = type(message).__name__.partition("TaskStateStore")
        if kind:
            if message.ti_id in self._superseded:
                return _superseded(verb, message)
            return self._answer(verb, message, self._addresses[message.ti_id])
        verb, kind, _ = type(message).__name__.partition("AssetStateStoreBy")
        if kind:
            return self._answer(verb, message, self._asset_address(message))
        return self._about_something_else(message)

    async def asend(self, message: Any) -> Any:
        """As :meth:`send`."""
        return self.send(message)

    def _answer(self, verb: str, message: Any, address: StateAddress) -> Any:
        if verb == "Get":
            row = self._rows.get(address, message.key)
            if row is None:
                return _not_found(message)
            result = comms.TaskStateStoreResult if hasattr(message, "ti_id") else comms.AssetStateStoreResult
            return result(value=json.loads(row.text))
        try:
            if verb == "Set":
                expires_at = getattr(message, "expires_at", None)
                self._rows.set(address, message.key, json.dumps(message.value), expires_at=expires_at)
            elif verb == "Delete":
                self._rows.delete(address, message.key)
            else:
                self._rows.clear(address)
        except CoreStoreError:
            raise _refusal(500) from None
        return comms.OKResponse(ok=True)

    def _asset_address(self, message: Any) -> AssetAddress:
        name, uri = getattr(message, "name", None), getattr(message, "uri", None)
        address = AssetAddress(name, uri)
        known = self._assets.get(address)
        return AssetAddress(name=known.name) if known else address

    def _about_something_else(self, message: Any) -> Any:
        kind = type(message).__name__
        if kind in ("GetAssetByName", "GetAssetByUri"):
            known = self._assets.get(AssetAddress(getattr(message, "name", None), getattr(message, "uri", None)))
            if known is not None:
                return comms.AssetResult(name=known.name, uri=known.uri, group=known.group)
            return comms.ErrorResponse(error=ErrorType.ASSET_NOT_FOUND)
        if kind.startswith("Get"):
            known_error = _NOT_FOUND.get(kind, ErrorType.GENERIC_ERROR)
            detail = {"message": f"offload_airflow stands in for state alone; nobody answers {kind}"}
            return comms.ErrorResponse(error=known_error, detail=detail)
        return None


_NOT_FOUND = {"GetConnection": ErrorType.CONNECTION_NOT_FOUND, "GetVariable": ErrorType.VARIABLE_NOT_FOUND}


def _not_found(message: Any) -> Any:
    kind = "TASK" if hasattr(message, "ti_id") else "ASSET"
    return comms.ErrorResponse(error=ErrorType[f"{kind}_STORE_NOT_FOUND"], detail={"key": message.key})


def _superseded(verb: str, message: Any) -> Any:
    """The server answers 404 to both; that of a read is taken for a missing key, as of 3.3.2."""
    if verb == "Get":
        return _not_found(message)
    raise _refusal(404)


def _refusal(status: int) -> Exception:
    answer = comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status})
    error: Exception = AirflowRuntimeError(answer)
    return error
