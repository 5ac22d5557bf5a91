"""Typed values: ``python -m benchmarks.types``, or with ``--quick`` to see that it works.

Ours stores them as they are. common-io takes JSON alone, so its users convert: into lists, into base64 of a file
format, or by Airflow's own XCom serialization. The conversion counts, since nobody gets the value without it.
Where lists take minutes they are measured at a part of the size and multiplied; the table says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import arena, contestants, processes, report
from benchmarks.run import url_of

__all__ = ["MARKS", "RESULTS", "main", "measure", "table"]

RESULTS = Path(__file__).parent / "results" / "types.json"
MARKS = "<!-- types -->", "<!-- /types -->"
NAMES = {
    "ours": "offload-backend",
    "lists": "common-io, lists",
    "base64": "common-io, base64 of .npy or Parquet",
    "xcom": "common-io, XCom serialization",
}
VALUES = {
    "array, random": "256 MB float32, random",
    "array, smooth": "256 MB float32, smooth",
    "frame": "frame of 5 million rows",
    "500 arrays": "500 arrays of 500 kB",
    "models": "50,000 pydantic models",
}
_PARTS = {"array, random": 16, "array, smooth": 16, "500 arrays": 16, "frame": 10}
"""Of which part of their size lists are measured."""
_SERVERS = {"loopback": 3, "shaped": 1}


def measure(place: arena.Arena, *, scale: float = 1) -> Iterator[dict[str, Any]]:
    """Every value in every way, taking turns."""
    ways = list(NAMES)
    for value in VALUES:
        for server, repeats in _SERVERS.items():
            if place.quick and server != "loopback":
                continue
            for repeat in range(1 if place.quick else repeats):
                for way in ways[repeat % len(ways) :] + ways[: repeat % len(ways)]:
                    part = 1 if place.quick or way != "lists" else _PARTS.get(value, 1)
                    about = {"value": value, "server": server, "way": way, "repeat": repeat, "part": part}
                    with place.surviving(f"{value} {way} {server}"):
                        for operation, figures in _set_and_get(place, server, value, way, scale / part):
                            found = {**about, "operation": operation, **figures, "load": place.load()}
                            said = {k: v for k, v in found.items() if k not in ("requests", "load")}
                            print(*(f"{v:.4g}" if isinstance(v, float) else v for v in said.values()), flush=True)
                            yield found


def _set_and_get(
    place: arena.Arena, server: str, value: str, way: str, scale: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    from benchmarks.typed import ALLOWED

    with place.bucket(server) as (running, bucket):
        backend = "ours" if way == "ours" else "peer"
        environment = contestants.environment(backend, running.endpoint, bucket, inline=False)
        environment["AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES"] = ALLOWED
        case: dict[str, Any] = {"shape": value, "options": {"way": way, "scale": scale}}
        figures = processes.run_forked("typed:store", environment, running.endpoint, **case)
        if "refused" in figures:
            yield "set", figures
            return
        rows = figures.pop("rows")
        stored = running.size(bucket, url_of(rows))
        yield "set", {**figures, "stored": stored}
        found = processes.run_forked("typed:read", environment, running.endpoint, rows=rows, **case)
        yield "get", {**found, "stored": stored}


def table(results: dict[str, Any]) -> str:
    """A row for each value and way."""
    parts = [report.heading(results)]
    for server in _SERVERS:
        found = [m for m in results["measurements"] if m["server"] == server]
        rows = [
            _row([m for m in found if (m["value"], m["way"]) == (value, way)], value, way)
            for value in VALUES
            for way in NAMES
        ]
        header = ("value", "way", "`set`", "`get`", "stored", "peak of `set` ÷ value", "peak of `get` ÷ value")
        if found:
            parts.append(report.table(server.capitalize(), header, filter(None, rows)))
    return "\n\n".join(parts)


def _row(found: list[dict[str, Any]], value: str, way: str) -> tuple[str, ...] | None:
    if not found:
        return None
    refused = next((m["refused"] for m in found if "refused" in m), "")
    if refused:
        return VALUES[value], NAMES[way], f"refuses: {refused}", "", "", "", ""
    part = found[0]["part"]
    cells = [VALUES[value], NAMES[way] + (f": 1/{part} of the size, times {part}" if part > 1 else "")]
    for operation in ("set", "get"):
        times = [m["seconds"] * part for m in found if m["operation"] == operation]
        cells.append(
            f"{report.seconds(median(times))} ({report.seconds(min(times))} to {report.seconds(max(times))})"
        )
    cells.append(f"{found[0]['stored'] * part / 1e6:,.0f} of {found[0]['size'] * part / 1e6:,.0f} MB")
    cells += [
        f"{median(m['peak'] / m['size'] for m in found if m['operation'] == operation):.2f}"
        for operation in ("set", "get")
    ]
    return tuple(cells)


def main() -> None:
    """Measure, print, and write the results unless they are only to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.types", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny values against moto; times mean nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="values with WORD in their name")
    parser.add_argument("--out", type=Path, help="results as JSON")
    asked = parser.parse_args()
    for name in [name for name in VALUES if asked.only not in name]:
        del VALUES[name]
    with arena.enter(quick=asked.quick) as place:
        found = list(measure(place, scale=1e-3 if asked.quick else 1))
        results = place.results("make bench-types", found)
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
