"""What is done while something goes wrong, in a deployment that was made for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.corestores import sql
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.expire import expire
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.purge import purge
from offload_backend.namespace import OffloadedValues
from offload_backend.offloader import Offloader
from offload_backend.row import row_text
from offload_backend.settings import Settings
from offload_backend.state import StateStores
from offload_backend.stores import opening
from tests.drills.worker import clock_ahead
from tests.faults.places import MIB, Objects, Place
from tests.lifecycle.simulation import Clock, SimulatedStore

TASK = ("dag", "run", "task")
ADDRESS = TaskAddress(*TASK)
KEPT = AssetAddress(name="asset")
PATIENCE = timedelta(days=4)
"""More than ``gc_min_age``."""
QUARANTINE = timedelta(days=8)
"""More than ``gc_quarantine``."""


def noise(word: str, size: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(word).randbytes(size)


def small(word: str) -> dict[str, Any]:
    return {"word": word, "more": [word] * 60}


def large(word: str) -> dict[str, Any]:
    """Two buffers of 1 MiB, of which one is always the same."""
    return {"same": noise("same", MIB), "other": noise(word, MIB)}


@dataclass
class Deployment:
    """Rows in a file of their own; blobs in the place."""

    place: Place
    database: Path
    settings: Settings

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    @contextmanager
    def stores(self) -> Iterator[StateStores]:
        """As ``connect`` opens them."""
        rows = SqlCoreStore(self.url)
        offloader = Offloader(self.settings, lambda path: opening.open_store(path, self.settings))
        stores = StateStores(
            rows, OffloadedValues(offloader), on_close=rows.close, default_retention_days=0, clear_on_success=False
        )
        with stores:
            yield stores

    @contextmanager
    def collector(self, store: Any = None, clock: Callable[[], datetime] | None = None) -> Iterator[Collector]:
        roots = SqlRoots(self.url, self.settings.deployment)
        found = store or opening.open_store(self.settings.path, self.settings)
        try:
            yield Collector(self.settings, found, roots, **({"clock": clock} if clock else {}))
        finally:
            roots.close()


@dataclass
class History:
    """What a deployment went through, in memory, before the trial: its clock was behind, and is now right."""

    deployment: Deployment
    clock: Clock = field(default_factory=lambda: Clock(_long_ago()))

    def __post_init__(self) -> None:
        self.store = SimulatedStore(self.clock, self.deployment.place.url)
        self.rows = SqlCoreStore(self.deployment.url)
        self.offloader = Offloader(self.deployment.settings, lambda _: self.store)

    def put(
        self, key: str, value: Any, address: StateAddress = ADDRESS, expires_at: datetime | None = None
    ) -> None:
        text = row_text(self.offloader.offload(value, address, key))
        self.rows.set(address, key, text, expires_at=expires_at)

    def collect(self, verb: Callable[[Collector], Any]) -> None:
        with self.deployment.collector(self.store, self.clock) as collector:
            verb(collector)

    def pass_time(self, time: timedelta) -> None:
        self.clock.now += time

    def end(self) -> Objects:
        """The blobs as they are when the trial begins."""
        self.rows.close()
        return dict(self.store._blobs)


def _long_ago() -> datetime:
    """In whole seconds, as S3 lists them."""
    return datetime.now(timezone.utc).replace(microsecond=0) - PATIENCE - 2 * QUARANTINE


@dataclass(frozen=True)
class Operation:
    """``verb`` of a task's store with ``args``, or ``collect`` of a collector.

    ``changes`` are the rows that it changes, ``None`` where they go; ``reads`` is what it has to return.
    ``first`` is read in the same process just before, undisturbed.
    """

    name: str
    prepare: Callable[[History], None]
    verb: str = ""
    args: tuple[Any, ...] = ()
    collect: Callable[[Collector], Any] | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    reads: Any = None
    first: str = ""
    places: tuple[str, ...] = ("s3", "file", "memory")


def _adopted(history: History) -> None:
    history.put("kept", small("kept"), KEPT)
    history.put("a", small("former a"))
    history.put("a", small("a"))  # and an orphan
    history.put("b", small("b"))
    history.collect(adopt)
    history.pass_time(PATIENCE)


def _large(history: History) -> None:
    history.put("large", large("old"))
    _adopted(history)


def _marked(history: History) -> None:
    _adopted(history)
    history.collect(mark)
    history.pass_time(QUARANTINE)


def _expired(history: History) -> None:
    for key in ("x", "y"):
        history.put(key, small(key), expires_at=datetime.now(timezone.utc) - timedelta(days=1))
    _adopted(history)


def _expire(collector: Collector) -> Any:
    rows = SqlCoreStore(collector.settings.core_store.get_secret_value())
    try:
        return expire(collector, rows, delete=True)
    finally:
        rows.close()


COLLECTED = ("s3", "memory")
"""The collector uses no more of a store than tasks do, and so does not meet a directory once more."""
NEW = small("new")
LARGE = large("new")
OPERATIONS = [
    Operation("set", _adopted, "set", ("a", NEW), changes={"a": NEW}),
    Operation("set, large", _large, "set", ("large", LARGE), changes={"large": LARGE}, places=("s3",)),
    Operation(
        "set, half of it copied",
        _large,
        "set",
        ("large", LARGE),
        changes={"large": LARGE},
        first="large",
        places=("s3",),
    ),
    Operation("get", _adopted, "get", ("a",), reads=small("a")),
    Operation("get, large", _large, "get", ("large",), reads=large("old"), places=("s3",)),
    Operation("delete", _adopted, "delete", ("a",), changes={"a": None}),
    Operation("clear", _adopted, "clear", changes={"a": None, "b": None}),
    Operation("expire", _expired, collect=_expire, changes={"x": None, "y": None}, places=COLLECTED),
    Operation("mark", _marked, collect=mark, places=COLLECTED),
    Operation("purge", _marked, collect=lambda collector: purge(collector, delete=True), places=COLLECTED),
]


@contextmanager
def past(clock: Clock) -> Iterator[None]:
    """Rows are stamped by this clock."""

    def ahead() -> float:
        return (clock.now - datetime.now(timezone.utc)).total_seconds()

    sql.datetime = clock_ahead(ahead)
    try:
        yield
    finally:
        sql.datetime = datetime
