"""Runs the comparison: ``python -m benchmarks.run``, or with ``--quick`` only to see that it works."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import arena, contestants, plan, processes, servers

__all__ = ["KINDS", "main", "set_and_get", "url_of"]

RESULTS = Path(__file__).parent / "results" / "latest.json"
KINDS = {"transport": ("bulk:send", "bulk:fetch")}
"""Of the contestants who are no backend, how they set and get."""


def main() -> None:
    """Measure, print as it goes, and write the results."""
    asked = _arguments()
    with arena.enter(quick=asked.quick) as place:
        works = plan.QUICK if asked.quick else plan.FULL
        chosen = tuple(work for work in works if asked.only in work.name)
        measured = [each for step in plan.steps(chosen) for each in _take(step, place)]
        results = {**place.results("make bench", measured), "whole": not (asked.quick or asked.only)}
    _write(results, asked)
    if results["failures"]:
        sys.exit("failed: " + "; ".join(results["failures"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny values, moto, one of each; times mean nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="what has WORD in its name: 'floats'")
    parser.add_argument("--out", type=Path, help=f"results as JSON (default: {RESULTS.name} beside the README)")
    return parser.parse_args()


def _take(step: plan.Step, place: arena.Arena) -> Iterator[dict[str, Any]]:
    """The measurements of one step, each with what it is of."""
    work = step.work
    about = {"work": work.name, "server": step.server, "contestant": step.contestant, "repeat": step.repeat}
    what = f"{work.name} {step.contestant} {step.server}"
    with place.bucket(step.server) as (server, bucket), place.surviving(what):
        for operation, figures in _measure(work, step.contestant, server, bucket):
            yield {**about, "operation": operation, **figures, "load": place.load()}
            said = f"{step.server:8} {work.name:15} {operation:6} {step.contestant:9} {_glance(figures)}"
            print(said, flush=True)


def _measure(
    work: plan.Work, contestant: str, server: servers.Server, bucket: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    inline = {"inline": True, "small": False}.get(work.kind)
    environment = contestants.environment(contestant, server.endpoint, bucket, inline=inline)
    case: dict[str, Any] = {"shape": work.shape, "megabytes": work.megabytes}
    if work.kind == "start":
        yield "set", processes.run_started(environment)
    elif work.kind != "value":
        yield work.kind, processes.run_forked(work.kind, environment, server.endpoint, **case)
    elif contestant == "tcp":
        yield from processes.run_forked("bulk:tcp", environment, server.endpoint, **case).items()
    else:
        kinds = KINDS.get(contestant, ("set", "get"))
        yield from set_and_get(environment, server, bucket, kinds=kinds, **case)


def set_and_get(
    environment: dict[str, str],
    server: servers.Server,
    bucket: str,
    *,
    kinds: tuple[str, str],
    shape: str,
    megabytes: float,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Store a value in one process and read it in another; ``kinds`` of case do so."""
    case = {"shape": shape, "megabytes": megabytes}
    figures = processes.run_forked(kinds[0], environment, server.endpoint, **case)
    rows = figures.pop("rows")
    stored = server.size(bucket, url_of(rows))
    found = processes.run_forked(kinds[1], environment, server.endpoint, rows=rows, **case)
    yield "set", {**figures, "stored": stored, "json": found["json"]}
    yield "get", {**found, "stored": stored}


def url_of(rows: dict[tuple[str, str], str]) -> str:
    """The blob that the row refers to."""
    (row,) = rows.values()
    return str(json.loads(row)["__airflow_state_ref__"]).partition("#")[0]


def _glance(figures: dict[str, Any]) -> str:
    numbers = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def _write(results: dict[str, Any], asked: argparse.Namespace) -> None:
    from benchmarks import floors, report
    from benchmarks.measured import Measured

    out = asked.out or RESULTS
    results["floors"] = [floor.as_json() for floor in floors.judge(Measured(results["measurements"]))]
    results["ratios"] = report.ratios(results)
    tables = report.tables(results)
    print(f"\n{tables}\n")
    if results["server"] == "moto" and not asked.quick:
        print(arena.NO_GO)
    if asked.out is None and not (results["whole"] and results["server"] == "s3bench"):
        return  # only a whole run is worth keeping
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"results: {out}", file=sys.stderr)
    if asked.out is None:
        report.write_readme(tables)


if __name__ == "__main__":
    main()
