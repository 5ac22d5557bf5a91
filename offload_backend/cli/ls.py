"""``offload ls``: which state there is, as the rows alone tell it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from offload_backend.cli.collecting import Place, print_json
from offload_backend.cli.looking import (
    AssetOption,
    DagOption,
    IndexOption,
    KeyOption,
    RunOption,
    TaskOption,
    UriOption,
    choice_of,
    entries,
    opened_rows,
)
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, Output, OutputOption, PathOption
from offload_backend.cli.tables import advise, amount, columns, size, span
from offload_backend.inventory.choice import Order, Ranked, ranked

if TYPE_CHECKING:
    from offload_backend.inventory.entry import Entry

__all__ = ["form", "ls"]

_HEADS = ("whose", "key", "value", "stored", "raw", "written", "expires", "kept as")
_FIGURES = ("stored", "raw")
_ELSE = {"inline": "in the row", "peer": "a file of Airflow's own backend", "unreadable": "not readable here"}

OlderOption = Annotated[str | None, typer.Option("--older-than", help="Only rows written so long ago: 7d.")]
NewerOption = Annotated[str | None, typer.Option("--newer-than", help="Only rows written since: 12h.")]
LargerOption = Annotated[str | None, typer.Option("--larger-than", help="Only values that take more: 10MB.")]
SortOption = Annotated[
    Order, typer.Option("--sort", help="By address and key; or the largest, or the oldest first.")
]
ReverseOption = Annotated[bool, typer.Option("--reverse", help="The other way round.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="At most so many rows; 0 for all.")]
AllOption = Annotated[
    bool,
    typer.Option("--all", help="Also values that are in their rows, and rows in archives of airflow db clean."),
]


def ls(
    *,
    dag: DagOption = None,
    run: RunOption = None,
    task: TaskOption = None,
    map_index: IndexOption = None,
    asset: AssetOption = None,
    asset_uri: UriOption = None,
    key: KeyOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    larger_than: LargerOption = None,
    every: AllOption = False,
    sort: SortOption = Order.KEY,
    reverse: ReverseOption = False,
    limit: LimitOption = 100,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List offloaded values: whose, what, how large, since when and until when. No storage is asked.

    Reads rows and their refs alone, so what is listed may be gone all the same: offload verify tells.
    """
    whose = {"dag": dag, "run": run, "task": task, "asset": asset, "asset_uri": asset_uri, "key": key}
    ages = {"older_than": older_than, "newer_than": newer_than}
    choice = choice_of(**whose, **ages, map_index=map_index, larger_than=larger_than, everything=every)
    with opened_rows(Place(path, core_store, deployment)) as (_, rows):
        now = rows.now()
        found = ranked(entries(rows, choice), sort, limit=limit, backwards=reverse)
    if output is Output.JSON:
        print_json({"rows": [entry.as_json() for entry in found.entries], "matched": found.matched})
    else:
        columns("", _HEADS, (_line(entry, now) for entry in found.entries), _FIGURES)
    _advise(found, every=every)


def form(entry: Entry) -> str:
    """How the value is kept, in a few words: its codec, and by which key it is encrypted."""
    if entry.kept == "offloaded":
        kept = f"{entry.codec}, encrypted by {entry.encrypted}" if entry.encrypted else entry.codec
    else:
        kept = _ELSE[entry.kept]
    return f"{kept}, archived" if entry.archived else kept


def _line(entry: Entry, now: datetime) -> tuple[str, ...]:
    sizes = ["" if count is None else size(count) for count in (entry.stored, entry.raw)]
    written = f"{span(now - entry.updated_at)} ago"
    return str(entry.address), entry.key, entry.about, *sizes, written, _expiry(entry, now), form(entry)


def _expiry(entry: Entry, now: datetime) -> str:
    if entry.expires_at is None:
        return "never"
    return f"in {span(entry.expires_at - now)}" if entry.expires_at > now else f"{span(now - entry.expires_at)} ago"


def _advise(found: Ranked, *, every: bool) -> None:
    shown, total = len(found.entries), found.matched
    if not total:
        advise("No row is meant." if every else "No offloaded value is meant. Values in their rows: --all")
    elif shown < total:
        advise(f"{shown:,} of {amount(total, what='row')}; all of them with --limit 0.")
