"""Checks of the rows' database, and of whom the blobs belong to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone

from offload_backend.corestore import RemovableRows
from offload_backend.diagnosis.case import Case
from offload_backend.diagnosis.finding import Finding, SkippedError, Status, UnseenError, failed, ok, warn
from offload_backend.diagnosis.places import skew
from offload_backend.errors import OffloadError, Refusal, RefusedError, StoreError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control, RunEntry
from offload_backend.lifecycle.evidence import Standing
from offload_backend.lifecycle.preflight import control_of, standing_of
from offload_backend.lifecycle.refusals import about_standing

__all__ = ["about_core_store", "about_database_clock", "about_owner", "rows_of"]

_STALE = timedelta(days=7)
_NOT_SEEN = "a worker needs no database; but what rows say cannot be seen from here"
_SEE = "run this, too, where the database can be reached, or name it with --core-store"


def about_core_store(case: Case) -> Iterator[Finding]:
    """That the rows can be reached; a worker of Airflow's need not."""
    try:
        with case.roots() as roots:
            origin = roots.origin()
    except OffloadError as error:
        case.close("rows", f"the rows were not reached: {error.message}")
        if case.rows_named:
            raise
        yield Finding(Status.UNKNOWN, error.message, _NOT_SEEN, _SEE)
        return
    case.rows_reached = True
    yield ok(f"{origin.kind}, {origin.location}")
    if origin.replica:
        yield warn(f"{origin.location} is a replica or read-only", "offload gc refuses it", "name the primary")


def about_database_clock(case: Case) -> Iterator[Finding]:
    """That this machine's clock and the database's agree."""
    with rows_of(case) as rows:
        before, then, after = _now(), rows.now(), _now()
    yield skew(case, before, then, after, of="the database's", rule="rows expire by the database's clock")


def about_owner(case: Case) -> Iterator[Finding]:
    """That the deployment's blobs belong to this database, and the collector works."""
    case.require("path")
    if not case.rows_reached:
        yield _about_unknown_owner(case)
        return
    with case.roots() as roots:
        collector = Collector(case.settings, case.store(), roots)
        control = control_of(collector)
        standing, runs = _standing(collector, control)
    findings = [_about_refusal(refusal, standing) for refusal in about_standing(standing)]
    yield from findings
    if standing.owner is None:
        return
    if not findings:
        yield ok(f"the blobs belong to this database since {standing.owner.created:%Y-%m-%d}")
    yield from _about_runs(standing, runs)


@contextmanager
def rows_of(case: Case) -> Iterator[RemovableRows]:
    """The rows of a database; :class:`SkippedError` where they are not in one, or it was not reached."""
    case.require("rows")
    with ExitStack() as stack:
        try:
            rows = stack.enter_context(case.rows())
        except RefusedError:
            raise SkippedError("the rows are behind an API or in an export: only a database tells") from None
        yield rows


def _standing(collector: Collector, control: Control) -> tuple[Standing, list[RunEntry]]:
    try:
        runs = control.runs()
        return standing_of(collector, control, max((run.counted for run in runs), default=0)), runs
    except StoreError as error:
        if error.reason == "denied":
            raise UnseenError("the owner", error) from error
        raise


def _about_unknown_owner(case: Case) -> Finding:
    control = Control(case.store(), case.settings.deployment)
    try:
        owners = control.owners()
        owner = control.owner_or_none(owners[-1]) if owners else None
    except StoreError as error:
        if error.reason == "denied":
            raise UnseenError("the owner", error) from error
        raise
    if owner is None:
        seen = f"nobody has adopted the deployment {case.settings.deployment!r}"
        return warn(
            seen, "nothing is collected: orphans stay", "offload gc adopt, where the database can be reached"
        )
    seen = f"since {owner.created:%Y-%m-%d} the blobs belong to {owner.kind}, {owner.fingerprint}"
    return Finding(Status.UNKNOWN, seen, "whether that is this deployment's database is not known", _SEE)


def _about_refusal(refusal: Refusal, standing: Standing) -> Finding:
    seen = f"{refusal.rule}: {refusal.measured}"
    if refusal.rule == "owner" and standing.owner_id is None:
        return warn(seen, "nothing is collected: orphans stay", refusal.override)
    if refusal.rule in ("location", "replica"):  # told where the path and the database are looked at
        return warn(seen, "offload gc refuses", refusal.override)
    setting = refusal.rule in ("min-age", "commit-window")
    return failed(seen, f"offload gc refuses: it wants {refusal.limit}", refusal.override, setting=setting)


def _about_runs(standing: Standing, runs: list[RunEntry]) -> Iterator[Finding]:
    began = [run.began for run in runs if run.began is not None]
    last = max(began, default=None)
    since = last or (standing.owner.created if standing.owner else _now())
    if _now() - since > _STALE:
        seen = f"the collector last ran on {last:%Y-%m-%d}" if last else "the collector has never run"
        yield warn(seen, "orphans stay until it does", "offload gc run --delete, daily")
    elif last is not None:
        yield ok(f"the collector last ran on {last:%Y-%m-%d}")


def _now() -> datetime:
    return datetime.now(timezone.utc)
