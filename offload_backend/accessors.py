"""Task stores and asset stores, with the behaviour of Airflow's accessors."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from offload_backend import NEVER_EXPIRE
from offload_backend.address import AssetAddress

if TYPE_CHECKING:
    from typing_extensions import Self

    from offload_backend.namespace import Namespace

__all__ = ["AssetStore", "AssetStores", "TaskStore", "asset_address"]


class TaskStore:
    """The state of one task instance: kept across its retries, unseen by other runs.

    Values are what JSON can hold and what ``docs/types.md`` names, of any size, and come back equal, type for
    type. Blobs are encrypted only with ``encryption_keys``, rows never are: store no secrets.

    As a context manager it is the task's own life: leaving the block normally is the task's success,
    which clears the state if ``[state_store] clear_on_success`` says so; an exception keeps it for
    the retry.
    """

    def __init__(self, namespace: Namespace, retention_days: int, *, clear_on_success: bool) -> None:
        self._namespace = namespace
        self._retention_days = retention_days
        self._clear_on_success = clear_on_success

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default`` if the key does not exist. An expired key exists until it is removed.

        Raises an :class:`~offload_backend.errors.OffloadError` when the value cannot be had whole.
        """
        return self._namespace.get(key, default)

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Write or overwrite the value; when this returns, it is durable and what ``get`` gives.

        The key expires ``retention`` from now; after ``[state_store] default_retention_days`` if that is
        ``None``; never if it is ``NEVER_EXPIRE``. As in Airflow, a ``retention`` of nothing or less is
        a key that has expired already. Raises ``ValueError`` for a value of ``None``, ``TypeError`` for
        another kind of ``retention``, :class:`~offload_backend.errors.UnsupportedValueError` for a value
        that would not come back equal.
        """
        _refuse_none(value)
        self._namespace.set(key, value, self._expires_at(retention))

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if it does not exist."""
        self._namespace.delete(key)

    def clear(self, *, all_map_indices: bool = False) -> None:
        """Remove every key of this map index, or of every map index of the task in this run."""
        self._namespace.clear(all_map_indices=all_map_indices)

    async def aget(self, key: str, default: Any = None) -> Any:
        """As :meth:`get`, in a thread beside the event loop."""
        return await asyncio.to_thread(self.get, key, default)

    async def aset(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """As :meth:`set`, in a thread beside the event loop. Cancelled, it may yet be carried out."""
        await asyncio.to_thread(self.set, key, value, retention=retention)

    async def adelete(self, key: str) -> None:
        """As :meth:`delete`, likewise."""
        await asyncio.to_thread(self.delete, key)

    async def aclear(self, *, all_map_indices: bool = False) -> None:
        """As :meth:`clear`, likewise."""
        await asyncio.to_thread(self.clear, all_map_indices=all_map_indices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._clear_on_success:
            self.clear()

    def __repr__(self) -> str:
        return f"<TaskStore of {self._namespace.address}>"

    def _expires_at(self, retention: timedelta | None) -> datetime | None:
        if retention is not None and not isinstance(retention, timedelta):
            raise TypeError(f"retention is a datetime.timedelta or NEVER_EXPIRE, not {type(retention).__name__}")
        if retention == NEVER_EXPIRE or (retention is None and self._retention_days == 0):
            return None
        try:
            lasting = timedelta(days=self._retention_days) if retention is None else retention
            return datetime.now(timezone.utc) + lasting
        except OverflowError:
            raise ValueError("retention ends after the year 9999; use NEVER_EXPIRE") from None


class AssetStore:
    """The state of one asset: kept across runs, for every task that has the asset, without expiry.

    Values are as those of :class:`TaskStore`.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default`` if the key does not exist."""
        return self._namespace.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Write or overwrite the value, which is durable when this returns; ``None`` is a ``ValueError``."""
        _refuse_none(value)
        self._namespace.set(key, value, None)

    def delete(self, key: str) -> None:
        """Remove the key; nothing happens if it does not exist."""
        self._namespace.delete(key)

    def clear(self) -> None:
        """Remove every key of the asset."""
        self._namespace.clear(all_map_indices=False)

    async def aget(self, key: str, default: Any = None) -> Any:
        """As :meth:`get`, in a thread beside the event loop."""
        return await asyncio.to_thread(self.get, key, default)

    async def aset(self, key: str, value: Any) -> None:
        """As :meth:`set`, in a thread beside the event loop. Cancelled, it may yet be carried out."""
        await asyncio.to_thread(self.set, key, value)

    async def adelete(self, key: str) -> None:
        """As :meth:`delete`, likewise."""
        await asyncio.to_thread(self.delete, key)

    async def aclear(self) -> None:
        """As :meth:`clear`, likewise."""
        await asyncio.to_thread(self.clear)

    def __repr__(self) -> str:
        return f"<AssetStore of {self._namespace.address}>"


class AssetStores:
    """The asset stores of one task, by asset: those among its inlets and outlets.

    An asset is a name, an :class:`~offload_backend.address.AssetAddress`, or any object with a ``name``
    or a ``uri``, such as Airflow's ``Asset``, ``AssetNameRef`` and ``AssetUriRef``. An ``AssetAlias`` is
    no concrete asset and has no state.

    With exactly one concrete asset in all, ``get``, ``set``, ``delete`` and ``clear`` work without
    naming it; with none or several they raise ``ValueError``.
    """

    def __init__(self, stores: dict[AssetAddress, AssetStore]) -> None:
        self._stores = stores

    def __getitem__(self, asset: object) -> AssetStore:
        address = asset_address(asset)
        if address is None:
            raise TypeError(f"{asset!r} is an alias, not a concrete asset")
        try:
            return self._stores[address]
        except KeyError:
            raise KeyError(f"{asset!r} is not among this task's inlets and outlets") from None

    def __len__(self) -> int:
        return len(self._stores)

    def get(self, key: str, default: Any = None) -> Any:
        """As :meth:`AssetStore.get` of the only asset."""
        return self._only().get(key, default)

    def set(self, key: str, value: Any) -> None:
        """As :meth:`AssetStore.set` of the only asset."""
        self._only().set(key, value)

    def delete(self, key: str) -> None:
        """As :meth:`AssetStore.delete` of the only asset."""
        self._only().delete(key)

    def clear(self) -> None:
        """As :meth:`AssetStore.clear` of the only asset."""
        self._only().clear()

    async def aget(self, key: str, default: Any = None) -> Any:
        """As :meth:`AssetStore.aget` of the only asset."""
        return await self._only().aget(key, default)

    async def aset(self, key: str, value: Any) -> None:
        """As :meth:`AssetStore.aset` of the only asset."""
        await self._only().aset(key, value)

    async def adelete(self, key: str) -> None:
        """As :meth:`AssetStore.adelete` of the only asset."""
        await self._only().adelete(key)

    async def aclear(self) -> None:
        """As :meth:`AssetStore.aclear` of the only asset."""
        await self._only().aclear()

    def __repr__(self) -> str:
        return f"<AssetStores of {', '.join(map(str, self._stores)) or 'no asset'}>"

    def _only(self) -> AssetStore:
        if len(self._stores) != 1:
            raise ValueError(
                f"the task has {len(self._stores)} concrete inlets and outlets; "
                "say which asset is meant: asset_stores[asset]"
            )
        return next(iter(self._stores.values()))


def asset_address(asset: object) -> AssetAddress | None:
    """The address of the asset, ``None`` for an alias, ``TypeError`` for what is no asset."""
    if isinstance(asset, AssetAddress):
        return asset
    if any(kind.__name__ == "AssetAlias" for kind in type(asset).__mro__):
        return None
    name = asset if isinstance(asset, str) else getattr(asset, "name", None)
    uri = getattr(asset, "uri", None)
    if isinstance(name, str) and name:
        return AssetAddress(name=name)
    if isinstance(uri, str) and uri:
        return AssetAddress(uri=uri)
    raise TypeError(f"an asset is a name, or an object with a name or a uri, not {type(asset).__name__}")


def _refuse_none(value: object) -> None:
    if value is None:
        raise ValueError("None cannot be stored; delete the key instead")
