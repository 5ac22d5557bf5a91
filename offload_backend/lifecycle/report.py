"""What the verbs of the collector tell: frozen, in counts and bytes, and as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from offload_backend.errors import Refusal

__all__ = [
    "AdoptReport",
    "Cost",
    "Counts",
    "Dangling",
    "Limits",
    "MarkReport",
    "PinReport",
    "PurgeReport",
    "RestoreReport",
    "RunReport",
    "Sample",
    "ScopeShare",
    "StatusReport",
    "Tally",
    "VerifyReport",
]

_PER_WRITE_OR_LIST = 0.005 / 1000
_PER_READ = 0.0004 / 1000


@dataclass(frozen=True)
class Tally:
    """How many blobs, and how many bytes they hold as stored."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Counts:
    """What a listing held, by what became of it.

    ``listed`` blobs of this deployment are each exactly one of ``live`` (a row, or a hook, names the
    id), ``pinned``, ``young``, ``hidden`` (their rows could not be seen) and ``marked``. ``matured`` were
    marked for the whole quarantine; ``rescued`` were marked once and are live now. ``foreign`` objects
    are not ours and never touched. ``dangling`` are refs whose blob was not in the listing; only
    ``verify`` looks a second time.
    """

    listed: Tally = Tally()
    live: Tally = Tally()
    pinned: Tally = Tally()
    young: Tally = Tally()
    hidden: Tally = Tally()
    marked: Tally = Tally()
    matured: Tally = Tally()
    rescued: Tally = Tally()
    foreign: Tally = Tally()
    dangling: Tally = Tally()


@dataclass(frozen=True)
class Limits:
    """The settings a run went by."""

    min_age: timedelta
    quarantine: timedelta
    max_ratio: float
    max_count: int
    min_match: float
    max_skew: timedelta


@dataclass(frozen=True)
class ScopeShare:
    """What one scope, as it stands in names, has among the blobs that are to go."""

    scope: str
    count: int
    bytes: int


@dataclass(frozen=True)
class Sample:
    """One blob that is to go, and why."""

    name: str
    size: int
    modified: datetime
    first_marked: datetime
    why: str


@dataclass(frozen=True)
class Dangling:
    """A row whose blob is ``gone`` or ``corrupt``; ``holder`` names the row, never its content."""

    holder: str
    name: str
    problem: str


@dataclass(frozen=True)
class Cost:
    """Requests of a run, and what they cost at the list prices of S3 Standard, in US dollars."""

    lists: int = 0
    writes: int = 0
    reads: int = 0
    deletes: int = 0
    dollars: float = field(init=False)

    def __post_init__(self) -> None:
        dollars = (self.lists + self.writes) * _PER_WRITE_OR_LIST + self.reads * _PER_READ
        object.__setattr__(self, "dollars", round(dollars, 6))


class _Report:
    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON has: times as ISO 8601, durations in seconds."""
        found = _plain(self)
        assert isinstance(found, dict)  # noqa: S101 - every report is a dataclass
        return found


@dataclass(frozen=True)
class AdoptReport(_Report):
    """The database that owns the deployment's blobs now. ``replaced`` are former owners' fingerprints."""

    owner: str
    deployment: str
    location: str
    kind: str
    fingerprint: str
    sequence: int
    canary: str
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class MarkReport(_Report):
    """A mark. ``state`` is ``concluded`` or ``refused``; ``now`` is by the store's clock, ``skew`` ours minus it.

    ``next_deletion`` is the earliest moment at which anything known today could be purged.
    """

    run: str
    state: str
    now: datetime
    skew: timedelta
    deployment: str
    location: str
    owner: str
    fingerprint: str
    limits: Limits
    counts: Counts
    top_scopes: tuple[ScopeShare, ...] = ()
    samples: tuple[Sample, ...] = ()
    next_deletion: datetime | None = None
    cost: Cost = field(default_factory=Cost)
    refusals: tuple[Refusal, ...] = ()
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class PurgeReport(_Report):
    """A purge. ``doomed`` may go; ``deleted`` is what the store confirmed, nothing when ``dry``.

    ``waiting`` are in quarantine, ``restored`` were unmarked by hand or seen live since, ``changed`` are listed
    with another size or time than when they were marked, ``gone`` no longer listed, ``spared`` held back by a
    hook. ``failed`` maps names to the store's reasons; ``unfinished`` blobs were not tried, because the store
    had failed altogether. ``leftovers`` are files of killed uploads that were removed as well.
    """

    run: str
    dry: bool
    now: datetime
    skew: timedelta
    manifest: str
    deployment: str
    location: str
    limits: Limits
    counts: Counts
    doomed: Tally = Tally()
    deleted: Tally = Tally()
    waiting: Tally = Tally()
    restored: Tally = Tally()
    changed: Tally = Tally()
    gone: Tally = Tally()
    spared: Tally = Tally()
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: int = 0
    leftovers: int = 0
    top_scopes: tuple[ScopeShare, ...] = ()
    samples: tuple[Sample, ...] = ()
    next_deletion: datetime | None = None
    cost: Cost = field(default_factory=Cost)
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifyReport(_Report):
    """Both directions. ``orphans`` are old blobs without a row; ``dangling`` refs were looked for twice.

    ``checked`` blobs were read whole and compared with size and digest in their refs; ``elsewhere`` are refs
    to other locations or of newer formats, which were not looked at. ``found`` tells at most a thousand.
    """

    deployment: str
    location: str
    counts: Counts
    orphans: Tally = Tally()
    checked: Tally = Tally()
    dangling: int = 0
    corrupt: int = 0
    elsewhere: int = 0
    found: tuple[Dangling, ...] = ()
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class RestoreReport(_Report):
    """Ids that begin their quarantine anew; ``unknown`` ones were not marked."""

    record: str
    restored: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class PinReport(_Report):
    """``changed`` ids were pinned or unpinned, ``unchanged`` ones were so already; ``pinned`` are all now."""

    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    pinned: int


@dataclass(frozen=True)
class RunReport(_Report):
    """One run as its control objects tell it.

    ``state`` is that of its manifest (``concluded``, ``refused``, ``unreadable``), ``unfinished`` for a mark
    without one, and for a purge ``purged`` or ``nothing deleted``.

    ``deleted`` and ``failed`` count what its journal confirms.
    """

    run: str
    verb: str
    now: datetime
    state: str
    candidates: int = 0
    counts: Counts = field(default_factory=Counts)
    deleted: int = 0
    failed: int = 0
    refusals: tuple[Refusal, ...] = ()
    accepted: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class StatusReport(_Report):
    """How things stand, without writing anything. ``refusals`` are those a run would meet before it lists.

    ``waiting`` and ``matured`` are by this machine's clock, for there is no marker.
    """

    deployment: str
    location: str
    owner: str | None
    fingerprint: str
    database: str
    database_sequence: int | None
    bucket_sequence: int
    runs: tuple[RunReport, ...] = ()
    manifest: str | None = None
    waiting: Tally = Tally()
    matured: Tally = Tally()
    next_deletion: datetime | None = None
    pinned: int = 0
    refusals: tuple[Refusal, ...] = ()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
