"""What the verbs have in common that rewrite rows while tasks run: options, progress, and what they tell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offload_backend.cli.options import Output, duration_of
from offload_backend.cli.progress import Show, bar
from offload_backend.cli.tables import say
from offload_backend.errors import IncompleteError

if TYPE_CHECKING:
    from offload_backend.cli.opening import Deployment
    from offload_backend.lifecycle.remaking import Remaking, RewriteReport

__all__ = ["DagOption", "DryRunOption", "GraceOption", "LimitOption", "Told", "Wanted", "rewrite_rows", "tell"]

FAILURES_SHOWN = 10

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how many rows need it.")]
DagOption = Annotated[str | None, typer.Option("--dag", help="Only state of the tasks of this dag.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="At most so many rows; 0 for all.")]
GraceOption = Annotated[
    str,
    typer.Option("--grace", help="How long an old blob stays for those who have just read its row."),
]


@dataclass(frozen=True)
class Wanted:
    """What the options say of the rows; ``delete`` is whether superseded blobs go after their ``grace``."""

    dry: bool
    dag: str | None
    limit: int
    grace: str = "0s"
    delete: bool = True


@dataclass(frozen=True)
class Told:
    """What a verb says in words of its own: of refs elsewhere, of rows in archives, and of blobs that stay."""

    elsewhere: str
    archived: str
    kept: str


def rewrite_rows(
    opened: Deployment, remaking: Remaking, wanted: Wanted, *, old: str | None = None
) -> tuple[RewriteReport, dict[str, str]]:
    """The rows of the deployment, rewritten; and where rows and blobs are. ``old`` is where blobs were before."""
    from offload_backend.lifecycle.collector import Collector
    from offload_backend.lifecycle.hooks import load_hooks
    from offload_backend.lifecycle.rewrite import rewrite
    from offload_backend.lifecycle.selection import TaskSelection

    grace = duration_of("--grace", wanted.grace, "10m, or 0s for none")
    settings, store = opened.settings, opened.store()
    with opened.rows() as rows, opened.roots() as roots, bar() as show:
        hooks = load_hooks(settings)
        former = None
        if old is not None:
            former = Collector(settings.replaced({"path": old}), opened.open_store(old), roots, hooks)
        report = rewrite(
            Collector(settings, store, roots, hooks),
            rows,
            remaking,
            selection=None if wanted.dag is None else TaskSelection(wanted.dag),
            limit=wanted.limit,
            dry=wanted.dry,
            former=former,
            delete=wanted.delete,
            grace=grace,
            on_step=lambda report: _show(report, show, wanted.limit),
        )
        return report, {"rows": rows.location, "blobs": store.location}


def tell(
    report: RewriteReport,
    places: dict[str, str],
    output: Output,
    told: Told,
    *,
    lines: list[str] | None = None,
    facts: dict[str, Any] | None = None,
) -> None:
    """Say on stdout what was done, with more ``lines`` for people and ``facts`` for programs.

    Raises :class:`~offload_backend.errors.IncompleteError` where something was not.
    """
    if output is Output.JSON:
        typer.echo(json.dumps({"places": places, **asdict(report), **(facts or {})}, indent=2))
    else:
        say([*_table(report, places, told), *(lines or [])])
    _complain(report)


def _show(report: RewriteReport, show: Show, limit: int) -> None:
    done = report.done.rows + report.changed + report.failures
    total = min(limit, report.wanted.rows) if limit else report.wanted.rows
    left = f", {report.waiting:,} old blobs wait" if report.waiting else ""
    show(f"rows, {report.done.bytes:,} bytes written anew{left}", min(done, total), total)


def _complain(report: RewriteReport) -> None:
    if not report.failures and not report.undeleted and not report.stopped:
        return
    could = "can" if report.dry else "could"
    reasons = [f"{report.failures:,} rows {could} not be rewritten"] if report.failures else []
    if report.stopped:
        reasons.append("the store failed again and again, and the other rows were left alone")
    if report.undeleted:
        why = "; ".join(sorted(set(report.undeleted.values())))
        reasons.append(f"{len(report.undeleted):,} blobs that no row names any more could not be deleted: {why}")
    error = IncompleteError("; ".join(reasons), report.undeleted)
    again = "mend what the reasons say, and run the command again for the other rows"
    error.hint = again if report.failures or report.stopped else ""
    if report.undeleted:
        error.hint = "; ".join(filter(None, (error.hint, "what was left behind is found by offload gc")))
    raise error


def _table(report: RewriteReport, places: dict[str, str], told: Told) -> list[str]:
    wanted, done = report.wanted, report.done
    lines = [f"rows in {places['rows']}", f"blobs in {places['blobs']}"]
    lines += [f"{wanted.rows:,} of {report.rows:,} rows need it, {wanted.blobs:,} blobs, {wanted.bytes:,} bytes"]
    if not report.dry:
        lines += [f"{done.rows:,} rows rewritten, {done.blobs:,} blobs written anew, {done.bytes:,} bytes"]
    lines += [f"  {row}: {reason}" for row, reason in list(report.failed.items())[:FAILURES_SHOWN]]
    if report.failures > FAILURES_SHOWN:
        lines.append(f"  and {report.failures - FAILURES_SHOWN:,} more; --output json has the first thousand")
    return lines + [text for count, text in _remarks(report, told) if count]


def _remarks(report: RewriteReport, told: Told) -> list[tuple[int, str]]:
    could = "can" if report.dry else "could"
    return [
        (report.failures, f"{report.failures:,} rows {could} not be rewritten"),
        (report.stopped, "the store failed again and again: the other rows were left alone"),
        (report.changed, f"{report.changed:,} rows were written anew or are held by somebody: look again later"),
        (report.elsewhere, f"{report.elsewhere:,} refs {told.elsewhere}"),
        (report.archived, f"{report.archived:,} rows in archives need it and stay: {told.archived}"),
        (report.deleted, f"{report.deleted:,} old blobs deleted"),
        (
            report.young,
            f"{report.young:,} old blobs stay, written within commit_window; offload gc finds them",
        ),
        (report.kept, f"{report.kept:,} old blobs stay, {told.kept}; offload gc finds them"),
        (len(report.held), f"{len(report.held):,} old blobs are named by another row, a pin or a hook: they stay"),
        (len(report.undeleted), f"{len(report.undeleted):,} blobs could not be deleted"),
        (report.dry, "this was a dry run: nothing was rewritten"),
    ]
