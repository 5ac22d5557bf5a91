"""Every exploration: the protocol in each world, and variants that differ from one that holds by one switch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tests.model import worlds
from tests.model.machine import Machine
from tests.model.world import Protocol, World
from tests.model.worlds import within

RESOLVES, PROTECTED, COLLECTED = "resolves", "protected", "collected"
ALL = (RESOLVES, PROTECTED, COLLECTED)

SAFE = Protocol()
ROOTS_FIRST = Protocol(order="roots first")
EXPORT = Protocol(roots="export")
PAUSED = Protocol(fence="client")
"""Only the writer looks at the deadline, and may be paused between the look and the commit."""
NAMED = Protocol(names="deterministic")
MARK_ALONE = Protocol(quarantine="none", reread="nothing")
"""Deletes what a mark found, at once and without a second look: shows what the mark's own rules are worth."""
TWO_LOOKS = replace(MARK_ALONE, reread="rows")
MARK_ROOTS_FIRST = replace(MARK_ALONE, order="roots first")
MARK_EXPORT = replace(MARK_ALONE, roots="export")


@dataclass(frozen=True)
class Case:
    """One exploration: a world under `base` with one switch changed; ``breaks`` is the property that must fail."""

    name: str
    world: World
    base: Protocol = SAFE
    breaks: str | None = None
    switch: str = ""
    to: str | int = ""

    @property
    def machine(self) -> Machine:
        protocol = {field.name: getattr(self.base, field.name) for field in fields(Protocol)}
        if self.switch:
            protocol[self.switch] = self.to
        return Machine(self.world, Protocol(**protocol))

    @property
    def properties(self) -> tuple[str, ...]:
        if self.breaks:
            return (self.breaks,)
        return ALL if self.machine.protocol.quarantine == "kept" else (RESOLVES, COLLECTED)


HOLDS = [
    Case(world.about, world)
    for world in (
        worlds.WRITERS,
        worlds.ONE_WRITER,
        worlds.PAGES,
        worlds.COLLECTORS,
        worlds.NUMBERED,
        worlds.UNRESTORED,
        worlds.TOGETHER,
        worlds.ASSET,
        worlds.ATTEMPTS,
        worlds.SUPERSEDE,
        worlds.CLEARED,
        worlds.EMBEDDED,
        worlds.RESTORED,
        worlds.RESTORED_ROW,
        worlds.RESTORED_TWO,
        worlds.ARCHIVED,
        worlds.EXPIRED,
        worlds.REWRITTEN,
        worlds.REWRITTEN_ASSET,
        worlds.REWRITTEN_ATTEMPTS,
        worlds.CLONED,
        worlds.SHARED,
        worlds.MOVED,
    )
]

LONGER = within(worlds.ONE_WRITER, min_age=4)
DATED = within(worlds.EXPORTED, min_age=4, database_ahead=1)

ALSO_HOLDS = [
    Case("roots, then list, cut-off before both", worlds.ONE_WRITER, ROOTS_FIRST),
    Case("a replica whose lag is part of G", LONGER, SAFE, None, "roots", "replica"),
    Case("an export of the roots, cut-off at its `read_at`", worlds.EXPORTED, EXPORT),
    Case("an export by a clock that is ahead by what is part of G", DATED, EXPORT),
    Case("the client alone keeps the deadline; pauses shorter than G + Q", worlds.LATE, PAUSED),
    Case(
        "requests repeated long after their answer, and `reclaim = never`",
        replace(worlds.ASSET, reclaim="never", repeated=True),
    ),
    Case("mark alone: list, then roots", worlds.ONE_WRITER, MARK_ALONE),
    Case("mark alone: roots, then list, cut-off before both", worlds.ONE_WRITER, MARK_ROOTS_FIRST),
    Case("mark alone: a replica whose lag is part of G", LONGER, MARK_ALONE, None, "roots", "replica"),
    Case("mark alone: an export, cut-off at its `read_at`", worlds.EXPORTED, MARK_EXPORT),
    Case("mark alone: a paused writer, whom the server refuses", worlds.LATE, MARK_ALONE),
    Case("mark alone, roots read again: a paused writer, whom the server refuses", worlds.LATE, TWO_LOOKS),
]

