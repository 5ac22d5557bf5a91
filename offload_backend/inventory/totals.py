"""Sums over entries: how much there is, whose it is, and when it was written."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

from offload_backend.address import TaskAddress, parse_blob_name
from offload_backend.inventory.entry import Entry
from offload_backend.location import relative_name

__all__ = ["LARGEST", "Sum", "Totals", "totals_of"]

LARGEST = 10
"""How many of the largest values are remembered."""


@dataclass
class Sum:
    """Rows, and the bytes that their values take: as stored, and before compression."""

    rows: int = 0
    stored: int = 0
    raw: int = 0

    def add(self, entry: Entry) -> None:
        """Count one more."""
        stored = entry.stored or 0
        self.rows += 1
        self.stored += stored
        self.raw += stored if entry.raw is None else entry.raw

    @property
    def ratio(self) -> float:
        """How many times smaller it is as stored; 1 for nothing."""
        return self.raw / self.stored if self.stored else 1.0


@dataclass
class Totals:
    """What there is, by what refs claim. A blob that two rows name counts twice.

    ``kept`` is by where values are; archived rows are in ``archived`` and nowhere else. ``dags``, ``tasks`` (dag
    and task), ``assets``, ``days`` (UTC, by the last write of rows that are still there), ``codecs``, ``encrypted``
    (by key id) and ``largest`` are of offloaded values. ``elsewhere`` are those of another location or deployment,
    which count as well. ``expired`` rows are past their retention and still there.
    """

    now: datetime
    kept: dict[str, Sum] = field(default_factory=dict)
    dags: dict[str, Sum] = field(default_factory=dict)
    tasks: dict[tuple[str, str], Sum] = field(default_factory=dict)
    assets: dict[str, Sum] = field(default_factory=dict)
    days: dict[date, Sum] = field(default_factory=dict)
    codecs: dict[str, Sum] = field(default_factory=dict)
    encrypted: Counter[str] = field(default_factory=Counter)
    archived: Sum = field(default_factory=Sum)
    elsewhere: Sum = field(default_factory=Sum)
    expired: Sum = field(default_factory=Sum)
    largest: list[Entry] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For programs: sums as objects, every mapping with all of its entries."""
        tasks = [{"dag": dag, "task": task, **vars(found)} for (dag, task), found in self.tasks.items()]
        days = sorted(self.days.items())
        return {
            "now": self.now.isoformat(),
            **{name: _plain(getattr(self, name)) for name in ("kept", "dags", "assets", "codecs")},
            "tasks": tasks,
            "days": {day.isoformat(): vars(found) for day, found in days},
            "encrypted": dict(self.encrypted),
            **{name: vars(getattr(self, name)) for name in ("archived", "elsewhere", "expired")},
            "largest": [entry.as_json() for entry in self.largest],
        }


def totals_of(entries: Iterable[Entry], now: datetime, *, location: str, deployment: str) -> Totals:
    """The sums over all entries, in one pass; memory grows with dags, tasks, assets and days.

    ``location`` and ``deployment`` are where blobs are written; without a location nothing is ``elsewhere``.
    """
    totals = Totals(now)
    largest: list[tuple[int, int, Entry]] = []
    for number, entry in enumerate(entries):
        if entry.archived:
            totals.archived.add(entry)
            continue
        totals.kept.setdefault(entry.kept, Sum()).add(entry)
        if entry.expires_at is not None and entry.expires_at < now:
            totals.expired.add(entry)
        if entry.kept == "offloaded":
            _add_offloaded(totals, entry)
            if location and not _is_here(entry, location, deployment):
                totals.elsewhere.add(entry)
            heapq.heappush(largest, (entry.stored or 0, -number, entry))
            if len(largest) > LARGEST:
                heapq.heappop(largest)
    totals.largest = [entry for _, _, entry in sorted(largest, reverse=True)]
    return totals


def _add_offloaded(totals: Totals, entry: Entry) -> None:
    address = entry.address
    if isinstance(address, TaskAddress):
        totals.dags.setdefault(address.dag_id, Sum()).add(entry)
        totals.tasks.setdefault((address.dag_id, address.task_id), Sum()).add(entry)
    else:
        totals.assets.setdefault(address.name or address.uri or "", Sum()).add(entry)
    totals.days.setdefault(entry.updated_at.astimezone(timezone.utc).date(), Sum()).add(entry)
    totals.codecs.setdefault(entry.codec, Sum()).add(entry)
    if entry.encrypted:
        totals.encrypted[entry.encrypted] += 1


def _is_here(entry: Entry, location: str, deployment: str) -> bool:
    name = relative_name((entry.ref or "").partition("#")[0], location)
    blob = parse_blob_name(name) if name else None
    return blob is not None and blob.deployment == deployment


def _plain(sums: dict[str, Sum]) -> dict[str, Any]:
    return {name: vars(found) for name, found in sums.items()}
