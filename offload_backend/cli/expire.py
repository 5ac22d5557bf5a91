"""``offload expire``: rows past their retention go, and their blobs with them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from offload_backend.cli.opening import open_deployment
from offload_backend.cli.options import (
    CoreStoreOption,
    DeleteOption,
    DeploymentOption,
    Output,
    OutputOption,
    PathOption,
)
from offload_backend.cli.progress import Show, bar
from offload_backend.cli.tables import say
from offload_backend.errors import IncompleteError

if TYPE_CHECKING:
    from offload_backend.lifecycle.expire import ExpireReport

__all__ = ["expire"]

DAGS_SHOWN = 10


def expire(
    *,
    delete: DeleteOption = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove rows past their retention, and then their blobs; a dry run without --delete.

    Does what `airflow state-store clean` leaves undone where a worker backend is configured. Rows
    without an end (retention 0, NEVER_EXPIRE) stay, and so does a row that is written anew meanwhile.
    """
    from offload_backend.lifecycle.collector import Collector
    from offload_backend.lifecycle.expire import expire as expire_rows
    from offload_backend.lifecycle.hooks import load_hooks

    opened = open_deployment(path, core_store, deployment)
    store = opened.store()
    location = store.location  # one that cannot be used had better be told before rows go
    with opened.rows() as rows, opened.roots() as roots, bar() as show:
        collector = Collector(opened.settings, store, roots, load_hooks(opened.settings))
        report = expire_rows(
            collector,
            rows,
            batch_size=opened.batch_size,
            delete=delete,
            on_batch=lambda report: _show(report, show),
        )
        places = {"rows": rows.location, "blobs": location}
    if output is Output.JSON:
        typer.echo(_as_json(report, places))
    else:
        say(_as_table(report, places))
    _complain(report)


def _complain(report: ExpireReport) -> None:
    if not report.failed:
        return
    reasons = "; ".join(sorted(set(report.failed.values())))
    error = IncompleteError(
        f"{len(report.failed)} blobs of rows that are gone could not be deleted: {reasons}", report.failed
    )
    error.hint = "mend what the reasons say, and run the command again for the other rows" if report.stopped else ""
    error.hint += "; " if error.hint else ""
    error.hint += "what was left behind now is found by offload gc"
    raise error


def _show(report: ExpireReport, show: Show) -> None:
    show(f"rows, {report.total.blobs:,} blobs", report.total.rows, None)


def _as_json(report: ExpireReport, places: dict[str, str]) -> str:
    return json.dumps({"places": places, **asdict(report)}, default=str, indent=2)


def _as_table(report: ExpireReport, places: dict[str, str]) -> list[str]:
    verb = "removed" if report.deleted else "would go"
    lines = [f"{'rows' if name == 'rows' else 'blobs'} in {place}" for name, place in places.items()]
    total = report.total
    lines += [f"{total.rows:,} rows {verb}, {total.blobs:,} blobs, {total.bytes:,} bytes"]
    top = sorted(report.dags.items(), key=lambda item: (-item[1].bytes, -item[1].rows, item[0]))
    lines += [
        f"  {dag}: {tally.rows:,} rows, {tally.blobs:,} blobs, {tally.bytes:,} bytes"
        for dag, tally in top[:DAGS_SHOWN]
    ]
    if len(top) > DAGS_SHOWN:
        lines.append(f"  and {len(top) - DAGS_SHOWN:,} more; --output json has them all")
    return lines + [text for count, text in _remarks(report) if count]


def _remarks(report: ExpireReport) -> list[tuple[int, str]]:
    return [
        (report.changed, f"{report.changed:,} rows were written anew or are held by somebody: they stay"),
        (len(report.held), f"{len(report.held):,} blobs are named by another row, a pin or a hook: they stay"),
        (report.kept, f"{report.kept:,} blobs stay, as reclaim = never says; offload gc finds them"),
        (report.elsewhere, f"{report.elsewhere:,} refs name no blob of their own row here: what they name stays"),
        (len(report.failed), f"{len(report.failed):,} blobs could not be deleted"),
        (not report.deleted, "this was a dry run: give --delete to do it"),
    ]
