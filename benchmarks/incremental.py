"""What the next checkpoint sends: ``python -m benchmarks.incremental``, or with ``--quick`` to see that it works.

A process stores a value, changes a little of it and stores it again under the same key. Counted is the second
``set``: bytes of request bodies as the server got them, beside the bytes of the blob it made, with
``copy_unchanged`` as it is by default and without it. (common-io sends everything every time.) *Everything* is the
case where looking for what is the same is in vain: its time beside that without looking is the price.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import arena, contestants, processes, report
from benchmarks.run import url_of

__all__ = ["MARKS", "QUICK", "RESULTS", "SIZES", "main", "measure", "table"]

RESULTS = Path(__file__).parent / "results" / "incremental.json"
MARKS = "<!-- incremental -->", "<!-- /incremental -->"
NAMES = {"ours": "offload-backend", "whole": "with copy_unchanged = false"}
SIZES = {"array": 256.0, "records": 100.0}
QUICK = {"array": 0.2, "records": 0.2}
_CHANGES = (
    "nothing",
    "1 % appended",
    "5 % in one stretch",
    "1 % scattered",
    "0.1 % inserted at the front",
    "everything",
)
_REPEATS = 5


def measure(
    place: arena.Arena, sizes: dict[str, float], changes: tuple[str, ...] = _CHANGES
) -> Iterator[dict[str, Any]]:
    """Every change of every value, contestants taking turns."""
    for base, change in itertools.product(sizes, changes):
        for server in ("loopback",) if place.quick else ("loopback", "shaped"):
            for repeat in range(1 if place.quick else _REPEATS):
                for contestant in list(NAMES)[:: (-1) ** repeat]:
                    about = {"base": base, "change": change, "server": server, "contestant": contestant}
                    with place.surviving(" ".join(about.values())):
                        found = {**about, "repeat": repeat, **_second_set(place, about, sizes[base])}
                        print(*(f"{v:.4g}" if isinstance(v, float) else v for v in found.values()), flush=True)
                        yield {**found, "load": place.load()}


def _second_set(place: arena.Arena, about: dict[str, str], megabytes: float) -> dict[str, Any]:
    with place.bucket(about["server"]) as (running, bucket):
        environment = contestants.environment("ours", running.endpoint, bucket, inline=False)
        if about["contestant"] == "whole":
            environment["AIRFLOW__OFFLOAD_BACKEND__COPY_UNCHANGED"] = "false"
        case: dict[str, Any] = {"shape": about["base"], "megabytes": megabytes}
        options = {"change": about["change"]}
        figures = processes.run_forked("changes:again", environment, running.endpoint, options=options, **case)
        stored = running.size(bucket, url_of(figures.pop("rows")))
        return {**figures, "stored": stored}


def table(results: dict[str, Any]) -> str:
    """A row for each change and contestant."""
    parts = [report.heading(results)]
    for server in ("loopback", "shaped"):
        found = [m for m in results["measurements"] if m["server"] == server]
        rows = []
        for base, change, contestant in dict.fromkeys((m["base"], m["change"], m["contestant"]) for m in found):
            some = [m for m in found if (m["base"], m["change"], m["contestant"]) == (base, change, contestant)]
            rows.append((f"{base}: {change}", NAMES[contestant], *_cells(some)))
        header = ("changed", "", "sent", "blob", "sent ÷ blob", "`set` (range)", "requests")
        if rows:
            parts.append(report.table(server.capitalize(), header, rows))
    return "\n\n".join(parts)


def _cells(some: list[dict[str, Any]]) -> tuple[str, ...]:
    sent, stored = median(m["sent"] for m in some), median(m["stored"] for m in some)
    times = [m["seconds"] for m in some]
    said = f"{report.seconds(median(times))} ({report.seconds(min(times))} to {report.seconds(max(times))})"
    asked = ", ".join(f"{number} {name}" for name, number in sorted(some[-1]["requests"].items()))
    return f"{sent / 1e6:.1f} MB", f"{stored / 1e6:.1f} MB", f"{sent / stored:.0%}", said, asked


def main() -> None:
    """Measure, print, and write the results unless they are only to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny values against moto; times mean nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="'array' or 'records'")
    parser.add_argument("--out", type=Path, help="results as JSON")
    asked = parser.parse_args()
    sizes = {name: size for name, size in (QUICK if asked.quick else SIZES).items() if asked.only in name}
    with arena.enter(quick=asked.quick) as place:
        results = place.results("make bench-types", list(measure(place, sizes)))
    print(f"\n{table(results)}\n")
    whole = not asked.quick and not asked.only and results["server"] == "s3bench"
    if asked.out or whole:
        (asked.out or RESULTS).write_text(json.dumps(results, indent=1) + "\n")
    if whole and not asked.out:
        report.write_readme(table(results), marks=MARKS)
    if results["failures"]:
        sys.exit("failed: " + "; ".join(results["failures"]))


if __name__ == "__main__":
    main()
