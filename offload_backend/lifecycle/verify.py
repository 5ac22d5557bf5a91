"""Verify: both directions. Blobs that no row names, and rows whose blob is gone or is not what was written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial

from offload_backend.errors import BlobNotFoundError
from offload_backend.lifecycle.census import Census, batches
from offload_backend.lifecycle.collector import READ, Collector
from offload_backend.lifecycle.contents import difference
from offload_backend.lifecycle.preflight import ask
from offload_backend.lifecycle.records import Layout
from offload_backend.lifecycle.report import Dangling, Tally, VerifyReport
from offload_backend.lifecycle.summary import cost_of, counts_of
from offload_backend.lifecycle.survey import add_kept, add_roots, addresses

__all__ = ["verify"]

_SHOWN = 1000
_ALL = datetime.max.replace(tzinfo=timezone.utc)
_TABLES = (
    "CREATE TABLE suspect (name TEXT, size INTEGER, content TEXT, problem TEXT)",
    "CREATE TABLE again AS SELECT * FROM claim WHERE 0",
)
_ABSENT = "SELECT DISTINCT name, size, content FROM claim WHERE name NOT IN (SELECT name FROM blob) ORDER BY name"
_PRESENT = "SELECT DISTINCT name, size, content FROM claim WHERE name IN (SELECT name FROM blob) ORDER BY name"
_CONFIRMED = """
SELECT DISTINCT again.holder, again.name, problem FROM again JOIN suspect
    ON again.name = suspect.name
    AND again.size = suspect.size
    AND again.content = suspect.content
ORDER BY problem, 1, 2
"""


def verify(collector: Collector, *, contents: bool) -> VerifyReport:
    """Compare the whole listing with all roots. Writes nothing, and needs no adoption.

    A ref is called dangling only if its blob is neither listed nor found when asked for directly, and a row
    still names it afterwards. With ``contents``, every live blob is read and compared with the size and digest
    in its ref, in bounded memory. Ages are by this machine's clock: they only tell orphans from young blobs.
    """
    layout = Layout(collector.settings.deployment)
    cutoff = collector.clock() - collector.settings.gc_min_age
    with Census(layout) as census:
        census.add_listing(collector.store.list(layout.everything))
        roots = collector.roots.roots(addresses(collector.store, census, _ALL))
        elsewhere = add_roots(census, roots, collector, cutoff)
        add_kept(collector, census)
        census.judge(cutoff)
        for table in _TABLES:
            census.execute(table)
        _suspect_absent(collector, census)
        checked = _suspect_changed(collector, census) if contents else Tally()
        found = _confirmed(collector, census)
        counts = counts_of(census)
        return VerifyReport(
            deployment=collector.settings.deployment,
            location=collector.store.location,
            counts=counts,
            orphans=counts.marked,
            checked=checked,
            dangling=_how_many(census, "gone"),
            corrupt=_how_many(census, "corrupt"),
            elsewhere=elsewhere,
            found=found,
            cost=cost_of(census, writes=0, reads=checked.count),
        )


def _suspect_absent(collector: Collector, census: Census) -> None:
    """Refs whose blob was not listed: it may have been written since, so it is asked for directly."""
    gone = (claim for claim in census.stream(_ABSENT) if not _is_there(collector, claim[0]))
    census.insert("INSERT INTO suspect VALUES (?, ?, ?, 'gone')", gone)


def _is_there(collector: Collector, name: str) -> bool:
    try:
        collector.store.get_range(name, 0, 1)
    except BlobNotFoundError:
        return False
    return True


def _suspect_changed(collector: Collector, census: Census) -> Tally:
    """Read every listed blob that a ref names, whatever its name is in this listing; what was read whole."""
    count = size = 0
    collector.expect(READ, census.tally(f"SELECT size FROM ({_PRESENT})").count)  # noqa: S608 - a constant
    for name, expected, content in census.stream(_PRESENT):
        problem, read = difference(collector.store, name, expected, content)
        count, size = count + 1, size + read
        if problem:
            census.insert("INSERT INTO suspect VALUES (?, ?, ?, ?)", [(name, expected, content, problem)])
    return Tally(count, size)


def _confirmed(collector: Collector, census: Census) -> tuple[Dangling, ...]:
    """What rows still name after all this; the hooks are told of all of it, the report of some."""
    if not census.execute("SELECT 1 FROM suspect LIMIT 1"):
        return ()
    roots = collector.roots.roots(addresses(collector.store, census, _ALL))
    add_roots(census, roots, collector, _ALL, claims="again")
    shown: tuple[Dangling, ...] = ()
    for batch in batches(_dangling(census)):
        ask(collector, "on_dangling", partial(collector.hooks.on_dangling, tuple(batch)))
        shown = shown or tuple(batch[:_SHOWN])
    return shown


def _dangling(census: Census) -> Iterator[Dangling]:
    return (Dangling(holder, name, problem) for holder, name, problem in census.stream(_CONFIRMED))


def _how_many(census: Census, problem: str) -> int:
    """How many refs have the problem."""
    [(count,)] = census.execute(
        f"SELECT COUNT(*) FROM ({_CONFIRMED}) WHERE problem LIKE :problem",  # noqa: S608 - constants
        problem=f"{problem}%",
    )
    return int(count)
