"""The first ``set`` of 1 MB of a Python process that was just started; prints its times as JSON."""

from __future__ import annotations

import time

BORN = time.monotonic()

import json  # noqa: E402 - the clock comes first
import sys  # noqa: E402
from itertools import islice  # noqa: E402

_RECORDS = 5_600


def main() -> None:
    """``argv[1]`` is the time, of the machine's monotonic clock, at which the process was asked for."""
    asked = float(sys.argv[1])
    imported = _timed_import()
    from airflow.sdk.execution_time import task_runner

    from benchmarks import shapes
    from tests.seam import Seam, Supervisor

    task_runner.SUPERVISOR_COMMS = Supervisor()
    seam = Seam(task_runner.SUPERVISOR_COMMS)
    store, value = seam.task(), list(islice(shapes.records(), _RECORDS))
    modules, start = len(sys.modules), time.monotonic()
    seam.backend()
    made = time.monotonic()
    store.set("value", value)
    end = time.monotonic()
    figures = {
        "python": BORN - asked,
        "airflow": imported,
        "backend": made - start,
        "set": end - made,
        "modules": len(sys.modules) - modules,
    }
    shapes.compare(store.get("value"), "records")
    print(json.dumps(figures))


def _timed_import() -> float:
    start = time.monotonic()
    import tests.seam  # noqa: F401 - it imports what Airflow's task runner has imported

    return time.monotonic() - start


if __name__ == "__main__":
    main()
