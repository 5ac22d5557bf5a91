"""Running a verb of the collector: what it works on, how it ended, and the exit code of that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from offload_backend.cli.metering import metering
from offload_backend.cli.options import Output
from offload_backend.errors import ConfigError, IncompleteError, Refusal, RefusedError
from offload_backend.lifecycle.hooks import Hooks, load_hooks

if TYPE_CHECKING:
    from offload_backend.address import StateAddress
    from offload_backend.lifecycle.collector import Collector
    from offload_backend.lifecycle.records import Candidate
    from offload_backend.lifecycle.report import Dangling, MarkReport, PurgeReport
    from offload_backend.rootsource import RootSource

__all__ = ["DANGLING", "DONE", "PARTIAL", "REFUSED", "Outcome", "Place"]
__all__ += ["accepted", "attempt", "collector", "exporting", "print_json", "tell"]

DONE, REFUSED, PARTIAL, DANGLING = 0, 3, 4, 5


class Place(NamedTuple):
    """What ``--path``, ``--core-store`` and ``--deployment`` say."""

    path: str | None
    core_store: str | None
    deployment: str | None


@dataclass(frozen=True)
class Outcome:
    """How a verb ended: its exit code, its report if there is one, and what was refused or failed."""

    code: int
    report: Any = None
    refusals: tuple[Refusal, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What ``--output json`` shows."""
        if self.code == REFUSED:
            return {"state": "refused", "refusals": [vars(refusal) for refusal in self.refusals]}
        found: dict[str, Any] = self.report.as_json() if self.report is not None else {}
        return {**found, "failed": dict(self.failed)} if self.failed else found


class _Listener(Hooks):
    """The user's hooks, and what they were told last of a purge: it is what an incomplete one achieved."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.purged: PurgeReport | None = None

    def on_offloaded(self, address: StateAddress, key: str, ref: str) -> None:
        self._hooks.on_offloaded(address, key, ref)

    def on_resolved(self, ref: str) -> None:
        self._hooks.on_resolved(ref)

    def on_reclaimed(self, refs: Sequence[str]) -> None:
        self._hooks.on_reclaimed(refs)

    def on_orphans_marked(self, report: MarkReport) -> None:
        self._hooks.on_orphans_marked(report)

    def before_delete(self, batch: Sequence[Candidate]) -> Iterable[Candidate]:
        return self._hooks.before_delete(batch)

    def on_purged(self, report: PurgeReport) -> None:
        self.purged = report
        self._hooks.on_purged(report)

    def on_rescued(self, batch: Sequence[Candidate]) -> None:
        self._hooks.on_rescued(batch)

    def on_refused(self, refusals: Sequence[Refusal]) -> None:
        self._hooks.on_refused(refusals)

    def on_dangling(self, batch: Sequence[Dangling]) -> None:
        self._hooks.on_dangling(batch)

    def extra_roots(self) -> Iterable[str]:
        return self._hooks.extra_roots()


@contextmanager
def collector(place: Place, **limits: object) -> Iterator[Collector]:
    """The collector of the deployment that the options and the configuration mean.

    ``limits`` are settings that count for this run instead of the configured ones, where not ``None``.
    What Airflow or a hook prints goes to stderr: stdout is for data.
    """
    from offload_backend.cli.opening import open_deployment
    from offload_backend.cli.watching import watched
    from offload_backend.lifecycle.collector import Collector

    with redirect_stdout(sys.stderr):
        deployment = open_deployment(*place)
        changes = {name: value for name, value in limits.items() if value is not None}
        settings = deployment.settings.replaced(changes) if changes else deployment.settings
        hooks = _Listener(load_hooks(settings, *metering(deployment)))
        with deployment.roots() as found, watched(deployment.store(), found) as (store, roots, expect):
            yield Collector(settings, store, roots, hooks, expect=expect)


def attempt(collector: Collector, verb: Callable[[], Any]) -> Outcome:
    """Run the verb; a refusal and a partial failure are outcomes, every other error is raised."""
    try:
        return Outcome(DONE, verb())
    except RefusedError as error:
        return Outcome(REFUSED, refusals=error.refusals)
    except IncompleteError as error:
        heard = collector.hooks.purged if isinstance(collector.hooks, _Listener) else None
        return Outcome(PARTIAL, heard, failed=error.failed)


def accepted(rules: Collection[str] | None) -> tuple[str, ...]:
    """The rules that ``--accept`` names; an unknown one is a :class:`ConfigError`."""
    from offload_backend.lifecycle.refusals import ACCEPTABLE

    unknown = sorted(set(rules or ()) - ACCEPTABLE)
    if unknown:
        raise ConfigError(
            f"--accept {unknown[0]}: no rule of this name can be accepted",
            hint=f"those that can: {', '.join(sorted(ACCEPTABLE))}; the others are there to be mended",
        )
    return tuple(rules or ())


@contextmanager
def exporting(place: Place) -> Iterator[tuple[RootSource, str]]:
    """Where the rows are, and the deployment's name; no store is opened."""
    from offload_backend.cli.opening import open_deployment

    with redirect_stdout(sys.stderr):
        deployment = open_deployment(*place)
        with deployment.roots() as roots:
            yield roots, deployment.settings.deployment


def tell(output: Output, outcomes: Mapping[str, Outcome | None]) -> None:
    """Show how each step ended, then end with the exit code of the worst.

    Of a verb with one step JSON shows that step alone, of one with several each below its name.
    """
    from offload_backend.cli.reports import show

    if output is Output.JSON:
        documents = {name: outcome and outcome.as_json() for name, outcome in outcomes.items()}
        print_json(documents if len(documents) > 1 else next(iter(documents.values())))
    made = [outcome for outcome in outcomes.values() if outcome is not None]
    for number, outcome in enumerate(made):
        if number and output is Output.TABLE:
            typer.echo()
        show(outcome, output)
    code = max(outcome.code for outcome in made)
    if code != DONE:
        raise typer.Exit(code)


def print_json(document: object) -> None:
    """One document on stdout, and nothing else."""
    typer.echo(json.dumps(document, indent=2))
