"""What is measured, each in a process of its own, through Airflow's own accessors."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from airflow.sdk.execution_time import task_runner

from benchmarks import shapes
from benchmarks.memory import Peak
from benchmarks.servers import counted
from tests.seam import Seam, Supervisor

__all__ = ["KEY", "Case", "answer", "timed", "warm_worker", "worker"]

KEY = "value"
_WARM_UP = ["x" * 1_000] * 256
_SMALL = 100
_PAIRS = 500
_DRIVERS = {"aiobotocore", "boto3", "botocore", "fsspec", "obstore", "s3fs", "urllib3"}
_STORES = "offload_backend.stores."
Rows = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Case:
    """``kind`` names a function here, or ``module:function`` in this package; ``options`` are the function's own.

    ``rows`` are what earlier cases left in the database.
    """

    kind: str
    environment: dict[str, str]
    endpoint: str
    shape: str = ""
    megabytes: float = 0
    rows: Rows = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def answer(case: Case, to: Connection) -> None:
    """Run the case in this process, and send its figures or what went wrong."""
    os.environ.update(case.environment)
    try:
        to.send(_function(case.kind)(case))
    except Exception:  # noqa: BLE001 - reported by the other end, with the case's name
        to.send(traceback.format_exc())


def _function(kind: str) -> Callable[[Case], dict[str, Any]]:
    module, _, name = kind.rpartition(":")
    found: Callable[[Case], dict[str, Any]]
    found = getattr(importlib.import_module(f"benchmarks.{module}"), name) if module else _KINDS[kind]
    return found


def worker(rows: Rows, index: int = -1) -> tuple[Any, Supervisor]:
    """A task's store as Airflow hands it out, and the rows behind it."""
    supervisor = Supervisor(rows=dict(rows))
    task_runner.SUPERVISOR_COMMS = supervisor
    return Seam(supervisor).task(map_index=index), supervisor


def timed(action: Callable[[], Any], endpoint: str) -> tuple[Any, dict[str, Any]]:
    """What the action returned, and its seconds, CPU seconds, peak bytes and requests."""
    before = counted(endpoint)
    with Peak() as peak:
        cpu, start = _cpu(), time.perf_counter()
        result = action()
        seconds, cpu = time.perf_counter() - start, _cpu() - cpu
    asked = counted(endpoint) - before
    figures = {"seconds": seconds, "cpu": cpu, "peak": peak.above, "kept": peak.kept, "requests": dict(asked)}
    return result, figures


def _set(case: Case) -> dict[str, Any]:
    store, supervisor = warm_worker(case)
    value = shapes.make(case.shape, case.megabytes)
    _, figures = timed(lambda: store.set(KEY, value), case.endpoint)
    return {**figures, "rows": {("task", KEY): supervisor.rows["task", KEY]}}


def _get(case: Case) -> dict[str, Any]:
    store, _ = warm_worker(case)
    value, figures = timed(lambda: store.get(KEY), case.endpoint)
    return {**figures, "json": shapes.compare(value, case.shape)}


def _inline(case: Case) -> dict[str, Any]:
    """Microseconds of a ``set`` and ``get`` of 1 kB that stays in its row; requests sent and drivers imported."""
    store, supervisor = worker(case.rows)
    value = {"cursor": "c" * 975, "page": 7}
    pairs, asked, loaded = [], counted(case.endpoint), set(sys.modules)
    for _ in range(_PAIRS):
        start = time.perf_counter()
        store.set(KEY, value)
        found = store.get(KEY)
        pairs.append(time.perf_counter() - start)
        assert found == value
    assert len(supervisor.rows["task", KEY]) > 900, "the value was offloaded"
    imported = set(sys.modules) - loaded
    return {
        "microseconds": median(pairs) * 1e6,
        "requests": dict(counted(case.endpoint) - asked),
        "drivers": sorted(name for name in imported if name in _DRIVERS or name.startswith(_STORES)),
    }


def _small(case: Case) -> dict[str, Any]:
    """The middle one of many offloaded values of 4 kB, in milliseconds, and the requests of all of them."""
    store, supervisor = warm_worker(case)
    value = {"cursor": "c" * 3_975, "page": 7}
    names = [f"small-{number}" for number in range(_SMALL)]
    start = counted(case.endpoint)
    sets = [_milliseconds(store.set, name, value) for name in names]
    between = counted(case.endpoint)
    gets = [_milliseconds(store.get, name) for name in names]
    end = counted(case.endpoint)
    assert "://" in supervisor.ref(names[0]), "the value stayed in its row"
    assert store.get(names[-1]) == value
    return {
        "set": median(sets),
        "get": median(gets),
        "operations": _SMALL,
        "set requests": dict(between - start),
        "get requests": dict(end - between),
    }


def _phases(case: Case) -> dict[str, Any]:
    from benchmarks import phases

    warm_worker(case)
    return phases.measure(shapes.make(case.shape, case.megabytes))


def warm_worker(case: Case) -> tuple[Any, Supervisor]:
    """A worker that has imported its drivers and connected, by use of another key."""
    store, supervisor = worker(case.rows, case.options.get("index", -1))
    store.set("warm-up", _WARM_UP)
    assert store.get("warm-up") == _WARM_UP
    gc.collect()
    return store, supervisor


def _milliseconds(action: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    action(*arguments)
    return (time.perf_counter() - start) * 1e3


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


_KINDS: dict[str, Callable[[Case], dict[str, Any]]] = {
    "set": _set,
    "get": _get,
    "inline": _inline,
    "small": _small,
    "phases": _phases,
}