OF_WRITERS = [
    Case("names made from keys", worlds.ASSET, SAFE, RESOLVES, "names", "deterministic"),
    Case("`delete` removes all below the key's prefix", worlds.ASSET, SAFE, RESOLVES, "on_delete", "prefix"),
    Case(
        "names made from keys, identical bytes, deletes conditional on the ETag",
        worlds.SAME_BYTES,
        NAMED,
        RESOLVES,
        "on_delete",
        "etag",
    ),
    Case(
        "the writer cleans up when it hears no answer", worlds.ONE_WRITER, SAFE, RESOLVES, "ambiguous", "clean up"
    ),
    Case("`clear_on_success` deletes blobs at the hook", worlds.CLEARED, SAFE, RESOLVES, "clear", "at hook"),
    Case("a superseding set spares the newest ref only", worlds.SUPERSEDE, SAFE, RESOLVES, "keep", 1),
    Case("a zombie takes 404 for proof that the row is gone", worlds.ATTEMPTS, SAFE, RESOLVES, "gone", "404"),
    Case("refs of assets that were only read are reclaimed", worlds.ASSET, SAFE, RESOLVES, "read_refs", "of all"),
    Case("expiry deletes the blob before the row", worlds.EXPIRED, SAFE, RESOLVES, "expire", "blob first"),
    Case(
        "a rewrite also deletes what a row just written named",
        worlds.REWRITTEN_ASSET,
        SAFE,
        RESOLVES,
        "former",
        "of all rows",
    ),
]

OF_MARK = [
    Case(
        "mark alone: roots, then list, cut-off at the listing",
        worlds.ONE_WRITER,
        MARK_ROOTS_FIRST,
        RESOLVES,
        "cutoff",
        "listing",
    ),
    Case(
        "mark alone: ages by a local clock that is ahead", worlds.ONE_WRITER, MARK_ALONE, RESOLVES, "ages", "local"
    ),
    Case(
        "mark alone: a replica whose lag is not part of G",
        worlds.ONE_WRITER,
        MARK_ALONE,
        RESOLVES,
        "roots",
        "replica",
    ),
    Case(
        "mark alone: an export, cut-off at the marker",
        worlds.EXPORTED,
        MARK_EXPORT,
        RESOLVES,
        "export_cutoff",
        "marker",
    ),
    Case("mark alone: the client alone keeps the deadline", worlds.LATE, MARK_ALONE, RESOLVES, "fence", "client"),
    Case(
        "mark alone, roots read again: the client alone keeps the deadline",
        worlds.LATE,
        TWO_LOOKS,
        RESOLVES,
        "fence",
        "client",
    ),
    Case(
        "roots, then list, cut-off at the listing", worlds.ONE_WRITER, ROOTS_FIRST, PROTECTED, "cutoff", "listing"
    ),
    Case("ages by a local clock that is ahead", worlds.ONE_WRITER, SAFE, PROTECTED, "ages", "local"),
    Case("a replica whose lag is not part of G", worlds.ONE_WRITER, SAFE, PROTECTED, "roots", "replica"),
    Case("an export, cut-off at the marker", worlds.EXPORTED, EXPORT, PROTECTED, "export_cutoff", "marker"),
]

