"""Traces as people read them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explore import ENDS, Exploration
from tests.model.machine import Label, Machine
from tests.model.world import IN_TABLE, bits

TELL = {
    "begin": "{0:process} begins to upload {1:blob}",
    "store": "{0:blob} is stored{1:ago}",
    "send": "{0:process} sends the row that names {1:blob}",
    "apply": "the row that names {0:blob} is committed",
    "acknowledge": "{0:process} hears that the row names {1:blob}",
    "repeat": "the answer is lost, and {0:process} repeats its request for {1:blob}",
    "give up": "{0:process} hears no answer about {1:blob}, and goes on",
    "apply late": "a late request is applied: the row names {0:blob}",
    "supersede": "{0:process} reads the row, which names {1:blob}, and takes older refs for dead",
    "read": "{0:process} reads the row of {1:key}",
    "delete": "{0:process} deletes the row of {1:key}",
    "confirm": "{0:process} hears that the row of {1:key} is gone",
    "delete 404": "{0:process}, superseded, wants the row of {1:key} deleted and is answered 404",
    "reclaim": "{0:process} deletes the blobs that it takes for dead",
    "clear hook": "{0:process} is done, and `clear` is called for {1:key}",
    "success": "the host accepts the success of {0:process} and removes the row of {1:key}",
    "success 409": "the host refuses the success of {0:process}, which is superseded",
    "listener": "{0:process} hears that its success is accepted",
    "crash": "{0:process} is killed",
    "next attempt": "the host starts {0:process}, and refuses what earlier ones still send",
    "remove row": "the host removes the row of {0:key}, and tells nobody",
    "archive": "the row of {0:key} is moved to an archive table",
    "drop archive": "the archive is dropped",
    "pin and export archive": "{0:blob} is pinned, the archive exported and dropped",
    "import archive": "the archived row of {0:key} is imported again",
    "back up": "the database is backed up",
    "restore database": "the database is restored from the backup",
    "clone": "the database is cloned for staging",
    "export roots": "the roots are exported",
    "replicate": "the replica catches up",
    "find expired": "`expire` finds that the row that names {0:blob} has expired",
    "expire row": "`expire` deletes the row if it still names {0:blob}",
    "expire blob": "`expire` deletes {0:blob}",
    "crash of expire": "`expire` is killed",
    "begin rewrite": "`rekey` finds the row that names {0:blob}, and begins to upload {1:blob}",
    "store rewrite": "{0:blob} is stored",
    "replace row": "`rekey` lets the row, which still names {0:blob}, name {1:blob}",
    "rewrite in vain": "`rekey` finds that the row names another blob, and deletes {0:blob}",
    "rewrite too late": "`rekey` has taken too long, and deletes {0:blob}",
    "delete former": "`rekey` deletes {0:blob}",
    "leave former": "`rekey` leaves {0:blob}, whose row was just written",
    "crash of rewrite": "`rekey` is killed",
    "number": "{0:collector} has begun to number its run",
    "mark": "{0:collector} begins a mark: its marker is written",
    "list": "{0:collector} lists",
    "list short": "{0:collector} gets a listing that lacks a blob",
    "read roots": "{0:collector} reads the roots",
    "conclude": "{0:collector} writes its manifest",
    "purge": "{0:collector} begins a purge",
    "list again": "{0:collector} lists again",
    "read roots again": "{0:collector} reads the roots again",
    "purge blob": "{0:collector} deletes {1:blob}",
    "fail to purge": "{0:collector} fails to delete {1:blob}",
    "kill": "{0:collector} is killed",
    "adopt": "the operator adopts the restored database",
    "refuse owner": "{0:collector} refuses: the database is not the owner's",
    "refuse sequence": "{0:collector} refuses: the database is behind the bucket",
    "tick": "a tick passes",
}
"""Every action there is."""


class _Number(int):
    """A number that a template turns into a name."""

    def __format__(self, kind: str) -> str:
        if kind == "ago":
            return f", with a LastModified of {int(self)} before" if self else ""
        return f"blob {'abcdefgh'[self]}" if kind == "blob" else f"{kind} {self + 1}"


def told(machine: Machine, label: Label) -> str:
    """One action as a clause."""
    action, numbers = label
    who = "attempt" if machine.world.attempts else "writer"
    return TELL[action].replace(":process}", f":{who}}}").format(*map(_Number, numbers))


def story(machine: Machine, found: Exploration) -> Iterator[str]:
    """The counter-example: a line for each tick, or one line where time does not matter; and how it ends."""
    clauses: list[str] = []
    now = 0
    for label in found.trace:
        if label[0] == "tick":
            if clauses:
                yield f"t = {now}: {'; '.join(clauses)}."
            clauses, now = [], now + 1
        else:
            clauses.append(told(machine, label))
    if clauses:
        yield f"t = {now}: {'; '.join(clauses)}." if machine.world.ticks else f"{'; '.join(clauses)}."
    yield _ending(machine, found)


def _ending(machine: Machine, found: Exploration) -> str:
    last = found.last
    assert last is not None
    if found.broken == ENDS:
        rooted = machine.rooted(last)
        garbage = [blob for blob, age in enumerate(last.blobs) if age >= 0 and not rooted >> blob & 1]
        names = ", ".join(f"{_Number(blob):blob}" for blob in garbage)
        return f"From here, mark, wait, mark, purge never collect {names}."
    if found.broken == "protected":
        names = ", ".join(f"{_Number(blob):blob}" for blob in bits(last.early))
        return f"Lost: {names} went before its quarantine was over."
    held = [*last.rows, *([last.archived] if last.where == IN_TABLE else [])]
    blob = next(blob for blob in held if blob >= 0 and not machine.resolves(last, blob))
    return f"Lost: a row names {_Number(blob):blob}, which is gone."
