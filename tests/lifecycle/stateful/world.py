"""One deployment with everything that happens to it: writers, host, operator, collectors, time."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from offload_backend import blobs
from offload_backend.corestore import Row
from offload_backend.corestores.roots_export import ExportedRoots, export_roots
from offload_backend.errors import OffloadError, RefusedError
from offload_backend.lifecycle import control, mark
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.expire import expire
from offload_backend.lifecycle.restore import pin, restore, unpin
from offload_backend.namespace import OffloadedValues
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.state import StateStores, TaskStore
from tests.lifecycle.stateful.oracle import Blob, Oracle
from tests.lifecycle.stateful.parts import (
    ADDRESSES,
    FOREIGN,
    KEYS,
    LOCATION,
    OTHER,
    START,
    VERBS,
    Keep,
    Pending,
    StoreOfWriters,
    spelled,
)
from tests.lifecycle.stateful.places import Database, RootsSeen, Store, StoreSeen
from tests.lifecycle.stateful.turns import Actor

MAX_ACTORS = 2


class World:
    """``now`` is the store's time; the other two clocks are off by a little."""

    def __init__(self, *, is_eager: bool = False) -> None:
        self.is_eager = is_eager
        self.settings = Settings.load(
            {
                "path": LOCATION,
                "deployment": "prod",
                "inline_limit": 0,
                "gc_max_ratio": 1.0,
                "reclaim": "eager" if is_eager else "never",
            }
        )
        self.time = START
        self.local_offset = self.database_offset = timedelta(0)
        self.store = Store(LOCATION, self.now)
        self.database = Database(lambda: self.time + self.database_offset)
        view = StoreOfWriters(self.store, lambda names: self.oracle.reclaimed(names))  # noqa: PLW0108 (made later)
        self.offloader = Offloader(self.settings, lambda _: view, clock=self._upload_clock)  # type: ignore[arg-type,return-value]
        self.oracle = Oracle(self.settings, self.store, self.database, self.offloader, self.now)
        self.stores = StateStores(
            self.database,
            OffloadedValues(self.offloader),
            on_close=lambda: None,
            default_retention_days=0,
            clear_on_success=False,
        )
        self.hooks = Keep()
        self.actors: list[Actor] = []
        self.pending: list[Pending] = []
        self.backups: list[tuple[datetime, Any]] = []
        self.exported: list[tuple[Row, Blob]] = []
        self.loose_pins: list[tuple[str, list[Actor]]] = []
        self.clone: Database | None = None
        self.export: ExportedRoots | None = None
        self.uploads = 0
        self.needs_adoption = False
        self._clock_reads = 0
        self._files = tempfile.TemporaryDirectory()
        # The same ids each time, so that what was found once is found again.
        self._ids = pytest.MonkeyPatch()
        ids = map("018f0000-0000-7000-8000-{:012x}".format, itertools.count(1))
        for module in (control, mark, blobs):
            self._ids.setattr(module, "new_blob_id", lambda: next(ids))
        for name in (OTHER, FOREIGN):
            self.store.put(name, [b"1"])
            self.oracle.protected.add(name)

    def now(self) -> datetime:
        return self.time

    def limits_ahead(self) -> list[datetime]:
        """When a blob will be old enough to be marked, or marked, or dead, for long enough to be purged."""
        age, quarantine = self.settings.gc_min_age, self.settings.gc_quarantine
        here = [blob for blob in self.oracle.blobs.values() if blob.name in self.store.names()]
        runs = [self.store.modified(name) for name in self.store.names() if name.endswith("marker.json")]
        limits = {blob.modified + age for blob in here} | {began + quarantine for began in runs}
        limits |= {blob.dead_since + quarantine for blob in here if blob.dead_since is not None}
        return sorted(limit for limit in limits if limit > self.time)

    def due(self, before: int) -> datetime:
        """When what the last run marked may go, or one of the two before it."""
        began = sorted(self.store.modified(name) for name in self.store.names() if name.endswith("marker.json"))
        return (began or [self.time])[-1 - before % 3 % max(1, len(began))] + self.settings.gc_quarantine

    def close(self) -> None:
        for actor in self.actors:
            actor.kill()
        self._ids.undo()
        self._files.cleanup()

    # writers

    def upload(
        self, place: int, took: timedelta = timedelta(0), lay: timedelta = timedelta(0), spelling: str = "plain"
    ) -> Pending | None:
        """A blob whose upload took so long, and which lay unlisted since; ``None`` if it took too long."""
        address, key = ADDRESSES[place % 2], KEYS[place // 2 % 2]
        self.uploads += 1
        value = {"upload": self.uploads}
        self.store.upload_took = took
        try:
            ref = self.offloader.offload(value, address, key)
        except OffloadError:
            return None
        finally:
            self.store.upload_took = timedelta(0)
        blob = self.oracle.uploaded(ref, value, self.time - took - lay)
        self.store.set_modified(blob.name, blob.modified)
        pending = Pending(blob, address, key, spelled(ref, spelling))
        self.pending.append(pending)
        return pending

    def commit(self, pending: Pending, retention: timedelta | None = None, *, was_late: bool = True) -> None:
        expires_at = None if retention is None else self.database.now() + retention
        self.database.set(pending.address, pending.key, pending.text, expires_at=expires_at)
        self.oracle.changed(late=was_late)

    def may_commit(self, pending: Pending) -> bool:
        """Whether a host would still write this row: a collector is sure only of what is older than both."""
        window = self.settings.gc_min_age + self.settings.gc_quarantine
        return self.time - pending.blob.modified < window

    def task_store(self, place: int) -> tuple[TaskStore, str]:
        return self.stores.task_store("dag", "run", "task"), KEYS[place % 2]

    def put_value(self, place: int) -> None:
        """As a program without Airflow does: the blob, the row, and what it replaced, at once."""
        store, key = self.task_store(place)
        self.uploads += 1
        value = {"upload": self.uploads}
        store.set(key, value)
        row = self.database.get(ADDRESSES[0], key)
        assert row is not None
        ref = json.loads(row.text)["__airflow_state_ref__"]
        self.oracle.uploaded(ref, value, self.time)
        self.oracle.changed()

    # operator

    def expire(self) -> None:
        now = self.database.now()
        due = {(row.address, row.key) for row in self.database.rows() if row.expires_at and row.expires_at < now}
        others = {(row.address, row.key) for row in self.database.rows()} - due
        store = StoreOfWriters(self.store, self.oracle.expired)
        with suppress(RefusedError):
            expire(replace(self.collector(), store=store), self.database, delete=True, clock=self.local)
        left = {(row.address, row.key) for row in self.database.rows()}
        if not others <= left:
            self.oracle.wrong.append("a row was removed that had not expired")
        self.oracle.changed()

    def pin(self, ids: Sequence[str]) -> None:
        """A purge that is under way may be past the last look at what is pinned."""
        purges = [actor for actor in self.actors if actor.verb == "purge"]
        pin(self.collector(), ids)
        self.loose_pins += [(blob_id, purges) for blob_id in ids]
        self.settle_pins()

    def settle_pins(self) -> None:
        for blob_id, purges in list(self.loose_pins):
            if all(actor.has_ended for actor in purges):
                self.loose_pins.remove((blob_id, purges))
                if self.oracle.blobs[blob_id].name in self.store.names():
                    self.oracle.pins.add(blob_id)
        self.oracle.changed()

    def unpin(self, ids: Sequence[str]) -> None:
        unpin(self.collector(), ids)
        self.loose_pins = [(blob_id, purges) for blob_id, purges in self.loose_pins if blob_id not in ids]
        self.oracle.pins.difference_update(ids)
        self.oracle.changed()

    def unmark(self, ids: Sequence[str]) -> None:
        restore(self.collector(), ids)
        if not any(actor.verb == "purge" for actor in self.actors):
            self.oracle.unmarked(ids)

    def restore_backup(self, backup: Any) -> None:
        self.needs_adoption = True
        for actor in self.actors:
            actor.alone = False
        self.database.restore(backup)
        self.oracle.changed()

    def make_clone(self) -> None:
        """A copy of the database, for staging, which somebody gives the same location."""
        self.clone = Database(self.database.now)
        self.clone.restore(self.database.backup())
        self.clone.roots._fingerprint = "clone"

    def make_export(self) -> None:
        file = Path(self._files.name) / "roots.gz"
        try:
            export_roots(self.database.roots, file, "prod")
            self.export = ExportedRoots(file, "prod")
            self.export.origin()
        except OffloadError:
            self.export = None

    # collectors

    def collector(self) -> Collector:
        """One that nobody interrupts."""
        return Collector(self.settings, self.store, self.database.roots, self.hooks, self.local)

    def local(self) -> datetime:
        return self.time + self.local_offset

    def start(self, verb: str, source: str = "database") -> Actor:
        """Begin a verb; it stands before its first call."""
        roots: Any = self.export if source == "export" else self.database.roots
        if source == "clone":
            assert self.clone is not None
            roots = self.clone.roots

        def work(actor: Actor) -> object:
            def on_roots() -> None:
                if source == "database":
                    self.oracle.saw(actor)

            store = StoreSeen(self.store, actor, self.oracle.collected)
            seen = RootsSeen(roots, actor, on_roots)
            return VERBS[verb](Collector(self.settings, store, seen, self.hooks, self.local))  # type: ignore[arg-type]

        actor = Actor(verb, work)
        self.actors.append(actor)
        if len(self.actors) > 1:
            for one in self.actors:
                one.alone = False
        return actor

    def reap(self) -> None:
        """Let go of actors that have ended."""
        for actor in [actor for actor in self.actors if actor.has_ended]:
            self.actors.remove(actor)
            if actor.error is not None and not isinstance(actor.error, OffloadError):
                raise actor.error
            has_done = actor.error is None and actor.result is not None
            if actor.verb == "adopt":
                self.needs_adoption = not has_done or not actor.alone
            if has_done:
                self.oracle.completed(actor)
        self.settle_pins()

    def run(self, verb: str, source: str = "database") -> Actor:
        """A verb from beginning to end: its error, if it is one of ours, in the actor."""
        actor = self.start(verb, source)
        actor.finish()
        self.reap()
        return actor

    def quiet(self) -> None:
        """Nobody writes any more, and nothing is wrong with store, clocks and hooks."""
        for actor in self.actors:
            actor.kill()
        self.reap()
        self.pending.clear()
        self.store.staleness = frozenset()
        self.local_offset = self.database_offset = timedelta(0)
        self.hooks.is_on = False

    def _upload_clock(self) -> float:
        """Read before and after an upload."""
        self._clock_reads += 1
        return self.store.upload_took.total_seconds() if self._clock_reads % 2 == 0 else 0.0
