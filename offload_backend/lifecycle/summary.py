"""Figures for people, out of a census whose blobs are judged."""

from __future__ import annotations

from datetime import datetime

from offload_backend.lifecycle.census import BATCH, Census
from offload_backend.lifecycle.quarantine import quarantine_of
from offload_backend.lifecycle.report import Cost, Counts, Sample, ScopeShare, Tally
from offload_backend.settings import Settings

__all__ = ["GOING", "cost_of", "counts_of", "next_deletion", "samples", "top_scopes"]

GOING = "SELECT name, id, size, modified, first_marked FROM going ORDER BY name"
_DANGLING = "SELECT size FROM claim WHERE NOT EXISTS (SELECT 1 FROM blob WHERE blob.id = claim.id)"
_TOP = 20
_SAMPLES = 10
_FIXED_LISTS = 6


def counts_of(census: Census) -> Counts:
    """What the listing held. Nothing has ``matured`` yet: that is for a purge to say."""
    found = {
        verdict: Tally(count, size)
        for verdict, count, size in census.execute("SELECT verdict, COUNT(*), SUM(size) FROM blob GROUP BY verdict")
    }
    return Counts(
        listed=census.tally("SELECT size FROM blob"),
        **found,
        rescued=quarantine_of(census).rescued,
        foreign=census.tally("SELECT size FROM stray"),
        dangling=census.tally(_DANGLING),
    )


def top_scopes(census: Census) -> tuple[ScopeShare, ...]:
    """The scopes with the most bytes among what is to go."""
    sql = "SELECT scope, COUNT(*), SUM(size) FROM going GROUP BY scope ORDER BY 3 DESC, 1 LIMIT :top"
    return tuple(ScopeShare(*row) for row in census.execute(sql, top=_TOP))


def samples(census: Census) -> tuple[Sample, ...]:
    """Some of what is to go, the largest first, and why."""
    sql = "SELECT name, id, size, modified, first_marked FROM going ORDER BY size DESC, name LIMIT :samples"
    return tuple(
        Sample(
            name=found.name,
            size=found.size,
            modified=found.modified,
            first_marked=found.first_marked,
            why=f"no row names its id; a candidate since {found.first_marked:%Y-%m-%d %H:%M} UTC",
        )
        for found in census.candidates(sql, samples=_SAMPLES)
    )


def next_deletion(census: Census, first_marked: datetime | None, settings: Settings) -> datetime | None:
    """When the first of what is marked or still too young could go, if nothing changes."""
    young = census.earliest("SELECT MIN(modified) FROM blob WHERE verdict = 'young'")
    dates = [first_marked, young + settings.gc_min_age if young is not None else None]
    return min((date + settings.gc_quarantine for date in dates if date is not None), default=None)


def cost_of(census: Census, *, writes: int, reads: int = 2, deletes: int = 0) -> Cost:
    """Requests of a run; a page of a listing holds a thousand objects."""
    objects = census.tally("SELECT size FROM blob UNION ALL SELECT size FROM stray").count
    return Cost(lists=-(-objects // BATCH) + _FIXED_LISTS, writes=writes, reads=reads, deletes=deletes)
