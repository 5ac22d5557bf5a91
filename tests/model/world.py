"""What the model knows: limits, bounds of a world, switches of the protocol, and one state of all actors.

Every moment is kept as an age in ticks of the object store's clock, and ages stop growing where no rule
can tell them apart any more. So the number of states is finite although time and the collector's runs are
not bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

NOTHING = -1
"""No blob: of a row without a ref, of an absent object, of an age nobody counts."""

NEW, UPLOADING, STORED, SENT, APPLIED, LOOSE, DONE = range(7)
"""Phases of a write. LOOSE: nobody waits for the request any more, and it may still be applied."""

WAITING, RUNNING, DEAD = range(3)
"""Phases of a process."""

IDLE, NUMBERED, LISTING, LISTING_MORE, READING, CONCLUDING, RELISTING, REREADING, DELETING = range(9)
"""Phases of a collector: NUMBERED to CONCLUDING belong to mark, the rest to purge."""

NO_ARCHIVE, IN_TABLE, OUTSIDE = range(3)
"""Where an archived row is: in a table of the database, or exported and dropped."""


@dataclass(frozen=True)
class Limits:
    """Durations in ticks; the letters are those of the proof."""

    upload: int = 1
    """U: from the start of an upload, which is its LastModified, to its end."""
    commit: int = 1
    """F: from the end of the upload to the last moment at which the row may be written."""
    stamp: int = 1
    """e: how much earlier than the upload's start the store may stamp a blob."""
    lag: int = 0
    """L: how far the roots may be behind the rows."""
    min_age: int = 3
    """G, `gc_min_age`: a candidate's LastModified is more than this before the cut-off."""
    quarantine: int = 2
    """Q, `gc_quarantine`."""
    restorable: int = 1
    """R: how far back the database can be restored."""
    pause: int = 0
    """With a deadline kept by the client alone: the longest time from upload to commit."""
    skew: int = 0
    """How far the collector's own clock is ahead of the store's."""
    database_ahead: int = 0
    """How far the database's clock, which dates exports, is ahead of the store's."""


@dataclass(frozen=True)
class Protocol:
    """One switch for each decision; the defaults are the protocol of offload_backend."""

    names: str = "unique"  # or "deterministic": the name is the key's
    fence: str = "server"  # or "client": only the writer looks at the deadline
    order: str = "list first"  # or "roots first"
    cutoff: str = "marker"  # or "listing": the age counts when the listing is read
    ages: str = "store"  # or "local": "now" is the collector's own clock
    roots: str = "primary"  # or "replica", "export"
    export_cutoff: str = "read_at"  # or "marker": as if the export were of now
    export_age: str = "less skew"  # when purge asks if an export is young enough; or "as dated"
    archives: str = "roots"  # or "ignored"
    pins: str = "roots"  # or "ignored"
    join: str = "id"  # or "path"
    listing: str = "own"  # or "everything" below the location
    quarantine: str = "kept"  # or "none": ages since creation suffice
    quarantine_from: str = "roots"  # when the roots were read; or "marker"
    carry: str = "unbroken"  # or "ever": also over runs in which it was live; or "never"
    reread: str = "rows"  # or "nothing": purge trusts the manifest
    recorded: str = "with the roots"  # a mark's number, again; or "at the beginning" only, or "blindly"
    sequence: str = "checked"  # or "ignored"
    numbering: str = "database first"  # or "bucket first"
    owner: str = "checked"  # or "ignored"
    on_delete: str = "exact"  # or "prefix", "etag"
    clear: str = "after success"  # or "at hook"
    ambiguous: str = "leave"  # or "clean up"
    keep: int = 2  # how many of the newest refs a superseding set spares
    gone: str = "confirmed"  # or "404": a 404 also counts as proof
    read_refs: str = "of tasks"  # or "of all": refs that were only read are reclaimed
    expire: str = "row first"  # or "blob first"
    former: str = "of old rows"  # which blobs a rewrite deletes; or "of all rows", also of those just written


class Step(NamedTuple):
    """One call of a process: ``set`` of a blob, or ``read``, ``delete``, ``clear`` of a key."""

    verb: str
    subject: int


