"""Since when a blob has been a candidate, and which candidates may go.

A blob is carried from one mark to the next only as the same object, a candidate in both, and not restored in
between; anything else begins its quarantine anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from offload_backend.errors import CollectorError
from offload_backend.lifecycle.census import Census, batches, micros
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.preflight import Run, ask
from offload_backend.lifecycle.records import ManifestHeader
from offload_backend.lifecycle.refusals import OLDEST_MANIFEST
from offload_backend.lifecycle.report import Tally

__all__ = ["Quarantine", "carry_forward", "load_former", "mature", "quarantine_of", "rescue"]

_SAME = """former.name = blob.name
    AND former.size = blob.size
    AND former.modified = blob.modified
"""
_RESTORED = "EXISTS (SELECT 1 FROM restored WHERE restored.id = blob.id)"

_CARRIED = f"""
INSERT INTO going SELECT name, id, scope, size, modified, COALESCE((
    SELECT first_marked FROM former
    WHERE {_SAME}
    AND NOT {_RESTORED}
), :now)
FROM blob WHERE verdict = 'marked'
"""  # noqa: S608 - made of constants

_STILL_MARKED = f"FROM blob JOIN former ON {_SAME} WHERE verdict = 'marked'"

_MATURED = f"""
INSERT INTO going SELECT blob.name, blob.id, scope, blob.size, blob.modified, first_marked
{_STILL_MARKED}
    AND NOT {_RESTORED}
    AND first_marked <= :matured
    AND first_marked < :readable
"""

_LIVE_AGAIN = "FROM former JOIN blob ON former.name = blob.name WHERE verdict = 'live'"

RESCUED = f"""
SELECT former.name, former.id, former.size, former.modified, first_marked {_LIVE_AGAIN} AND NOT {_RESTORED}
"""
"""The query of candidates that are live and not yet known to have been restored."""


_WAITING = f"{_STILL_MARKED} AND NOT {_RESTORED} AND blob.name NOT IN (SELECT name FROM going)"  # noqa: S608 - constants
_TALLIES = {
    "rescued": f"SELECT blob.size {_LIVE_AGAIN}",
    "restored": f"SELECT blob.size {_STILL_MARKED} AND {_RESTORED}",
    "waiting": f"SELECT blob.size {_WAITING}",
    "changed": f"SELECT blob.size FROM blob JOIN former ON former.name = blob.name WHERE NOT ({_SAME})",  # noqa: S608 - constants
    "gone": "SELECT size FROM former WHERE name NOT IN (SELECT name FROM blob)",
}
_FIRST_WAITING = f"SELECT MIN(first_marked) {_WAITING}"


@dataclass(frozen=True)
class Quarantine:
    """What became of the candidates of the last concluded mark.

    ``rescued`` are live now, ``restored`` were unmarked by hand, or seen live, after that mark, ``waiting``
    have not been candidates for long enough, the first of them since ``first_waiting``; ``changed`` are listed
    with another size or time, ``gone`` are no longer listed: an earlier purge was here.
    """

    rescued: Tally
    restored: Tally
    waiting: Tally
    changed: Tally
    gone: Tally
    first_waiting: datetime | None


def quarantine_of(census: Census) -> Quarantine:
    """What a census tells, once all blobs are judged and it is known which go."""
    tallies = {name: census.tally(sql) for name, sql in _TALLIES.items()}
    return Quarantine(**tallies, first_waiting=census.earliest(_FIRST_WAITING))


def load_former(control: Control, run: Run, census: Census) -> ManifestHeader | None:
    """The candidates of the newest concluded mark of this owner into the census, and what was restored since.

    ``None``, and nothing, where that one is unreadable, too old or another owner's: then every blob begins
    anew. Refused marks are passed over.
    """
    for entry in reversed(control.runs()):
        if not entry.has_manifest or entry.name == run.name:
            continue
        try:
            header = control.manifest_header(entry.name)
            if header.state != "concluded":
                continue
            if header.owner != run.owner or run.now - header.t0 > OLDEST_MANIFEST:
                return None
            census.add_former(control.candidates(entry.name))
        except CollectorError:
            census.forget_former()
            return None
        census.add_ids("restored", control.restored(since=header.t0))
        return header
    return None


def rescue(collector: Collector, control: Control, census: Census) -> None:
    """Whatever was live once begins anew when it dies again: written down, so that every later run knows."""
    if not census.execute(f"{RESCUED} LIMIT 1"):
        return
    control.write_restored((candidate.id for candidate in census.candidates(RESCUED)), collector.clock())
    for batch in batches(census.candidates(RESCUED)):
        ask(collector, "on_rescued", partial(collector.hooks.on_rescued, tuple(batch)))


def carry_forward(census: Census, now: datetime) -> None:
    """All that is marked is a candidate: since it was first marked, or since ``now``."""
    census.execute(_CARRIED, now=micros(now))


def mature(
    census: Census, now: datetime, quarantine: timedelta, read_at: datetime | None, max_skew: timedelta
) -> None:
    """The candidates that have been marked for the whole quarantine, and whose rows were read after it, may go."""
    readable = (read_at - quarantine - max_skew) if read_at is not None else datetime.max.replace(tzinfo=now.tzinfo)
    census.execute(_MATURED, matured=micros(now - quarantine), readable=micros(readable))
