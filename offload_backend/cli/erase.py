"""``offload erase``: state goes at once, with everything that was written for it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offload_backend.address import AssetAddress
from offload_backend.cli.opening import open_deployment
from offload_backend.cli.options import (
    AcceptOption,
    CoreStoreOption,
    DeleteOption,
    DeploymentOption,
    Output,
    OutputOption,
    PathOption,
)
from offload_backend.cli.tables import say
from offload_backend.errors import ConfigError, IncompleteError, RefusedError
from offload_backend.lifecycle.selection import AssetSelection, Selection, TaskSelection

if TYPE_CHECKING:
    from offload_backend.lifecycle.erase import EraseReport

__all__ = ["erase"]

DagOption = Annotated[str | None, typer.Option("--dag", help="State of the tasks of this dag.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Only of this run.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only of this task.")]
IndexOption = Annotated[int | None, typer.Option("--map-index", help="Only of this index of the task.")]
AssetOption = Annotated[str | None, typer.Option("--asset", help="State of the asset of this name.")]
UriOption = Annotated[str | None, typer.Option("--asset-uri", help="State of the asset of this uri.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only this key.")]
LogOption = Annotated[
    Path | None, typer.Option("--log", help="Append every step to this file, one JSON object a line.")
]
Record = Callable[[str, list[dict[str, Any]]], None]


def erase(
    *,
    dag: DagOption = None,
    run: RunOption = None,
    task: TaskOption = None,
    map_index: IndexOption = None,
    asset: AssetOption = None,
    asset_uri: UriOption = None,
    key: KeyOption = None,
    delete: DeleteOption = False,
    accept: AcceptOption = None,
    log: LogOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Erase state at once: its rows, then every blob that was ever written for it, orphans too.

    A dry run without --delete. A blob that a row names which is not meant stays. Tasks that run
    meanwhile may lose what they are just writing; --accept running is needed where that may happen.
    """
    from offload_backend.cli.watching import watched
    from offload_backend.lifecycle.erase import Eraser
    from offload_backend.lifecycle.hooks import load_hooks

    wanted = selection_of(dag=dag, run=run, task=task, map_index=map_index, asset=asset, uri=asset_uri, key=key)
    _check_names(accept)
    opened = open_deployment(path, core_store, deployment)
    store = opened.store()
    with (
        opened.rows() as rows,
        opened.roots() as live,
        _log(log if delete else None) as record,
        watched(store, live) as (blobs, roots, expect),
    ):
        places = {"rows": rows.location, "blobs": store.location, "deployment": opened.settings.deployment}
        record("begun", [{**places, "selection": repr(wanted)}])
        hooks = load_hooks(opened.settings)
        eraser = Eraser(opened.settings, rows, roots, blobs, hooks, record, expect=expect)
        report = eraser.erase(wanted, delete=delete, accept=accept or ())
        record("ended", [_counts(report)])
    _tell(report, places, output)


def selection_of(
    *,
    dag: str | None = None,
    run: str | None = None,
    task: str | None = None,
    map_index: int | None = None,
    asset: str | None = None,
    uri: str | None = None,
    key: str | None = None,
) -> Selection:
    """What the options mean; :class:`ConfigError` if that is nothing, everything or two things."""
    given = [name for name, text in (("--dag", dag), ("--asset", asset), ("--asset-uri", uri)) if text is not None]
    if len(given) != 1:
        raise ConfigError("say whose state: one of --dag, --asset and --asset-uri", hint="see offload erase --help")
    empty = [text for text in (dag, run, task, asset, uri, key) if text == ""]
    if empty:
        raise ConfigError("an option is empty", hint="leave it out to mean all")
    if map_index is not None and task is None:
        raise ConfigError("--map-index needs --task", hint="see offload erase --help")
    if dag is not None:
        return TaskSelection(dag, run, task, map_index, key)
    if run is not None or task is not None:
        raise ConfigError("--run and --task are of a dag, not of an asset", hint="see offload erase --help")
    return AssetSelection(AssetAddress(name=asset, uri=uri), key)


def _check_names(accept: list[str] | None) -> None:
    from offload_backend.lifecycle.erase import RUNNING

    unknown = set(accept or ()) - {RUNNING}
    if unknown:
        raise ConfigError(f"there is no refusal {min(unknown)!r} here", hint=f"the only one is {RUNNING}")


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[Record]:
    """Where events go: to the end of the file, each flushed at once; nowhere without one."""
    if path is None:
        yield lambda _event, _items: None
        return
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the log cannot be written: {error.strerror}",
            hint="name another file with --log; nothing was erased",
            location=str(path),
        ) from error

    def record(event: str, items: list[dict[str, Any]]) -> None:
        at = datetime.now(tz=timezone.utc).isoformat(timespec="milliseconds")
        file.write(json.dumps({"at": at, "event": event, "items": items}) + "\n")
        file.flush()

    with file:
        yield record


def _complain(report: EraseReport) -> None:
    if report.refusals:
        raise RefusedError(report.refusals)
    if report.failed or report.changed:
        reasons = "; ".join(sorted(set(report.failed.values())))
        failed = f"{len(report.failed)} blobs could not be deleted: {reasons}" if report.failed else ""
        changed = f"{report.changed} rows were written anew meanwhile and stay" if report.changed else ""
        raise IncompleteError("; ".join(filter(None, (changed, failed))), report.failed)


def _counts(report: EraseReport) -> dict[str, Any]:
    return {
        "rows": len(report.rows),
        "blobs": len(report.blobs),
        "bytes": sum(info.size for info in report.blobs),
        "kept": len(report.kept),
        "failed": len(report.failed),
        "changed": report.changed,
    }


def _tell(report: EraseReport, places: dict[str, str], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(_as_json(report, places))
    else:
        say(_as_table(report, places))
    _complain(report)


def _as_json(report: EraseReport, places: dict[str, str]) -> str:
    from offload_backend.lifecycle.erase import NOT_ERASED, blob_item, row_item

    told = {
        "places": places,
        "deleted": report.deleted,
        "counts": _counts(report),
        "rows": [row_item(found) for found in report.rows],
        "blobs": [blob_item(info) for info in report.blobs],
        "kept": report.kept,
        "archived": report.archived,
        "elsewhere": report.elsewhere,
        "failed": report.failed,
        "refusals": [str(refusal) for refusal in report.refusals],
        "not_erased": NOT_ERASED,
    }
    return json.dumps(told, indent=2)


def _as_table(report: EraseReport, places: dict[str, str]) -> list[str]:
    from offload_backend.lifecycle.erase import NOT_ERASED

    verb = "erased" if report.deleted else "would be erased"
    size = sum(info.size for info in report.blobs)
    lines = [f"rows in {places['rows']}", f"blobs in {places['blobs']}, deployment {places['deployment']}"]
    lines += [f"  row   {found.row.address} key {found.row.key!r}" for found in report.rows]
    lines += [f"  blob  {info.name} ({info.size:,} bytes)" for info in report.blobs]
    lines += [f"{len(report.rows):,} rows and {len(report.blobs):,} blobs, {size:,} bytes, {verb}"]
    lines += [f"kept: {name}, which this row names: {holder}" for name, holder in report.kept.items()]
    lines += [f"kept: {count:,} rows in the archive {table}" for table, count in report.archived.items()]
    lines += [f"kept: {where}, a value of a row that is gone, stored elsewhere" for where in report.elsewhere]
    lines += ["not reached by this command:", *(f"  {each}" for each in NOT_ERASED)]
    return lines + ([] if report.deleted else ["this was a dry run: give --delete to do it"])
