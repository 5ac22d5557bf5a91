"""What a report means for the person who reads it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from offload_backend.cli.tables import ago, amount
from offload_backend.errors import Refusal
from offload_backend.lifecycle import report as reports

__all__ = ["about_adopt", "about_mark", "about_pin", "about_purge", "about_refusals", "about_restore"]
__all__ += ["about_run", "about_status", "about_verify"]

_VERSIONS = "restore the object's older version where the bucket keeps versions, or set the key again"


def about_refusals(refusals: Iterable[Refusal]) -> Iterator[str]:
    """Each rule with what was measured, its limit, and what lifts it."""
    yield "Refused; nothing was deleted."
    for refusal in refusals:
        yield f"  {refusal.rule}"
        yield f"    measured: {refusal.measured}"
        yield f"    limit:    {refusal.limit}"
        yield f"    override: {refusal.override}"
    yield "Look first: offload gc status says how things stand, offload gc show what the last run saw."


def about_adopt(report: reports.AdoptReport) -> Iterator[str]:
    """What begins now."""
    if report.replaced:
        yield "Earlier marks count no more: every blob's quarantine begins anew."
    yield "Next: offload gc run, daily; with --delete once you have read its report."
    yield "Nothing is deleted before runs have marked it for the whole of gc_quarantine."


def about_mark(report: reports.MarkReport) -> Iterator[str]:
    """When something could be deleted at the earliest, and how to keep it."""
    yield from _about_dangling(report.counts)
    yield from _about_next(report.next_deletion, report.now)
    if report.counts.marked.count:
        marked = amount(report.counts.marked.count, report.counts.marked.bytes)
        yield f"{marked} marked. All of them: offload gc show {report.run} --all"
        yield "To keep some: offload gc restore ID… or offload gc pin ID…. Next: offload gc run again tomorrow."
    else:
        yield "No blob is a candidate. Next: offload gc run again tomorrow."


def about_purge(report: reports.PurgeReport) -> Iterator[str]:
    """What went or would go, and an alarm if something had been marked that is live."""
    if report.counts.rescued.count:
        yield (
            f"ALARM: {amount(report.counts.rescued.count)} had been marked and are live now: kept. A row was "
            "written later than commit_window: find out who writes so late, or raise commit_window and gc_min_age."
        )
    yield from _about_dangling(report.counts)
    doomed = amount(report.doomed.count, report.doomed.bytes)
    if not report.dry:
        yield f"{amount(report.deleted.count, report.deleted.bytes)} deleted."
    elif report.doomed.count:
        yield f"Nothing was deleted; {doomed} would be. Next: the same command with --delete"
    else:
        yield "Nothing was deleted, and nothing would be now."
    if not report.doomed.count:
        yield from _about_next(report.next_deletion, report.now)


def about_verify(report: reports.VerifyReport) -> Iterator[str]:
    """Whether all is well, else how to mend it."""
    if report.dangling:
        yield f"{amount(report.dangling, what='ref')} without a blob: {_VERSIONS}."
    if report.corrupt:
        yield f"{amount(report.corrupt, what='ref')} to a damaged blob: {_VERSIONS}."
    if not report.dangling and not report.corrupt:
        yield "No ref dangles."
    if report.elsewhere:
        yield f"{amount(report.elsewhere, what='ref')} to other locations or of newer formats: not looked at."
    if report.orphans.count:
        yield f"{amount(report.orphans.count, report.orphans.bytes)} without a row. Next: offload gc run"


def about_restore(report: reports.RestoreReport) -> Iterator[str]:
    """What restoring means, and what it did not find."""
    if report.restored:
        yield f"The quarantine of {amount(report.restored)} begins anew. To keep them for good: offload gc pin ID…"
    if report.unknown:
        yield f"{amount(len(report.unknown), what='id')} not marked, so there was nothing to restore."


def about_pin(report: reports.PinReport) -> Iterator[str]:
    """How many are pinned now."""
    yield f"{amount(report.pinned)} pinned now. To let them go: offload gc unpin ID…"


def about_run(report: reports.RunReport) -> Iterator[str]:
    """Where the other candidates are."""
    if report.candidates > len(report.samples):
        yield f"{len(report.samples):,} of {amount(report.candidates, what='candidate')}; all of them with --all."
    if report.refusals:
        yield "This run was refused: its candidates are never acted upon."


def about_status(report: reports.StatusReport) -> Iterator[str]:
    """What to run next."""
    if report.owner is None:
        yield "Next: offload gc adopt, if this is the database of these blobs."
    elif report.refusals:
        yield "A run would be refused now."
    elif report.matured.count:
        yield "Next: offload gc run, and with --delete once you have read its report."
    else:
        yield "Next: offload gc run, daily."
    yield from _about_next(report.next_deletion, datetime.now(tz=timezone.utc))


def _about_next(when: datetime | None, now: datetime) -> Iterator[str]:
    if when is not None and when > now:
        yield f"Nothing can be deleted before {ago(when, now)}."
    elif when is not None:
        yield "Some have been marked for the whole quarantine. Next: offload gc purge, and with --delete"


def _about_dangling(counts: reports.Counts) -> Iterator[str]:
    if counts.dangling.count:
        yield f"{amount(counts.dangling.count, what='ref')} to blobs that were not listed. Next: offload verify"
