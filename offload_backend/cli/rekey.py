"""``offload rekey``: blobs and refs by the keys that are named first, while tasks run."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from offload_backend.cli.opening import open_deployment
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, Output, OutputOption, PathOption
from offload_backend.cli.progress import Show, bar
from offload_backend.errors import ConfigError, IncompleteError

if TYPE_CHECKING:
    from offload_backend.lifecycle.remaking import RewriteReport

__all__ = ["rekey"]

FAILURES_SHOWN = 10

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how many rows need it.")]
DagOption = Annotated[str | None, typer.Option("--dag", help="Only state of the tasks of this dag.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="At most so many rows; 0 for all.")]
GraceOption = Annotated[
    str,
    typer.Option("--grace", help="How long an old blob stays for those who have just read its row."),
]
DecryptOption = Annotated[
    bool,
    typer.Option("--decrypt", help="Take encrypted blobs out of encryption, before encryption_keys is emptied."),
]


def rekey(
    *,
    dry_run: DryRunOption = False,
    dag: DagOption = None,
    limit: LimitOption = 0,
    grace: GraceOption = "10m",
    decrypt: DecryptOption = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write blobs anew with the first of encryption_keys, and sign refs anew with the first of signing_keys.

    Tasks may run meanwhile; what they set stays. May be stopped at any moment and run again: it goes on
    where it was. An old key may go once --dry-run finds no row that needs it.
    """
    from offload_backend.lifecycle.collector import Collector
    from offload_backend.lifecycle.hooks import load_hooks
    from offload_backend.lifecycle.rekey import Rekeying
    from offload_backend.lifecycle.rewrite import rewrite
    from offload_backend.lifecycle.selection import TaskSelection

    patience = _duration(grace)
    with redirect_stdout(sys.stderr):  # what hooks and Airflow print is no output of ours
        opened = open_deployment(path, core_store, deployment)
        rekeying = Rekeying(opened.settings, opened.open_store, decrypt=decrypt)
        store, several = opened.store(), rekeying.ids_of_several()
        with opened.rows() as rows, opened.roots() as roots, bar() as show:
            report = rewrite(
                Collector(opened.settings, store, roots, load_hooks(opened.settings)),
                rows,
                rekeying,
                selection=None if dag is None else TaskSelection(dag),
                limit=limit,
                dry=dry_run,
                grace=patience,
                on_step=lambda report: _show(report, show, limit),
            )
            places = {"rows": rows.location, "blobs": store.location}
    typer.echo((_as_json if output is Output.JSON else _as_table)(report, places, several))
    _complain(report)


def _duration(text: str) -> timedelta:
    from offload_backend.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--grace {error}", hint="for example --grace 10m, or 0s for none") from None


def _show(report: RewriteReport, show: Show, limit: int) -> None:
    done = report.done.rows + report.changed + report.failures
    total = min(limit, report.wanted.rows) if limit else report.wanted.rows
    left = f", {report.waiting:,} old blobs wait" if report.waiting else ""
    show(f"rows, {report.done.bytes:,} bytes written anew{left}", min(done, total), total)


def _complain(report: RewriteReport) -> None:
    if not report.failures and not report.undeleted:
        return
    reasons = [f"{report.failures:,} rows could not be rewritten"] if report.failures else []
    if report.undeleted:
        why = "; ".join(sorted(set(report.undeleted.values())))
        reasons.append(f"{len(report.undeleted):,} blobs that no row names any more could not be deleted: {why}")
    error = IncompleteError("; ".join(reasons), report.undeleted)
    error.hint = (
        "mend what the reasons say, and run the command again for the other rows" if report.failures else ""
    )
    if report.undeleted:
        error.hint = "; ".join(filter(None, (error.hint, "what was left behind is found by offload gc")))
    raise error


def _as_json(report: RewriteReport, places: dict[str, str], several: list[str]) -> str:
    return json.dumps({"places": places, **asdict(report), "ids_of_several_keys": several}, indent=2)


def _as_table(report: RewriteReport, places: dict[str, str], several: list[str]) -> str:
    wanted, done = report.wanted, report.done
    lines = [f"rows in {places['rows']}", f"blobs in {places['blobs']}"]
    lines += [f"{wanted.rows:,} of {report.rows:,} rows need it, {wanted.blobs:,} blobs, {wanted.bytes:,} bytes"]
    if not report.dry:
        lines += [f"{done.rows:,} rows rewritten, {done.blobs:,} blobs written anew, {done.bytes:,} bytes"]
    lines += [f"  {row}: {reason}" for row, reason in list(report.failed.items())[:FAILURES_SHOWN]]
    if report.failures > FAILURES_SHOWN:
        lines.append(f"  and {report.failures - FAILURES_SHOWN:,} more; --output json has the first thousand")
    lines += [text for count, text in _remarks(report) if count]
    lines += [f"the id {name!r} stands for several keys: a blob of it may need any of them" for name in several]
    return "\n".join(lines)


def _remarks(report: RewriteReport) -> list[tuple[int, str]]:
    here, keep = "that name no blob of their own row here", "keep their keys, and accept those without"
    return [
        (report.failures, f"{report.failures:,} rows could not be rewritten"),
        (report.stopped, "the store failed again and again: the other rows were left alone"),
        (report.changed, f"{report.changed:,} rows were written anew or are held by somebody: look again later"),
        (report.elsewhere, f"{report.elsewhere:,} refs {here} need it and stay: {keep}"),
        (report.archived, f"{report.archived:,} rows in archives need it and stay: keep their keys, or drop them"),
        (report.deleted, f"{report.deleted:,} old blobs deleted"),
        (
            report.young,
            f"{report.young:,} old blobs stay, written within commit_window; offload gc finds them",
        ),
        (report.kept, f"{report.kept:,} old blobs stay, as reclaim = never says; offload gc finds them"),
        (len(report.held), f"{len(report.held):,} old blobs are named by another row, a pin or a hook: they stay"),
        (len(report.undeleted), f"{len(report.undeleted):,} blobs could not be deleted"),
        (report.dry, "this was a dry run: nothing was rewritten"),
    ]