@dataclass(frozen=True)
class World:
    """Who takes part, and how often: the bounds of one exploration."""

    name: str
    about: str
    programs: tuple[tuple[Step, ...], ...]
    keys: int = 1
    key_of: tuple[int, ...] = (0,)
    """The key of every blob."""
    limits: Limits = field(default_factory=Limits)
    attempts: bool = False
    """The processes are attempts of one task, each fenced by the next; else writers of an asset."""
    reclaim: str = "never"  # or "airflow", "embedded"
    retries: bool = True
    """A process that hears no answer repeats its request."""
    gives_up: bool = False
    """A process may stop waiting and go on: its request is loose."""
    overtaken: int = 1
    """How many later sets of its process a loose request may outlive."""
    repeated: bool = False
    """A request may be repeated on its way, long after its answer."""
    removes: int = 0
    """How often the host removes a row without telling anybody."""
    archives: bool = False
    exports_archive: bool = False
    restores: int = 0
    clones: bool = False
    expires: bool = False
    rewrites: int = NOTHING
    """The blob that a rewrite stores for the value of its key's row."""
    exports: bool = False
    collectors: int = 0
    two_pages: bool = False
    short_listings: bool = False
    numbered: bool = False
    """Recording a run's number and writing its marker are two steps."""
    seen_rows: bool = False
    """Rows go only after a mark has seen them."""
    ticks: bool = True
    same_bytes: bool = False
    aliased: int = 0
    """Blobs, as bits, whose refs name them through a second location."""
    foreign: int = 0
    """Blobs, as bits, of another deployment at the same location."""
    committed: tuple[int, ...] = ()
    """The blob that each key's row names at first."""


class Write(NamedTuple):
    """One ``set`` on its way: the phase, and the ticks since the upload began or ended."""

    phase: int
    timer: int


class Process(NamedTuple):
    """A worker process: its phase, place in the program, stage in that step, refs it knows, refs it may delete."""

    status: int
    place: int
    stage: int
    known: int
    dead: int


class Run(NamedTuple):
    """A collector's run: phase, blobs in question, blobs older than the cut-off, ticks since ``first_marked``.

    ``stale``: a newer manifest stands, so this run's counts for nothing. ``second``: began while another ran.
    """

    phase: int
    mask: int
    old: int
    age: int
    stale: bool
    second: bool


class Snapshot(NamedTuple):
    """A backup, replica, clone or export of the database."""

    rows: tuple[int, ...]
    archived: int
    where: int
    age: int
    old: int
    """Blobs older than the cut-off when it was made (export), else nought."""
    ripe: int
    """Blobs past their quarantine when it was made (export), else nought."""
    outrun: bool
    """A run of the collector began since."""


NO_RUN = Run(IDLE, 0, 0, NOTHING, False, False)
GONE = Process(DEAD, 0, 0, 0, 0)


class State(NamedTuple):
    """All actors at one moment. Tuples are indexed by blob, key, process or collector; masks are bits of blobs."""

    writes: tuple[Write, ...]
    blobs: tuple[int, ...]
    """Age by LastModified, or NOTHING."""
    unrooted: tuple[int, ...]
    """Ticks since the last root went, for the property alone: no actor reads it."""
    rows: tuple[int, ...]
    archived: int
    where: int
    processes: tuple[Process, ...]
    expiring: int
    expired: int
    former: int
    """The blob that the row named which is being rewritten."""
    young: bool
    """When that row was found, the request that wrote it could still come again."""
    replaced: bool
    """That row names the other one."""
    removes: int
    restores: int
    backup: Snapshot | None
    replica: Snapshot | None
    clone: Snapshot | None
    export: Snapshot | None
    behind: int
    """Databases, as bits, whose sequence is behind the bucket's."""
    runs: tuple[Run, ...]
    candidates: int
    """Those of the newest manifest."""
    marked: tuple[int, ...]
    """Ticks since ``first_marked``, or NOTHING."""
    seen: int
    pins: int
    early: int
    """Blobs that the collector deleted within their protection, for the property alone."""


def bits(mask: int) -> list[int]:
    """The numbers of the blobs in a mask."""
    return [number for number in range(mask.bit_length()) if mask >> number & 1]


def put(values: tuple, index: int, value: object) -> tuple:  # type: ignore[type-arg] # any of the state's tuples
    """The tuple with one element replaced."""
    return (*values[:index], value, *values[index + 1 :])
