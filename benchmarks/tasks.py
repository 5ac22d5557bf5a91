"""One of many tasks that store and read at the same time on one machine."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

from benchmarks import shapes
from benchmarks.cases import KEY, Case, warm_worker

__all__ = ["work"]

_LONGEST_START = 300
_ROLLUP = Path("/proc/self/smaps_rollup")
_STATUS = Path("/proc/self/status")


def work(case: Case) -> dict[str, Any]:
    """Milliseconds of every ``set`` and ``get`` of one checkpoint, over and over; threads and memory at the end.

    Each task waits until all have imported, connected and made their value. ``memory`` is what the process does
    not share with the one it was forked from, in bytes; ``cpu`` is its seconds of it for each pair.
    """
    store, _ = warm_worker(case)
    value = shapes.make(case.shape, case.megabytes)
    case.options["together"].wait(_LONGEST_START)
    sets, gets = list[float](), list[float]()
    cpu, end = _cpu(), time.perf_counter() + case.options["seconds"]
    while (start := time.perf_counter()) < end:
        store.set(KEY, value)
        between = time.perf_counter()
        found = store.get(KEY)
        gets.append((time.perf_counter() - between) * 1e3)
        sets.append((between - start) * 1e3)
    assert found == value
    return {
        "set": sets,
        "get": gets,
        "threads": _line(_STATUS, "Threads"),
        "memory": 1024 * (_line(_ROLLUP, "Private_Clean") + _line(_ROLLUP, "Private_Dirty")),
        "cpu": (_cpu() - cpu) / len(sets),
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _line(path: Path, name: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
