"""Purge: delete what has been marked for the whole quarantine and is still not live."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from offload_backend.blobstore import DeleteReport, KeepsUnfinished
from offload_backend.errors import CollectorError, IncompleteError, OffloadError, Refusal
from offload_backend.lifecycle import preflight
from offload_backend.lifecycle.census import Census, batches
from offload_backend.lifecycle.collector import DELETED, Collector
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.measures import about_deletion, about_findings
from offload_backend.lifecycle.preflight import Run, ask, control_of, limits_of, refuse
from offload_backend.lifecycle.quarantine import mature, quarantine_of, rescue
from offload_backend.lifecycle.records import Candidate, ManifestHeader
from offload_backend.lifecycle.refusals import about_manifest, unreadable_manifest
from offload_backend.lifecycle.report import PurgeReport, Tally
from offload_backend.lifecycle.summary import GOING, cost_of, counts_of, next_deletion, samples, top_scopes
from offload_backend.lifecycle.survey import Survey, findings_of, survey

__all__ = ["purge"]

_GOING = "SELECT size FROM going"


def purge(collector: Collector, *, delete: bool, accept: Collection[str] = ()) -> PurgeReport:
    """Delete the matured candidates of the newest mark; without ``delete``, only say which they are.

    Both do the same up to the deletes. Raises :class:`~offload_backend.errors.RefusedError`, and
    :class:`~offload_backend.errors.IncompleteError` when the store did not confirm every delete.
    """
    run = preflight.begin(collector, "purge", accept)
    control = control_of(collector)
    with Census(control.layout) as census:
        header = _load_manifest(collector, control, run, census)
        surveyed = survey(collector, run, census, collector.store.list(control.layout.everything))
        _mature(collector, run, census, surveyed)
        rescue(collector, control, census)
        matured = census.tally(_GOING)
        findings = findings_of(census, surveyed, run, collector)
        refuse(collector, [*about_findings(findings), *about_deletion(findings)], accept)
        _ask_hooks(collector, census)
        doomed = census.tally(_GOING)
        report = replace(
            _report(collector, run, census, header, matured),
            dry=not delete,
            doomed=doomed,
            spared=Tally(matured.count - doomed.count, matured.bytes - doomed.bytes),
        )
        if not delete:
            return report
        collector.expect(DELETED, doomed.count)
        outcome = _delete_all(control, run, census)
    leftovers = _sweep(collector, control, run)
    return _told(collector, replace(report, **vars(outcome), leftovers=leftovers))


def _load_manifest(collector: Collector, control: Control, run: Run, census: Census) -> ManifestHeader:
    """The newest manifest, its candidates in the census; or refuse."""
    with_manifest = [entry.name for entry in control.runs() if entry.has_manifest]
    try:
        header = control.manifest_header(with_manifest[-1]) if with_manifest else None
        census.add_former(control.candidates(header.run) if header is not None else ())
    except CollectorError as error:
        refuse(collector, [unreadable_manifest(error)], ())
        raise
    refusals = about_manifest(
        header,
        deployment=collector.settings.deployment,
        location=collector.store.location,
        owner=run.owner,
        now=run.now,
    )
    refuse(collector, refusals, run.accepted)
    if header is None:
        raise CollectorError("no manifest, and yet no refusal")
    census.add_ids("restored", control.restored(since=header.t0))
    return header


def _mature(collector: Collector, run: Run, census: Census, surveyed: Survey) -> None:
    settings = collector.settings
    mature(census, run.now, settings.gc_quarantine, surveyed.read_at, settings.gc_max_skew)


def _ask_hooks(collector: Collector, census: Census) -> None:
    """Take out of what is to go whatever a hook holds back. All of it is asked before anything is deleted."""
    for batch in batches(census.candidates(GOING)):
        allowed = ask(collector, "before_delete", partial(_allowed, collector.hooks, tuple(batch)))
        if not allowed <= set(batch):
            refuse(collector, [_widened()], ())
        census.spare(candidate.name for candidate in batch if candidate not in allowed)
    census.drop_spared()


def _allowed(hooks: Hooks, batch: Sequence[Candidate]) -> set[Candidate]:
    return set(hooks.before_delete(batch))


def _widened() -> Refusal:
    return Refusal(
        rule="hook",
        measured="the hook before_delete returned blobs that were not in the batch",
        limit="a part of the batch",
        override="correct the hook, or take it out of [offload_backend] hooks",
    )


@dataclass
class _Outcome:
    deleted: Tally = field(default_factory=Tally)
    failed: dict[str, str] = field(default_factory=dict)
    unfinished: int = 0

    def add(self, batch: Sequence[Candidate], report: DeleteReport) -> None:
        """Count what the store confirmed; whatever it passed over in silence has failed."""
        gone = set(report.deleted)
        sizes = [candidate.size for candidate in batch if candidate.name in gone]
        self.deleted = Tally(self.deleted.count + len(sizes), self.deleted.bytes + sum(sizes))
        for candidate in batch:
            if candidate.name not in gone:
                self.failed[candidate.name] = report.failed.get(candidate.name, "the store did not say")


def _delete_all(control: Control, run: Run, census: Census) -> _Outcome:
    """Batch by batch, each written down before and after; none more once the store fails altogether."""
    outcome, broken = _Outcome(), False
    for number, batch in enumerate(batches(census.candidates(GOING)), start=1):
        if broken:
            outcome.unfinished += len(batch)
            continue
        kept = {*control.pins(), *control.restored(since=run.now)}
        doomed = [candidate for candidate in batch if candidate.id not in kept]
        names = [candidate.name for candidate in doomed]
        control.write_intent(run.name, number, names)
        try:
            report = control.store.delete(names)
        except OffloadError as error:
            report, broken = DeleteReport(failed=dict.fromkeys(names, error.message)), True
        outcome.add(doomed, report)
        control.write_result(run.name, number, report)
    return outcome


def _sweep(collector: Collector, control: Control, run: Run) -> int:
    """Files of killed uploads, in a store that keeps such."""
    store = control.store
    if not isinstance(store, KeepsUnfinished):
        return 0
    return store.remove_unfinished(control.layout.everything, run.now - collector.settings.gc_min_age)


def _told(collector: Collector, report: PurgeReport) -> PurgeReport:
    """Tell the hooks, and raise if the report tells of failures."""
    told = f"{report.deleted.count} blobs were deleted"
    try:
        collector.hooks.on_purged(report)
    except Exception as error:
        raise CollectorError(
            f"{told}, and then the hook on_purged raised {type(error).__name__}", hint="correct the hook"
        ) from error
    if report.failed:
        reasons = "; ".join(sorted(set(report.failed.values()))[:5])
        raise IncompleteError(
            f"{told}, {len(report.failed) + report.unfinished} were not: {reasons}", report.failed
        )
    return report


def _report(collector: Collector, run: Run, census: Census, header: ManifestHeader, matured: Tally) -> PurgeReport:
    settings, former = collector.settings, quarantine_of(census)
    return PurgeReport(
        run=run.name,
        dry=True,
        now=run.now,
        skew=run.skew,
        manifest=header.run,
        deployment=settings.deployment,
        location=collector.store.location,
        limits=limits_of(collector),
        counts=replace(counts_of(census), matured=matured),
        waiting=former.waiting,
        restored=former.restored,
        changed=former.changed,
        gone=former.gone,
        top_scopes=top_scopes(census),
        samples=samples(census),
        next_deletion=next_deletion(census, former.first_waiting, settings),
        cost=cost_of(census, writes=1 + 2 * -(-matured.count // 1000), deletes=-(-matured.count // 1000)),
        accepted=run.accepted,
    )
