"""Runs the comparison: ``python -m benchmarks.run``, or with ``--quick`` only to see that it works."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import contestants, plan, processes, servers

__all__ = ["main"]

RESULTS = Path(__file__).parent / "results" / "latest.json"
NO_GO = """
################################################################################
There is no Go here to build the S3 server with (`make bench` installs one), so
this run uses moto. ITS TIMES SAY NOTHING about either backend; requests, stored
bytes and memory are right. The README is left alone.
################################################################################
"""
MOTO = "This run uses moto and tiny values to see that everything works. Its times say nothing."


def main() -> None:
    """Measure, print as it goes, and write the results."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        processes.prepare(home)
        kind, running = _serve(stack, Path(home), quick=asked.quick)
        begun, load = time.monotonic(), os.getloadavg()[0]
        works = plan.QUICK if asked.quick else tuple(w for w in plan.FULL if asked.only in w.name)
        measured = [each for step in plan.steps(works) for each in _take(step, running)]
        results = {
            "format": 1,
            "made": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),
            "minutes": round((time.monotonic() - begun) / 60, 1),
            "server": kind,
            "quick": asked.quick,
            "load": {"before": load, "highest": max((m["load"] for m in measured), default=0)},
            "machine": _machine(),
            "measurements": measured,
        }
    _write(results, asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny values, moto, one of each; times mean nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="what has WORD in its name: 'floats'")
    parser.add_argument("--out", type=Path, help=f"results as JSON (default: {RESULTS.name} beside the README)")
    return parser.parse_args()


def _serve(stack: contextlib.ExitStack, folder: Path, *, quick: bool) -> tuple[str, dict[str, servers.Server]]:
    """The servers by name, until the stack is closed, and what kind they are."""
    go = None if quick else servers.find_go()
    if go is None:
        print(MOTO if quick else NO_GO, flush=True)
        server = stack.enter_context(servers.moto())
        return "moto", {"loopback": server, "shaped": server}
    return "s3bench", {
        "loopback": stack.enter_context(servers.s3bench(go, folder)),
        "shaped": stack.enter_context(servers.s3bench(go, folder, *servers.SHAPED)),
    }


def _take(step: plan.Step, running: dict[str, servers.Server]) -> Iterator[dict[str, Any]]:
    """The measurements of one step, each with what it is of."""
    work, server = step.work, running[step.server]
    about = {"work": work.name, "server": step.server, "contestant": step.contestant, "repeat": step.repeat}
    with _bucket(server) as bucket:
        for operation, figures in _measure(work, step.contestant, server, bucket):
            yield {**about, "operation": operation, **figures, "load": os.getloadavg()[0]}
            said = f"{step.server:8} {work.name:15} {operation:6} {step.contestant:9} {_glance(figures)}"
            print(said, flush=True)


def _measure(
    work: plan.Work, contestant: str, server: servers.Server, bucket: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    inline = {"inline": True, "small": False}.get(work.kind)
    environment = contestants.environment(contestant, server.endpoint, bucket, inline=inline)
    if work.kind == "start":
        yield "set", processes.run_started(environment)
        return
    case = {"shape": work.shape, "megabytes": work.megabytes}
    if work.kind != "value":
        yield work.kind, processes.run_forked(work.kind, environment, server.endpoint, **case)
        return
    figures = processes.run_forked("set", environment, server.endpoint, **case)
    rows = figures.pop("rows")
    stored = server.size(bucket, _url(rows))
    found = processes.run_forked("get", environment, server.endpoint, rows=rows, **case)
    yield "set", {**figures, "stored": stored, "json": found["json"]}
    yield "get", {**found, "stored": stored}


@contextlib.contextmanager
def _bucket(server: servers.Server) -> Iterator[str]:
    name = f"bench-{time.monotonic_ns()}"
    server.make_bucket(name)
    try:
        yield name
    finally:
        server.drop_bucket(name)


def _url(rows: dict[tuple[str, str], str]) -> str:
    """The blob that the row refers to."""
    (row,) = rows.values()
    return str(json.loads(row)["__airflow_state_ref__"]).partition("#")[0]


def _glance(figures: dict[str, Any]) -> str:
    numbers = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def _machine() -> dict[str, Any]:
    from benchmarks.machine import describe

    return describe()


def _write(results: dict[str, Any], asked: argparse.Namespace) -> None:
    from benchmarks import report

    out = asked.out or RESULTS
    tables = report.tables(results)
    print(f"\n{tables}\n")
    if results["server"] == "moto" and not asked.quick:
        print(NO_GO)
    if asked.out is None and (asked.quick or asked.only or results["server"] == "moto"):
        return  # only a whole run is worth keeping
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"results: {out}", file=sys.stderr)
    if asked.out is None:
        report.write_readme(tables)


if __name__ == "__main__":
    main()
