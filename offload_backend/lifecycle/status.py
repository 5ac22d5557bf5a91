"""How things stand, read from the control objects alone."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

from offload_backend.errors import CollectorError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control, RunEntry
from offload_backend.lifecycle.preflight import control_of, standing_of
from offload_backend.lifecycle.records import Candidate, ManifestHeader
from offload_backend.lifecycle.refusals import about_manifest, about_standing
from offload_backend.lifecycle.report import RunReport, Sample, StatusReport, Tally

__all__ = ["show", "status"]

_SHOWN_RUNS = 10
_SAMPLES = 10


def status(collector: Collector) -> StatusReport:
    """Owner, ledger, the last runs, what waits and what may go. Writes nothing, lists no blob."""
    control = control_of(collector)
    runs = control.runs()
    standing = standing_of(collector, control, max((run.counted for run in runs), default=0))
    newest = next((run for run in reversed(runs) if run.has_manifest), None)
    header = _header(control, newest)
    now = collector.clock()
    found = about_manifest(
        header,
        deployment=collector.settings.deployment,
        location=collector.store.location,
        owner=standing.owner_id or "",
        now=now,
    )
    usable = header if header is not None and not found else None
    shown = [run for run in reversed(runs) if run.began is not None][:_SHOWN_RUNS]
    waiting, matured, earliest = _ages(collector, control, usable, now)
    return StatusReport(
        deployment=collector.settings.deployment,
        location=collector.store.location,
        owner=standing.owner_id,
        fingerprint=standing.origin.fingerprint,
        database=standing.origin.location,
        database_sequence=standing.ledger.sequence if standing.ledger is not None else None,
        bucket_sequence=standing.bucket_sequence,
        runs=tuple(_run_report(control, run, samples=0) for run in shown),
        manifest=usable.run if usable is not None else None,
        waiting=waiting,
        matured=matured,
        next_deletion=earliest + collector.settings.gc_quarantine if earliest is not None else None,
        pinned=sum(1 for _ in control.pins()),
        refusals=tuple(about_standing(standing)),
    )


def show(collector: Collector, run: str = "last") -> RunReport:
    """One run: its name, its number, or ``last``. Raises :class:`CollectorError` if there is none."""
    control = control_of(collector)
    return _run_report(control, control.run_named(run), samples=_SAMPLES)


def _ages(
    collector: Collector, control: Control, header: ManifestHeader | None, now: datetime
) -> tuple[Tally, Tally, datetime | None]:
    """What waits, what has matured, and since when the oldest is marked."""
    if header is None:
        return Tally(), Tally(), None
    restored = set(control.restored(since=header.t0))
    counts = {False: [0, 0], True: [0, 0]}
    earliest: datetime | None = None
    for candidate in control.candidates(header.run):
        if candidate.id in restored:
            continue
        since = candidate.first_marked
        tally = counts[since <= now - collector.settings.gc_quarantine]
        tally[0] += 1
        tally[1] += candidate.size
        earliest = since if earliest is None else min(earliest, since)
    return Tally(*counts[False]), Tally(*counts[True]), earliest


def _run_report(control: Control, entry: RunEntry, samples: int) -> RunReport:
    if entry.began is None:
        raise CollectorError(
            f"the run {entry.name} has no marker", hint="choose another; offload gc status lists them"
        )
    verb = _verb(control, entry)
    header = _header(control, entry)
    deleted, failed = _journal(control, entry)
    shown = islice(control.candidates(entry.name), samples) if header is not None and samples else iter(())
    if header is None:
        state = _state_without_manifest(verb, entry, deleted + failed)
        return RunReport(entry.name, verb, entry.began, state, deleted=deleted, failed=failed)
    return RunReport(
        run=entry.name,
        verb=verb,
        now=entry.began,
        state=header.state,
        candidates=header.counts.marked.count,
        counts=header.counts,
        refusals=header.refusals,
        accepted=header.accepted,
        samples=tuple(map(_sample, shown)),
    )


def _verb(control: Control, entry: RunEntry) -> str:
    try:
        return control.marker(entry.name).verb
    except CollectorError:
        return "unknown"


def _header(control: Control, entry: RunEntry | None) -> ManifestHeader | None:
    """The run's manifest's, if it has one that can be read."""
    try:
        return control.manifest_header(entry.name) if entry is not None and entry.has_manifest else None
    except CollectorError:
        return None


def _state_without_manifest(verb: str, entry: RunEntry, tried: int) -> str:
    if entry.has_manifest:
        return "unreadable"
    if verb == "mark":
        return "unfinished"
    return "purged" if tried else "nothing deleted"


def _journal(control: Control, entry: RunEntry) -> tuple[int, int]:
    """How many blobs the run's journal says were deleted, and how many were not."""
    results = [_result(control, name) for name in entry.objects if name.endswith(".result.json")]
    return sum(deleted for deleted, _ in results), sum(failed for _, failed in results)


def _result(control: Control, name: str) -> tuple[int, int]:
    found = control.read(name)
    return len(found["deleted"]), len(found["failed"])


def _sample(candidate: Candidate) -> Sample:
    why = f"no row named its id; a candidate since {candidate.first_marked:%Y-%m-%d %H:%M} UTC"
    return Sample(candidate.name, candidate.size, candidate.modified, candidate.first_marked, why)
