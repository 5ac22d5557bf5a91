"""The store and the database that all share, and how a verb of the collector sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from offload_backend.address import StateAddress, parse_blob_name
from offload_backend.blobstore import BlobInfo, Buffer, DeleteReport
from offload_backend.corestore import Row
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.errors import CoreStoreError, StoreError
from offload_backend.rootsource import Hidden, Ledger, Origin, Root, root_of
from offload_backend.stores.memory import MemoryBlobStore
from tests.lifecycle.stateful.turns import Actor

RECENT = timedelta(hours=1)
"""How long a listing may be behind with a blob that was just written or deleted."""


class Store(MemoryBlobStore):
    """Blobs stamped by the store's clock, each with the beginning of its upload."""

    def __init__(self, location: str, now: Callable[[], datetime]) -> None:
        super().__init__(location)
        self.now = now
        self.upload_took = timedelta(0)
        self.gone: dict[str, tuple[BlobInfo, datetime]] = {}
        self.staleness: frozenset[str] = frozenset()

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        super().put(name, chunks)
        self.set_modified(name, self.now() - self.upload_took)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        for name in names:
            if name in self._blobs:
                data, modified = self._blobs[name]
                self.gone[name] = BlobInfo(name, len(data), modified), self.now()
        return super().delete(names)

    def modified(self, name: str) -> datetime:
        return self._blobs[name][1]

    def set_modified(self, name: str, modified: datetime) -> None:
        self._blobs[name] = self._blobs[name][0], modified

    def names(self) -> set[str]:
        return set(self._blobs)

    def blobs(self) -> set[str]:
        return {name for name in self._blobs if parse_blob_name(name)}

    def listed(self, prefix: str) -> list[BlobInfo]:
        """A listing that may be behind with blobs, never with anything else."""
        found = list(super().list(prefix))
        before = self.now() - RECENT
        if "hides" in self.staleness:
            found = [info for info in found if info.modified < before or not parse_blob_name(info.name)]
        if "shows" in self.staleness:
            gone = (info for info, when in self.gone.values() if when >= before and parse_blob_name(info.name))
            found += [info for info in gone if info.name.startswith(prefix)]
        if "repeats" in self.staleness:
            found += found
        return sorted(found, key=lambda info: info.name)


class Database(MemoryCoreStore):
    """Rows stamped by the database's clock, archives of rows, and what a backup holds."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self.clock = now
        self.archives: list[Row] = []
        self.roots = DatabaseRoots(self, "database")

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None = None) -> str | None:
        replaced = super().set(address, key, text, expires_at=expires_at)
        self._rows[address, key] = replace(self._rows[address, key], updated_at=self.clock())
        return replaced

    def now(self) -> datetime:
        return self.clock()

    def texts(self) -> list[str]:
        """Of all rows, archived ones included."""
        return [row.text for row in (*self._rows.values(), *self.archives)]

    def archive(self, row: Row) -> None:
        del self._rows[row.address, row.key]
        self.archives.append(row)

    def backup(self) -> tuple[dict[Any, Row], list[Row], Ledger | None]:
        return dict(self._rows), list(self.archives), self.roots.ledger()

    def restore(self, backup: tuple[dict[Any, Row], list[Row], Ledger | None]) -> None:
        rows, archives, ledger = backup
        self._rows, self.archives, self.roots._ledger = dict(rows), list(archives), ledger


class DatabaseRoots(MemoryRootSource):
    """Roots of rows and archives, in one snapshot; of a kind that can be exported."""

    def __init__(self, database: Database, fingerprint: str) -> None:
        super().__init__(database, fingerprint)
        self.database = database

    def origin(self) -> Origin:
        return replace(super().origin(), kind="sql")

    def record(self, ledger: Ledger) -> None:
        before = self.ledger()
        if before is not None and before.sequence > ledger.sequence:
            raise CoreStoreError("the ledger does not go back")
        super().record(ledger)

    def now(self) -> datetime:
        return self.database.now()

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:
        archived = [root_of(row.text, row.updated_at, "an archive") for row in self.database.archives]
        yield from super().roots(addresses)
        yield from (root for root in archived if root is not None)


class StoreSeen:
    """The store as one verb calls it."""

    def __init__(self, store: Store, actor: Actor, before_delete: Callable[[Sequence[str]], None]) -> None:
        self._store = store
        self._actor = actor
        self._before_delete = before_delete

    @property
    def location(self) -> str:
        return self._store.location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        data = list(chunks)
        self._actor.call(f"put {name}", lambda: self._store.put(name, data), _store_trouble)

    def get(self, name: str) -> Iterator[bytes]:
        yield from self._actor.call(f"get {name}", lambda: list(self._store.get(name)), _store_trouble)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        return self._actor.call(f"get {name}", lambda: self._store.get_range(name, start, length), _store_trouble)

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        self._actor.call(f"get {name}", lambda: self._store.read_into(name, start, buffer, total), _store_trouble)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """Two pages, at different moments."""
        page = self._actor.call(f"list {prefix}", lambda: self._store.listed(prefix), _store_trouble)
        first = page[: (len(page) + 1) // 2]
        yield from first
        if len(page) > 1:
            last = first[-1].name
            rest = self._actor.call("list on", lambda: self._store.listed(prefix), _store_trouble)
            yield from (info for info in rest if info.name >= last)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        outcome = self._actor.turn(f"delete {len(names)}")
        if outcome == "fails":
            raise _store_trouble()
        self._actor.asked.update(names)
        chosen = names[::2] if outcome == "partial" else names
        self._before_delete(chosen)
        report = self._store.delete(chosen)
        if outcome == "answer lost":
            raise _store_trouble()
        return DeleteReport(report.deleted, dict.fromkeys(names[1::2], "SlowDown") if outcome == "partial" else {})


class RootsSeen:
    """The root source as one verb calls it, whatever methods it has."""

    def __init__(self, inner: Any, actor: Actor, on_roots: Callable[[], None]) -> None:
        self._inner = inner
        self._actor = actor
        self._on_roots = on_roots

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:
        wanted = list(addresses)
        yield from self._actor.call("roots", lambda: self._read(wanted), _database_trouble)

    def _read(self, addresses: list[StateAddress]) -> list[Root | Hidden]:
        self._on_roots()
        return list(self._inner.roots(addresses))

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        return lambda *args, **named: self._actor.call(name, lambda: inner(*args, **named), _database_trouble)


def _store_trouble() -> StoreError:
    return StoreError("the store is down", reason="unreachable", retryable=True)


def _database_trouble() -> CoreStoreError:
    return CoreStoreError("the database is down", retryable=True)
