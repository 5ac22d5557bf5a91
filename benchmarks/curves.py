"""How the cost grows: ``python -m benchmarks.curves sizes`` or ``tasks``, with ``--quick`` to see that it works.

``sizes`` stores and reads values from 1 kB to 4 GB; ``tasks`` lets 1 to 64 task processes of one machine store and
read at the same time. The collector's curve is ``python -m benchmarks.collector``. ``python -m benchmarks.plots``
draws all three. Sizes end where the contestant, the server and the value no longer fit into memory together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import arena, contestants, processes
from benchmarks.run import KINDS, set_and_get

__all__ = ["QUICK", "SIZES", "Point", "main", "sizes", "tasks"]

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Point:
    """One size of one shape, for each contestant that copes with it, so many times."""

    shape: str
    megabytes: float
    contestants: tuple[str, ...]
    repeats: int


_RECORDS, _BYTES = ("ours", "peer"), ("ours", "transport")
SIZES = (
    *(Point("records", size, _RECORDS, 5) for size in (0.001, 0.01, 0.1, 1, 10)),
    Point("records", 100, _RECORDS, 3),
    Point("records", 1_000, _RECORDS, 1),
    *(Point("bytes", size, _BYTES, 5) for size in (0.001, 0.01, 0.1, 1, 10)),
    Point("bytes", 100, _BYTES, 3),
    Point("bytes", 1_000, _BYTES, 1),
    Point("bytes", 4_000, ("ours",), 1),  # the peer's buffers would take 12 GB beside value and server
)
TASKS = (1, 2, 4, 8, 16, 32, 64)
TASK_SIZES = (0.004, 1)
SECONDS = 5.0
QUICK = (Point("records", 0.01, _RECORDS, 1), Point("bytes", 0.01, _BYTES, 1))


def sizes(place: arena.Arena, points: tuple[Point, ...]) -> Iterator[dict[str, Any]]:
    """Time, memory and requests of ``set`` and ``get`` at every point, contestants taking turns."""
    for point in points:
        for repeat in range(point.repeats):
            for server in ("loopback",) if place.quick else ("loopback", "shaped"):
                for contestant in point.contestants[:: (-1) ** repeat]:
                    about = {"work": f"{point.shape} {_size(point.megabytes)}", "shape": point.shape}
                    about.update(server=server, contestant=contestant, repeat=repeat)
                    with (
                        place.bucket(server) as (running, bucket),
                        place.surviving(" ".join(map(str, about.values()))),
                    ):
                        environment = contestants.environment(contestant, running.endpoint, bucket, inline=False)
                        case: dict[str, Any] = {"shape": point.shape, "megabytes": point.megabytes}
                        case["kinds"] = KINDS.get(contestant, ("set", "get"))
                        for operation, figures in set_and_get(environment, running, bucket, **case):
                            yield _told({**about, "operation": operation, **figures, "load": place.load()})


def tasks(place: arena.Arena, counts: tuple[int, ...], seconds: float) -> Iterator[dict[str, Any]]:
    """What so many tasks get done together in so many seconds, and what each of them takes."""
    for count in counts:
        for megabytes in TASK_SIZES:
            for server in ("loopback",) if place.quick else ("loopback", "shaped"):
                for contestant in _RECORDS:
                    about: dict[str, Any] = {"work": _size(megabytes), "tasks": count}
                    about.update(server=server, contestant=contestant, repeat=0)
                    with (
                        place.bucket(server) as (running, bucket),
                        place.surviving(" ".join(map(str, about.values()))),
                    ):
                        environment = contestants.environment(contestant, running.endpoint, bucket, inline=False)
                        case = {"shape": "records", "megabytes": megabytes, "options": {"seconds": seconds}}
                        found = processes.run_together("tasks:work", count, environment, running.endpoint, **case)
                        yield _told({**about, **_together(found, seconds), "load": place.load()})


def _together(found: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    from statistics import median, quantiles

    figures: dict[str, Any] = {"pairs per second": sum(len(each["set"]) for each in found) / seconds}
    for operation in ("set", "get"):
        times = sorted(time for each in found for time in each[operation])
        figures[f"{operation} p50"] = median(times)
        figures[f"{operation} p95"] = quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    for name in ("threads", "memory", "cpu"):
        figures[name] = median(each[name] for each in found)
    return figures


def _size(megabytes: float) -> str:
    return f"{megabytes:g} MB" if megabytes >= 1 else f"{megabytes * 1e3:g} kB"


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    said = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items() if k != "requests"]
    print("  ".join(said), flush=True)
    return figures


def main() -> None:
    """Measure one curve and write its data beside the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument("curve", choices=("sizes", "tasks"))
    parser.add_argument("--quick", action="store_true", help="a few tiny points against moto; times mean nothing")
    parser.add_argument("--out", type=Path, help="data as JSON (default: in results/)")
    asked = parser.parse_args()
    with arena.enter(quick=asked.quick) as place:
        if asked.curve == "sizes":
            found = list(sizes(place, QUICK if asked.quick else SIZES))
        else:
            found = list(tasks(place, (1, 2), 0.2) if asked.quick else tasks(place, TASKS, SECONDS))
        results = place.results(f"python -m benchmarks.curves {asked.curve}", found)
    out = asked.out or FOLDER / f"{asked.curve}.json"
    if asked.out or (not asked.quick and results["server"] == "s3bench"):
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"results: {out}", file=sys.stderr)
    if results["failures"]:
        sys.exit("failed: " + "; ".join(results["failures"]))


if __name__ == "__main__":
    main()
