"""A whole deployment in memory with three clocks: the store's, the database's and this machine's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from offload_backend.address import StateAddress, TaskAddress, blob_name, new_blob_id, parse_blob_name
from offload_backend.blobstore import BlobInfo, BlobStore, Buffer, DeleteReport
from offload_backend.corestore import Row
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.errors import RefusedError, StoreError
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.report import MarkReport, PurgeReport
from offload_backend.location import relative_name
from offload_backend.offloader import Offloader
from offload_backend.ref import parse_ref
from offload_backend.rootsource import Hidden, Ledger, Origin, Root, RootSource
from offload_backend.row import row_text
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore

LOCATION = "s3://bucket/prefix"
TASK = TaskAddress("dag", "run", "task")
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class SimulatedStore(MemoryBlobStore):
    """A memory store with a clock of its own; its listings may repeat entries or leave some out."""

    def __init__(self, clock: Clock, location: str = LOCATION) -> None:
        super().__init__(location)
        self.clock = clock
        self.stale: dict[str, BlobInfo] = {}
        self.unlisted: set[str] = set()
        self.undeletable: set[str] = set()
        self.speechless: set[str] = set()
        self.deleted: list[str] = []
        self.cut: int | None = None

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        super().put(name, chunks)
        self.set_modified(name, self.clock())

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        for number, info in enumerate(super().list(prefix)):
            if self.cut is not None and number >= self.cut and prefix.count("/") == 2:
                raise StoreError("the listing broke off", reason="unreachable", retryable=True)
            if info.name not in self.unlisted:
                yield info
                if info.name in self.stale:
                    yield self.stale[info.name]

    def delete(self, names: Sequence[str]) -> DeleteReport:
        refused = {name: "AccessDenied" for name in names if name in self.undeletable}
        silent = self.speechless & set(names)
        report = super().delete([name for name in names if name not in refused and name not in silent])
        self.deleted += report.deleted
        return DeleteReport(report.deleted, refused)

    def set_modified(self, name: str, modified: datetime) -> None:
        self._blobs[name] = (self._blobs[name][0], modified)

    def replace(self, name: str, data: bytes) -> None:
        """Change a blob behind everybody's back, its time as well."""
        self._blobs[name] = (data, self.clock())

    def lose(self, name: str) -> None:
        del self._blobs[name]

    def names(self) -> list[str]:
        return sorted(self._blobs)

    def blobs(self) -> set[str]:
        """The names that are blobs'."""
        return {name for name in self._blobs if parse_blob_name(name)}

    def control(self, part: str = "") -> list[str]:
        """The names of control objects with this in them."""
        return [name for name in self.names() if "/_gc/" in name and part in name]


