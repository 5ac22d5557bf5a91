"""``offload doctor``: what is wrong, what it means, and what mends it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from offload_backend.cli.collecting import print_json
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, Output, OutputOption, PathOption
from offload_backend.cli.progress import bar
from offload_backend.cli.tables import advise, columns, plain

if TYPE_CHECKING:
    from offload_backend.cli.examining import Examination
    from offload_backend.diagnosis.finding import Result

__all__ = ["doctor"]

_ORDER = ("skip", "ok", "unknown", "warn", "fail")

FixOption = Annotated[
    bool,
    typer.Option(
        "--fix",
        help="Mend what is safe: abort unfinished uploads of this deployment that are older than a day and than "
        "commit_window, delete old probes, make a missing directory. Nothing else.",
    ),
]


def doctor(
    *,
    fix: FixOption = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check configuration, credentials, rights, clocks, the bucket and the rows, and say how to mend what is wrong.

    Run it as a worker would run: same user, same environment. Puts, reads and deletes one small object. Exit code 2
    if the configuration is wrong, 1 if something else fails, 0 if all is well or there are only warnings.
    """
    from offload_backend.cli.examining import examine

    with bar() as show, _quietly():
        found = examine(path, core_store, deployment, fix=fix, on_step=show)
    if output is Output.JSON:
        print_json(found.as_json())
    else:
        _show(found)
    if found.code:
        raise typer.Exit(found.code)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without lines about single requests: a refusal may be just what a check asks for."""
    log = logging.getLogger("offload_backend")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _show(found: Examination) -> None:
    settings = [setting for setting in found.settings if setting.source != "default"]
    columns("Settings", ("setting", "value", "read from"), [tuple(vars(each).values()) for each in settings])
    rows = [(each.finding.status.value.upper(), each.check, each.finding.seen) for each in found.results]
    columns("Checks", ("", "check", "seen"), rows)
    worst_last = sorted(found.results, key=lambda each: _ORDER.index(each.finding.status.value))
    typer.echo("".join(f"\n{line}" for each in worst_last for line in _advice(each)))
    advise(", ".join(f"{count} {name}" for name, count in found.counts.items() if count))


def _advice(result: Result) -> Iterator[str]:
    """What to know and to do, of all that is not simply well."""
    finding = result.finding
    told = [("means", finding.means), ("mend", finding.mend), ("fixed", result.fixed)]
    if finding.status.value in ("ok", "skip") and not result.fixed:
        return
    yield f"{finding.status.value.upper()} {result.check}: {plain(finding.seen)}"
    for name, text in told:
        if text:
            yield f"    {name + ':':<7}{plain(text)}"
