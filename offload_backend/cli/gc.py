"""``offload gc``: the collector, which gives back the space of blobs that no row names."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from offload_backend.cli.collecting import PARTIAL, Place, accepted, attempt, collector, tell
from offload_backend.cli.options import (
    AcceptOption,
    CoreStoreOption,
    DeleteOption,
    DeploymentOption,
    MaxCountOption,
    MaxRatioOption,
    MinAgeOption,
    Output,
    OutputOption,
    PathOption,
    QuarantineOption,
)
from offload_backend.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from offload_backend.lifecycle.collector import Collector

__all__ = ["gc"]

gc = typer.Typer(
    no_args_is_help=True,
    help="Give back the space of blobs that no row names. Exit codes: 0 done, 3 refused, 4 partial.",
)

Ids = Annotated[
    list[str], typer.Argument(metavar="ID…", help="Ids of blobs, or names, URLs or refs that end in one.")
]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@gc.command()
def adopt(
    *,
    accept: AcceptOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say that this database owns this deployment's blobs: once, and after it was moved or restored."""
    from offload_backend.lifecycle.adopt import adopt as verb

    rules = accepted(accept)
    with collector(Place(path, core_store, deployment)) as opened:
        outcome = attempt(opened, lambda: verb(opened, accept=rules))
    tell(output, {"adopt": outcome})


@gc.command()
def mark(
    *,
    accept: AcceptOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    min_age: MinAgeOption = None,
    quarantine: QuarantineOption = None,
    max_ratio: MaxRatioOption = None,
    max_count: MaxCountOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find the blobs that no row names, and begin their quarantine; nothing is deleted."""
    from offload_backend.lifecycle.mark import mark as verb

    rules, limits = accepted(accept), _limits(min_age, quarantine, max_ratio, max_count)
    with collector(Place(path, core_store, deployment), **limits) as opened:
        outcome = attempt(opened, lambda: verb(opened, accept=rules))
    tell(output, {"mark": outcome})


@gc.command()
def purge(
    *,
    delete: DeleteOption = False,
    accept: AcceptOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    min_age: MinAgeOption = None,
    quarantine: QuarantineOption = None,
    max_ratio: MaxRatioOption = None,
    max_count: MaxCountOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete the blobs that have been in quarantine long enough; without --delete, only say which."""
    from offload_backend.lifecycle.purge import purge as verb

    rules, limits = accepted(accept), _limits(min_age, quarantine, max_ratio, max_count)
    with collector(Place(path, core_store, deployment), **limits) as opened:
        outcome = attempt(opened, lambda: verb(opened, delete=delete, accept=rules))
    tell(output, {"purge": outcome})


@gc.command()
def run(
    *,
    delete: DeleteOption = False,
    accept: AcceptOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    min_age: MinAgeOption = None,
    quarantine: QuarantineOption = None,
    max_ratio: MaxRatioOption = None,
    max_count: MaxCountOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Mark, then purge what has been marked long enough: for cron. A mark that is refused purges nothing.

    Without --delete it marks, and says what a purge would delete.
    """
    from offload_backend.lifecycle.mark import mark as mark_verb
    from offload_backend.lifecycle.purge import purge as purge_verb

    rules, limits = accepted(accept), _limits(min_age, quarantine, max_ratio, max_count)
    with collector(Place(path, core_store, deployment), **limits) as opened:
        marked, purged = attempt(opened, lambda: mark_verb(opened, accept=rules)), None
        if marked.report is not None:
            purged = attempt(opened, lambda: purge_verb(opened, delete=delete, accept=rules))
    tell(output, {"mark": marked, "purge": purged})


@gc.command()
def status(
    *,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """How things stand: owner, last runs, what waits in quarantine, and what a run would be refused for."""
    from offload_backend.lifecycle.status import status as verb

    with collector(Place(path, core_store, deployment)) as opened:
        outcome = attempt(opened, lambda: verb(opened))
    tell(output, {"status": outcome})


@gc.command()
def show(
    run: Annotated[str, typer.Argument(help="A run's name or number, or last.")] = "last",
    *,
    every: Annotated[bool, typer.Option("--all", help="All candidates, not only samples.")] = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """One run: what it found, which blobs it marked and since when, why it was refused."""
    from offload_backend.cli.manifests import write_candidates
    from offload_backend.lifecycle.status import show as verb

    data = sys.stdout
    with collector(Place(path, core_store, deployment)) as opened:
        outcome = attempt(opened, lambda: verb(opened, run))
        if every and outcome.report is not None:
            write_candidates(opened, outcome.report, data, output)
            return
    tell(output, {"show": outcome})


@gc.command()
def restore(
    runs_or_ids: Annotated[
        list[str], typer.Argument(metavar="RUN|ID…", help="One run's name or number, or last; or ids of blobs.")
    ],
    *,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take candidates out of quarantine: it begins anew for them. Exit code 4 if some were not marked."""
    from offload_backend.lifecycle.restore import restore as verb

    first, *others = runs_or_ids
    asked: Any = first if not others and _run_of(first) else _ids(runs_or_ids)
    with collector(Place(path, core_store, deployment)) as opened:
        outcome = attempt(opened, lambda: verb(opened, asked))
    if outcome.report is not None and outcome.report.unknown:
        outcome = replace(outcome, code=PARTIAL)
    tell(output, {"restore": outcome})


@gc.command()
def pin(
    ids: Ids,
    *,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep blobs whatever happens, until they are unpinned."""
    from offload_backend.lifecycle.restore import pin as verb

    _pin(verb, ids, Place(path, core_store, deployment), output)


@gc.command()
def unpin(
    ids: Ids,
    *,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let pinned blobs go again."""
    from offload_backend.lifecycle.restore import unpin as verb

    _pin(verb, ids, Place(path, core_store, deployment), output)


@gc.command("export-roots")
def export_roots(
    file: Annotated[Path, typer.Argument(help="The file to write: ….jsonl.gz.")],
    *,
    sequence: Annotated[int, typer.Option(help="With --canary: as an adoption by an export says.")] = 0,
    canary: Annotated[str | None, typer.Option(help="As an adoption by an export says, to finish it.")] = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write what the rows keep alive to a file, for a collector that reaches the bucket but not the database."""
    from offload_backend.cli.manifests import write_roots

    write_roots(Place(path, core_store, deployment), file, output, sequence, canary)


def _pin(verb: Callable[[Collector, list[str]], Any], ids: list[str], place: Place, output: Output) -> None:
    wanted = _ids(ids)
    with collector(place) as opened:
        outcome = attempt(opened, lambda: verb(opened, wanted))
    tell(output, {"pin": outcome})


def _limits(
    min_age: str | None, quarantine: str | None, max_ratio: float | None, max_count: int | None
) -> dict[str, object]:
    return {
        "gc_min_age": min_age,
        "gc_quarantine": quarantine,
        "gc_max_ratio": max_ratio,
        "gc_max_count": max_count,
    }


def _run_of(text: str) -> bool:
    """Whether the text can be a run's name, rather than a blob's."""
    return text == "last" or re.fullmatch(rf"[0-9]+|[0-9]{{10,}}-{_UUID.pattern}", text) is not None


def _ids(texts: list[str]) -> list[str]:
    """The ids that the texts are or end in; a :class:`ConfigError` for a text without one."""
    found = []
    for text in texts:
        match = _UUID.match(text.partition("#")[0].rpartition("/")[2])
        if match is None:
            raise ConfigError(f"{text[:60]!r} names no blob", hint="offload gc show --all lists ids and names")
        found.append(match[0].lower())
    return found