class SimulatedCoreStore(MemoryCoreStore):
    """Rows stamped by the database's own clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None = None) -> str | None:
        replaced = super().set(address, key, text, expires_at=expires_at)
        self._rows[address, key] = replace(self._rows[address, key], updated_at=self.clock())
        return replaced

    def copy_rows(self) -> dict[Any, Row]:
        return dict(self._rows)

    def put_rows(self, rows: dict[Any, Row]) -> None:
        self._rows = dict(rows)


class SimulatedRoots(MemoryRootSource):
    """The roots, with whatever may be wrong with them."""

    def __init__(self, core_store: MemoryCoreStore, fingerprint: str = "database") -> None:
        super().__init__(core_store, fingerprint)
        self.replica = False
        self.read_at: datetime | None = None
        self.asked: list[StateAddress] = []
        self.tamper: Callable[[Iterator[Root | Hidden]], Iterable[Root | Hidden]] = iter
        self.before_roots: Callable[[], None] = lambda: None
        self.by_address = False

    def origin(self) -> Origin:
        return replace(super().origin(), replica=self.replica, read_at=self.read_at)

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:
        self.before_roots()
        if self.by_address:
            self.asked = list(addresses)
        yield from self.tamper(super().roots(()))


@dataclass
class Site:
    """A deployment: its blobs, its rows, its three clocks, and the collector."""

    settings: Settings = field(
        default_factory=lambda: Settings.load(
            {"path": LOCATION, "deployment": "prod", "inline_limit": 0, "gc_max_ratio": 1.0}
        )
    )
    hooks: Hooks = field(default_factory=Hooks)

    def __post_init__(self) -> None:
        self.store_clock, self.local_clock, self.database_clock = Clock(), Clock(), Clock()
        self.store = SimulatedStore(self.store_clock, self.settings.path)
        self.outer: BlobStore = self.store
        self.core_store = SimulatedCoreStore(self.database_clock)
        self.roots: Any = SimulatedRoots(self.core_store)
        self.offloader = Offloader(self.settings, lambda _: self.store)
        self.number = 0

    @property
    def collector(self) -> Collector:
        roots: RootSource = self.roots
        return Collector(self.settings, self.outer, roots, self.hooks, self.local_clock)

    def configure(self, **changes: Any) -> None:
        self.settings = self.settings.replaced(changes)

    def wait(self, duration: timedelta) -> None:
        for clock in (self.store_clock, self.local_clock, self.database_clock):
            clock.now += duration

    def upload(self, address: StateAddress = TASK, key: str = "") -> str:
        """A blob without a row: its ref."""
        self.number += 1
        return self.offloader.offload({"n": self.number}, address, key or f"key-{self.number}")

    def commit(self, ref: str, address: StateAddress = TASK, key: str = "") -> None:
        self.core_store.set(address, key or f"row-{blob_id(ref)}", row_text(ref), expires_at=None)

    def unlink(self, ref: str, address: StateAddress = TASK, key: str = "") -> None:
        assert self.core_store.delete(address, key or f"row-{blob_id(ref)}") is not None

    def live(self, count: int = 1) -> list[str]:
        """Blobs with rows."""
        refs = [self.upload() for _ in range(count)]
        for ref in refs:
            self.commit(ref)
        return refs

    def orphans(self, count: int = 1) -> list[str]:
        return [self.upload() for _ in range(count)]

    def litter(self, count: int) -> None:
        """Many small orphans, quickly."""
        for number in range(count):
            self.store.put(blob_name("prod", TASK, f"litter-{number}", new_blob_id(), "json.zst"), [b"1"])

    def adopt(self, *accept: str) -> Any:
        return adopt(self.collector, accept)

    def mark(self, *accept: str) -> MarkReport:
        return mark(self.collector, accept)

    def purge(self, *accept: str, delete: bool = True) -> PurgeReport:
        return purge(self.collector, delete=delete, accept=accept)

    def has(self, ref: str) -> bool:
        return name_of(ref) in self.store.blobs()

    def refused(self, run: Callable[[], object]) -> list[str]:
        """The rules by which the run is refused; nothing is deleted, and each refusal tells all it has to."""
        before, deleted = self.store.blobs(), list(self.store.deleted)
        with pytest.raises(RefusedError) as caught:
            run()
        for refusal in caught.value.refusals:
            assert refusal.measured
            assert refusal.limit
            assert refusal.override
            assert str(refusal) in str(caught.value)
        assert self.store.blobs() == before
        assert [name for name in self.store.deleted[len(deleted) :] if parse_blob_name(name)] == []
        return [refusal.rule for refusal in caught.value.refusals]


def matured() -> tuple[Site, list[str], list[str]]:
    """An adopted site whose old orphans are marked and out of quarantine: site, live refs, orphans' refs."""
    site = Site()
    site.adopt()
    live, orphans = site.live(8), site.orphans(2)
    site.wait(4 * DAY)
    site.mark()
    site.wait(8 * DAY)
    return site, live, orphans


def name_of(ref: str, location: str = LOCATION) -> str:
    parsed = parse_ref(ref)
    assert parsed is not None
    name = relative_name(parsed.url, location)
    assert name is not None
    return name


def blob_id(ref: str) -> str:
    url = ref.partition("#")[0]
    return url.rpartition("/")[2].partition(".")[0]


def ledger_at(roots: MemoryRootSource, sequence: int) -> None:
    """Set the database's ledger back, or forward."""
    ledger = roots.ledger()
    assert ledger is not None
    roots.record(Ledger(sequence, ledger.canary))


def as_text(report: Any) -> str:
    """The report's JSON, which must be possible."""
    return json.dumps(report.as_json())