OF_COLLECTOR = [
    Case("archives are not roots", worlds.ARCHIVED, SAFE, RESOLVES, "archives", "ignored"),
    Case("pins are not roots", worlds.ARCHIVED, SAFE, RESOLVES, "pins", "ignored"),
    Case("liveness is joined by path", worlds.MOVED, SAFE, RESOLVES, "join", "path"),
    Case("all that lies below the location is one's own", worlds.SHARED, SAFE, RESOLVES, "listing", "everything"),
    Case("a clone's collector is let in", worlds.CLONED, SAFE, RESOLVES, "owner", "ignored"),
    Case("no quarantine", worlds.RESTORED_ROW, SAFE, RESOLVES, "quarantine", "none"),
    Case("the quarantine counts from the marker", worlds.RESTORED_ROW, SAFE, RESOLVES, "quarantine_from", "marker"),
    Case("a restored database's sequence is ignored", worlds.RESTORED_ROW, SAFE, RESOLVES, "sequence", "ignored"),
    Case(
        "a mark records its number at the beginning only",
        worlds.RESTORED_ROW,
        SAFE,
        RESOLVES,
        "recorded",
        "at the beginning",
    ),
    Case(
        "a mark records its number again without a look at the old one",
        worlds.RESTORED_ROW,
        SAFE,
        RESOLVES,
        "recorded",
        "blindly",
    ),
    Case(
        "an export is as young as it says, by a clock that is ahead",
        DATED,
        EXPORT,
        PROTECTED,
        "export_age",
        "as dated",
    ),
    Case("purge does not read the roots again", worlds.LATE, PAUSED, RESOLVES, "reread", "nothing"),
    Case("`first_marked` is carried over a run that saw the row", worlds.LATE, PAUSED, PROTECTED, "carry", "ever"),
    Case("every mark sets `first_marked` anew", worlds.ONE_WRITER, SAFE, COLLECTED, "carry", "never"),
    Case(
        "the marker is written before the number is recorded",
        worlds.UNRESTORED,
        SAFE,
        COLLECTED,
        "numbering",
        "bucket first",
    ),
]

EDGES = [
    Case("mark alone: G = F + U + L + e - 1", within(worlds.ONE_WRITER, min_age=2), MARK_ALONE, RESOLVES),
    Case("G = F + U + L + e - 1", within(worlds.ONE_WRITER, min_age=2), SAFE, PROTECTED),
    Case(
        "mark alone: an export by a clock that is ahead by what is not part of G",
        within(worlds.EXPORTED, database_ahead=1),
        MARK_EXPORT,
        RESOLVES,
    ),
    Case("Q = R", within(worlds.RESTORED_ROW, quarantine=1), SAFE, RESOLVES),
    Case("Q < R", within(worlds.RESTORED_ROW, restorable=3), SAFE, RESOLVES),
    Case(
        "the client alone keeps the deadline; pauses of G + Q and longer",
        within(worlds.LATE, pause=4),
        PAUSED,
        RESOLVES,
    ),
    Case(
        "a request outlives two later sets of its process", replace(worlds.SUPERSEDE, overtaken=2), SAFE, RESOLVES
    ),
    Case(
        "a task catches the time-out of a `set`, then deletes",
        replace(worlds.ATTEMPTS, gives_up=True),
        SAFE,
        RESOLVES,
    ),
    Case("requests repeated long after their answer", replace(worlds.ASSET, repeated=True), SAFE, RESOLVES),
    Case(
        "without Airflow, a `set` repeated with the same ref",
        replace(worlds.EMBEDDED, retries=True),
        SAFE,
        RESOLVES,
    ),
    Case("eager deletes, and a restored database", replace(worlds.TASK_AND_HOST, restores=1), SAFE, RESOLVES),
    Case("eager deletes, and a copied ref", worlds.COPIED_ROW, SAFE, RESOLVES),
    Case(
        "rows archived under a task that deletes them", replace(worlds.TASK_AND_HOST, archives=True), SAFE, RESOLVES
    ),
]

SECTIONS = {
    "The protocol": HOLDS,
    "Other ways that hold": ALSO_HOLDS,
    "Writers, hosts and reclaimers that lose": OF_WRITERS,
    "Marks that lose": OF_MARK,
    "Collectors that lose": OF_COLLECTOR,
    "Where limits and assumptions end": EDGES,
}
CASES = [case for section in SECTIONS.values() for case in section]
