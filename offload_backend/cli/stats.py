"""``offload stats``: how much there is, whose it is, since when, and what the collector saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offload_backend.cli.collecting import Place, collector, print_json
from offload_backend.cli.looking import entries, opened_rows
from offload_backend.cli.ls import form
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, Output, OutputOption, PathOption
from offload_backend.cli.tables import advise, ago, columns, facts, moment, size
from offload_backend.errors import OffloadError
from offload_backend.inventory.choice import Choice
from offload_backend.inventory.totals import Sum, Totals, totals_of

if TYPE_CHECKING:
    from offload_backend.cli.opening import Deployment
    from offload_backend.inventory.marks import Mark
    from offload_backend.lifecycle.report import VerifyReport

__all__ = ["stats"]

_KEPT = {
    "offloaded": "in blobs",
    "inline": "in their rows",
    "peer": "files of Airflow's own backend, of unknown size",
    "unreadable": "refs that this version cannot read",
}
_FIGURES = ("rows", "stored", "raw", "ratio", "together")
_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDTH = 30
_MARKS = 100

TopOption = Annotated[int, typer.Option("--top", min=1, help="So many of the largest dags, tasks and assets.")]
DaysOption = Annotated[int, typer.Option("--days", min=1, help="So many of the last days.")]
ScanOption = Annotated[
    bool, typer.Option("--scan", help="Look for orphans and dangling refs now: lists everything that is stored.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Draw size over time into this file: .png, .svg or .pdf. Extra: plot.")
]


def stats(
    *,
    top: TopOption = 10,
    days: DaysOption = 30,
    scan: ScanOption = False,
    plot: PlotOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Count rows and bytes: in all, by dag, task and asset, and by day; with orphans and dangling refs.

    Sizes are those that refs state. Orphans and dangling refs are as the last mark of the collector saw them, if
    the store can be reached; with --scan as they are now.
    """
    if plot is not None:
        from offload_backend.cli.stats_plot import require_matplotlib

        require_matplotlib(plot)  # before anything takes long
    place = Place(path, core_store, deployment)
    with opened_rows(place) as (opened, rows):
        settings = opened.settings
        totals = totals_of(
            entries(rows, Choice(everything=True)),
            rows.now(),
            location=_location(settings.path),
            deployment=settings.deployment,
        )
        seen = _marked(opened, 1 if plot is None else _MARKS)
    scanned = _scanned(place) if scan else None
    if plot is not None:
        from offload_backend.cli.stats_plot import draw

        draw(totals, seen.marks, plot)
    if output is Output.JSON:
        last = seen.marks[-1].as_json() if seen.marks else None
        print_json({**totals.as_json(), "last_mark": last, "scan": scanned and scanned.as_json()})
    else:
        _as_table(totals, top, days)
        _of_collector(totals, seen, scanned)
    for text in _remarks(totals, seen, plot):
        advise(text)


@dataclass(frozen=True)
class _Marks:
    """What marks have seen, or why that is not known."""

    marks: list[Mark]
    trouble: str = ""


def _location(path: str) -> str:
    from offload_backend.location import location_of

    return location_of(path) if path else ""


def _marked(deployment: Deployment, most: int) -> _Marks:
    from offload_backend.inventory.marks import marks

    if not deployment.settings.path:
        return _Marks([], "no path is configured")
    try:
        return _Marks(marks(deployment.store(), deployment.settings.deployment, most))
    except OffloadError as error:
        return _Marks([], error.message)


def _scanned(place: Place) -> VerifyReport:
    from offload_backend.lifecycle.verify import verify

    with collector(place) as opened:
        return verify(opened, contents=False)


def _as_table(totals: Totals, top: int, days: int) -> None:
    kept = [(meaning, totals.kept[name]) for name, meaning in _KEPT.items() if name in totals.kept]
    kept += [
        (meaning, found)
        for meaning, found in (
            ("past their retention, and still there", totals.expired),
            ("in blobs of another location or deployment", totals.elsewhere),
            ("copies in archives of airflow db clean", totals.archived),
        )
        if found.rows
    ]
    heads = ("", *_FIGURES[:4])
    columns("values", heads, (_sum(name, found) for name, found in kept), _FIGURES)
    for title, sums in (
        ("the largest dags", totals.dags),
        ("the largest tasks", {f"{dag}.{task}": found for (dag, task), found in totals.tasks.items()}),
        ("the largest assets", totals.assets),
        ("codecs", totals.codecs),
    ):
        columns(title, heads, (_sum(name, found) for name, found in _largest(sums, top)), _FIGURES)
    lines = [(str(it.address), it.key, it.about, size(it.stored or 0), form(it)) for it in totals.largest[:top]]
    columns("the largest values", ("whose", "key", "value", "stored", "kept as"), lines, _FIGURES)
    growth = [
        (day, f"{one.rows:,}", size(one.stored), size(so_far), bar)
        for day, one, so_far, bar in _grown(totals, days)
    ]
    columns("still there, by the day it was written", ("day", "rows", "stored", "together", ""), growth, _FIGURES)


def _sum(name: str, found: Sum) -> tuple[str, ...]:
    return name, f"{found.rows:,}", size(found.stored), size(found.raw), f"{found.ratio:.1f}"


def _largest(sums: Mapping[str, Sum], top: int) -> list[tuple[str, Sum]]:
    return sorted(sums.items(), key=lambda item: (-item[1].stored, item[0]))[:top]


def _grown(totals: Totals, days: int) -> Iterator[tuple[date, Sum, int, str]]:
    """Each of the last days with its own sum, what there is up to it, and that as a bar."""
    if not totals.days:
        return
    last = totals.now.astimezone(timezone.utc).date()
    first = max(last - timedelta(days=days - 1), min(totals.days))
    so_far = sum(found.stored for day, found in totals.days.items() if day < first)
    most = sum(found.stored for found in totals.days.values())
    day = first
    while day <= max(last, *totals.days):
        found = totals.days.get(day, Sum())
        so_far += found.stored
        yield day, found, so_far, _bar(so_far / most if most else 0)
        day += timedelta(days=1)


def _bar(share: float) -> str:
    eighths = round(share * _WIDTH * 8)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()


def _of_collector(totals: Totals, seen: _Marks, scanned: VerifyReport | None) -> None:
    shown: list[tuple[str, object]] = []
    for mark in seen.marks[-1:]:
        shown += [("marked", ago(mark.at, totals.now)), ("listed", _tally(mark.listed))]
        shown += [("orphans", _tally(mark.orphans)), ("dangling", f"{mark.dangling.count:,}")]
    if scanned is not None:
        shown += [("scanned", moment(totals.now)), ("listed now", _tally(scanned.counts.listed))]
        shown += [("orphans now", _tally(scanned.orphans)), ("dangling now", f"{scanned.dangling:,}")]
    if shown:
        typer.echo("\nwhat the collector saw")
        facts(shown)


def _tally(tally: Any) -> str:
    return f"{tally.count:,} ({size(tally.bytes)})"


def _remarks(totals: Totals, seen: _Marks, plot: Path | None) -> Iterator[str]:
    if seen.trouble:
        yield f"The collector's marks could not be read: {seen.trouble}."
    elif not seen.marks:
        yield "The collector has not marked yet: --scan tells orphans and dangling refs, or offload gc run does."
    if "peer" in totals.kept:
        yield "Values of Airflow's own backend stay readable where they are."
    if plot is not None:
        yield f"Drawn: {plot}"
