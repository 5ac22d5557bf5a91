"""Backends of others, named by dotted path as in Airflow, in the places of our own."""

from __future__ import annotations

import importlib
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from offload_backend.address import StateAddress, TaskAddress
from offload_backend.codecs.json import JsonCodec, NotJsonError
from offload_backend.codecs.refusal import explain_refusal
from offload_backend.corestore import Row
from offload_backend.errors import ConfigError, CoreStoreError, UnsupportedValueError
from offload_backend.namespace import decoded
from offload_backend.row import ENVELOPE_KEY, envelope, open_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

__all__ = ["BackendCoreStore", "HookedValues"]

TASK_WRITE = ("serialize_task_state_store_to_ref", "serialize_task_store_to_ref")
TASK_READ = ("deserialize_task_state_store_from_ref", "deserialize_task_store_from_ref")
ASSET_WRITE = ("serialize_asset_state_store_to_ref", "serialize_asset_store_to_ref")
ASSET_READ = ("deserialize_asset_state_store_from_ref", "deserialize_asset_store_from_ref")
ALL_HOOKS = (TASK_WRITE, TASK_READ, ASSET_WRITE, ASSET_READ)
"""The released name of each hook, and the one of the design documents."""


class HookedValues:
    """Values by a worker-side backend class with Airflow's hooks, such as that of common-io.

    ``setting`` is where the class was named. Raises :class:`~offload_backend.errors.ConfigError` for a
    class that cannot be used; what the backend itself raises passes through.
    """

    def __init__(self, class_path: str, setting: str) -> None:
        self._backend = _new_instance(class_path, setting)
        self._hooks = {names: _hook(self._backend, names) for names in ALL_HOOKS}
        missing = [names[0] for names, hook in self._hooks.items() if hook is None]
        missing += _missing(self._backend, ("delete", "clear"))
        if missing:
            raise _unusable(class_path, setting, f"has no method {', '.join(missing)}")
        self._scope = _scope_maker(self._backend)

    def write(self, value: Any, address: StateAddress, key: str) -> str:
        """An envelope around what the hook returned, or plain JSON if it returned ``None``.

        Raises :class:`~offload_backend.errors.UnsupportedValueError` for a dictionary whose plain JSON
        would be taken for an envelope.
        """
        hook = self._hooks[TASK_WRITE if isinstance(address, TaskAddress) else ASSET_WRITE]
        ref = hook(value=value, key=key, scope=self._scope(address))
        if ref is None:
            if isinstance(value, dict) and ENVELOPE_KEY in value:
                raise UnsupportedValueError(
                    f"the key {ENVELOPE_KEY!r} would make this dictionary read as a ref",
                    path="value",
                    hint="rename the key, or let the backend store such values and return a ref",
                )
            return _json_text(value)
        if not isinstance(ref, str) or not ref:
            raise ConfigError(
                f"{type(self._backend).__name__} returned no ref but {type(ref).__name__}",
                hint="a serialize hook returns text, or None to keep the value in the row",
            )
        return envelope(ref)

    def read(self, row: Row) -> Any:
        """What the hook makes of the envelope's text; a row without envelope is the value."""
        value = decoded(row.text)
        text = open_envelope(value)
        if text is None:
            return value
        return self._hooks[TASK_READ if isinstance(row.address, TaskAddress) else ASSET_READ](text)

    def replaced(self, address: StateAddress, key: str, text: str) -> None:
        """Nothing: such backends write one place per key again and again."""

    def deleted(self, address: StateAddress, key: str, text: str | None) -> None:  # noqa: ARG002 (the port's)
        """Let the backend delete what it stored."""
        self._backend.delete(self._scope(address), key)

    def cleared(self, address: StateAddress, texts: list[str], *, all_map_indices: bool) -> None:  # noqa: ARG002 (the port's)
        """Let the backend clear what it stored."""
        wide = {"all_map_indices": True} if all_map_indices else {}
        self._backend.clear(self._scope(address), **wide)


