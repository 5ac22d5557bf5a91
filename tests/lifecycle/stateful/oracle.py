"""What must hold, kept beside the code and by other means than its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from offload_backend.address import parse_blob_name
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from tests.lifecycle.simulation import blob_id, name_of
from tests.lifecycle.stateful.places import Database, Store
from tests.lifecycle.stateful.turns import Actor

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Blob:
    """What was uploaded. A ``period`` is a time during which some root names it.

    One that began with a late row, or with a pin, is no part of the proof until a run has noticed it.
    """

    ref: str
    value: Any
    modified: datetime
    dead_since: datetime | None
    period: int = 0
    late_period: int = -1
    noticed_period: int = -1

    @property
    def id(self) -> str:
        return blob_id(self.ref)

    @property
    def name(self) -> str:
        return name_of(self.ref)


@dataclass
class Oracle:
    """Judges every delete when it happens, and whether all that is live resolves.

    ``pins`` are those that no run which began before may have overlooked.
    """

    settings: Settings
    store: Store
    database: Database
    offloader: Offloader
    now: Callable[[], datetime]
    blobs: dict[str, Blob] = field(default_factory=dict)
    pins: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    protected: set[str] = field(default_factory=set)
    """Names of others' objects."""

    def uploaded(self, ref: str, value: Any, modified: datetime) -> Blob:
        blob = Blob(ref, value, modified, dead_since=modified)
        self.blobs[blob.id] = blob
        return blob

    def named(self) -> set[str]:
        """By rows."""
        return {found for text in self.database.texts() for found in _ID.findall(text.lower())} & set(self.blobs)

    def live(self) -> set[str]:
        return self.named() | self.pins

    def changed(self, late: bool = False) -> None:
        """Rows or pins changed: some blobs may have lost their last root, or got one."""
        live, named = self.live(), self.named()
        for blob in self.blobs.values():
            if blob.id in live and blob.dead_since is not None:
                blob.dead_since = None
                blob.period += 1
                is_late = blob.id not in named or (
                    late and self.now() - blob.modified > self.settings.commit_window
                )
                blob.late_period = blob.period if is_late else -1
            elif blob.id not in live and blob.dead_since is None:
                blob.dead_since = self.now()

    def unmarked(self, ids: Iterable[str]) -> None:
        """The operator took them out of quarantine: it begins anew."""
        for blob in map(self.blobs.get, ids):
            if blob is not None and blob.dead_since is not None:
                blob.dead_since = self.now()

    def saw(self, actor: Actor) -> None:
        """The actor has just read the roots of the database."""
        noticed = self.live() if actor.verb == "mark" else self.named()
        actor.seen = {blob_id: self.blobs[blob_id].period for blob_id in noticed}

    def completed(self, actor: Actor) -> None:
        """What a run that nobody disturbed saw alive is protected like what was never late."""
        if actor.verb == "purge" and (left := actor.asked & self.store.names()):
            self.wrong.append(f"{sorted(left)} are said to be deleted, and are there")
        if actor.alone:
            for blob_id, period in actor.seen.items():
                self.blobs[blob_id].noticed_period = period

    def collected(self, names: Sequence[str]) -> None:
        """The collector is about to delete these."""
        for name in names:
            if name in self.protected:
                self.wrong.append(f"{name} is somebody else's, and was deleted")
            parsed = parse_blob_name(name)
            blob = self.blobs.get(parsed.id) if parsed else None
            if blob is not None and name in self.store.names():
                self._judge(blob)

    def reclaimed(self, names: Sequence[str]) -> None:
        """Somebody is about to delete these at once, because they are proven dead; pins are the collector's."""
        named = self.named()
        for blob in self.blobs.values():
            if blob.name in names:
                self.pins.discard(blob.id)
                if blob.id in named:
                    self.wrong.append(f"{blob.value} is live, and was reclaimed")

    def expired(self, names: Sequence[str]) -> None:
        """Their rows have expired and are gone."""
        live = self.live()
        self.wrong += [
            f"{blob.value} is live" for blob in self.blobs.values() if blob.name in names and blob.id in live
        ]

    def check(self) -> None:
        """Nothing wrong was deleted, and all that is live resolves to what was set."""
        assert not self.wrong, self.wrong
        for blob in map(self.blobs.__getitem__, self.live()):
            assert blob.name in self.store.names(), f"{blob.value} is live, and gone"
            assert self.offloader.resolve(blob.ref) == blob.value

    def _judge(self, blob: Blob) -> None:
        now, is_excused = self.now(), blob.late_period == blob.period != blob.noticed_period
        if blob.id in self.live() or blob.dead_since is None:
            self.wrong.append(f"{blob.value} is live, and was deleted")
        elif now - blob.modified < self.settings.gc_min_age:
            self.wrong.append(f"{blob.value} was deleted when it was {now - blob.modified} old")
        elif now - blob.dead_since < self.settings.gc_quarantine and not is_excused:
            self.wrong.append(f"{blob.value} was deleted {now - blob.dead_since} after it had lost its last root")
