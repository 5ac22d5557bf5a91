"""One attempt of the task of ``offload demo``, in a process of its own.

    python -m offload_backend.cli.demo_job DIRECTORY

reports each event as a line of JSON, and waits for a line before it stores a checkpoint, so that the
demo decides when to kill it.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offload_backend import connect

if TYPE_CHECKING:
    from offload_backend.state import StateStores

__all__ = ["STEPS", "TASK", "open_stores", "step_result"]

STEPS = 8
TASK = ("demo", "manual__1", "aggregate")
CUSTOMERS_PER_STEP = 3000


def open_stores(directory: Path) -> StateStores:
    """The embedded core store and a directory of blobs, both below ``directory``."""
    return connect(directory / "blobs", f"sqlite:///{directory}/state.db", deployment="demo", reclaim="eager")


def step_result(step: int, before: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint after ``step``: the one ``before`` it and the orders of some more customers."""
    chance = random.Random(step)  # noqa: S311 (made-up orders, the same ones each time)
    customers = dict(before["customers"])
    for number in range(CUSTOMERS_PER_STEP):
        orders: list[dict[str, Any]] = [
            {"sku": f"{chance.getrandbits(40):010x}", "cents": chance.randrange(1, 100_000), "gift": None}
            for _ in range(chance.randrange(1, 12))
        ]
        total = sum(order["cents"] for order in orders)
        customers[f"{step}-{number}"] = {"orders": orders, "total_cents": total}
    return {"step": step, "customers": customers}


def run_attempt(directory: Path) -> None:
    """Work from the last checkpoint, if there is one, to the end."""
    with open_stores(directory) as stores:
        task_store = stores.task_store(*TASK)
        checkpoint = task_store.get("checkpoint", {"step": 0, "customers": {}})
        _tell(event="started", after=checkpoint["step"])
        for step in range(checkpoint["step"] + 1, STEPS + 1):
            began = time.perf_counter()
            task_store.set("progress", {"step": step, "of": STEPS})
            checkpoint = step_result(step, checkpoint)
            _tell(event="computed", step=step, seconds=time.perf_counter() - began)
            if not sys.stdin.readline():
                return  # the demo is gone
            began = time.perf_counter()
            task_store.set("checkpoint", checkpoint)
            _tell(event="stored", step=step, seconds=time.perf_counter() - began)
        _tell(event="finished")


def _tell(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run_attempt(Path(sys.argv[1]))