class BackendCoreStore:
    """Rows in a server-side backend class, as ``[state_store] backend`` names it.

    What is replaced or removed is not told: such a backend reads and writes in two steps, so nothing
    it returned proves a blob dead. Rows cannot be listed.
    """

    def __init__(self, class_path: str, setting: str = "[state_store] backend") -> None:
        self._backend = _new_instance(class_path, setting)
        if missing := _missing(self._backend, ("get", "set", "delete", "clear")):
            raise _unusable(class_path, setting, f"has no method {', '.join(missing)}")
        self._scope = _scope_maker(self._backend)

    def get(self, address: StateAddress, key: str) -> Row | None:
        """The row, without the times that such a backend does not tell: updated now, never expiring."""
        text = self._backend.get(self._scope(address), key)
        return None if text is None else Row(address, key, text, datetime.now(timezone.utc), None)

    def rows(self, address: StateAddress | None = None) -> Iterator[Row]:  # noqa: ARG002 (the port's)
        """Raises, since it cannot know them all."""
        raise CoreStoreError(
            f"{type(self._backend).__name__} cannot list its rows",
            hint="rows are listed from a core store named by [offload_backend] core_store",
        )

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None) -> None:
        """Insert or replace the row."""
        expiry = {"expires_at": expires_at} if isinstance(address, TaskAddress) else {}
        self._backend.set(self._scope(address), key, text, **expiry)

    def delete(self, address: StateAddress, key: str) -> None:
        """Remove the row."""
        self._backend.delete(self._scope(address), key)

    def clear(self, address: StateAddress, *, all_map_indices: bool = False) -> list[str]:
        """Remove the rows of ``address``, or of its whole task."""
        self._backend.clear(self._scope(address), all_map_indices=all_map_indices)
        return []

    def close(self) -> None:
        """Nothing: the backend has no such method."""


def _new_instance(class_path: str, setting: str) -> Any:
    module_name, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise _unusable(class_path, setting, f"cannot be imported: {error}") from error
    if not isinstance(found, type):
        raise _unusable(class_path, setting, f"is not a class but {type(found).__name__}")
    try:
        return found()
    except TypeError as error:
        raise _unusable(class_path, setting, f"cannot be built without arguments: {error}") from error


def _missing(backend: Any, names: Sequence[str]) -> list[str]:
    return [name for name in names if not callable(getattr(backend, name, None))]


def _hook(backend: Any, names: Sequence[str]) -> Any:
    """The method under the first name that the class defines itself, else an inherited default.

    A class with the older names has the newer ones too, from Airflow's base class, but they keep
    every value in the row.
    """
    base = _airflow_base(backend)
    methods = [getattr(backend, name) for name in names if callable(getattr(backend, name, None))]
    own = [method for method in methods if getattr(base, method.__name__, None) is not _function(method)]
    return next(iter([*own, *methods]), None)


def _function(method: Any) -> Any:
    return getattr(method, "__func__", method)


def _airflow_base(backend: Any) -> type | None:
    return next((kind for kind in type(backend).__mro__ if kind.__name__ == "BaseStoreBackend"), None)


def _scope_maker(backend: Any) -> Callable[[StateAddress], Any]:
    """How to say an address to the backend: in the scopes of the Airflow it was written for, else as it is.

    Airflow's server and SDK have scopes of their own, which do not match each other; the right ones
    are beside the base class that the backend derives from.
    """
    base = _airflow_base(backend)
    module = sys.modules.get(base.__module__ if base else "airflow.sdk.state")
    if module is None or not hasattr(module, "TaskScope"):
        return lambda address: address
    return lambda address: _scope(module, address)


def _scope(module: ModuleType, address: StateAddress) -> Any:
    if not isinstance(address, TaskAddress):
        return module.AssetScope(name=address.name, uri=address.uri)
    place = (address.dag_id, address.run_id, address.task_id, address.map_index)
    return module.TaskScope(*place, address.region_id) if address.region_id else module.TaskScope(*place)


def _unusable(class_path: str, setting: str, why: str) -> ConfigError:
    return ConfigError(
        f"{setting}: {class_path} {why}",
        hint=f"name a subclass of Airflow's BaseStoreBackend in {setting}, or leave it empty",
    )


def _json_text(value: Any) -> str:
    """Such backends keep in rows what JSON holds, and nothing else."""
    try:
        return b"".join(JsonCodec().encode(value)).decode()
    except NotJsonError:
        raise explain_refusal(value) from None
