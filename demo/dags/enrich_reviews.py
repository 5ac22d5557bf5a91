"""Eight steps of work, a checkpoint of more than 100 MB after every second one, and one SIGKILL."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from demo.corpus import STEPS, enrich, load

CHECKPOINT_EVERY = 2
KILLED_IN_STEP = 6

with DAG("enrich_reviews", schedule=None, catchup=False):

    @task(retries=2, retry_delay=timedelta(seconds=1))
    def enrich_all(ti: Any = None, task_state_store: Any = None) -> None:
        """Go on from the last checkpoint, or begin."""
        # Ours alone, for the demo's report: what happened and how long it took. Small, so it stays in the row.
        progress = task_state_store.get("progress", default=[])

        def report(what: str, started: float, **more: int) -> None:
            seconds = round(time.monotonic() - started, 3)
            progress.append({"what": what, "try": ti.try_number, "seconds": seconds, **more})
            task_state_store.set("progress", progress)

        started = time.monotonic()
        checkpoint = task_state_store.get("checkpoint", default=None)
        if checkpoint is None:
            checkpoint = {"steps_done": 0, "reviews": load()}
            report("loaded the dataset", started)
        else:
            report("resumed", started, step=checkpoint["steps_done"])

        for step in range(checkpoint["steps_done"] + 1, STEPS + 1):
            if step == KILLED_IN_STEP and ti.try_number == 1:
                report("killed", time.monotonic(), step=step, pid=os.getpid())
                os.kill(os.getpid(), signal.SIGKILL)
            started = time.monotonic()
            enrich(checkpoint["reviews"], step - 1)
            checkpoint["steps_done"] = step
            report("worked", started, step=step)
            if step % CHECKPOINT_EVERY == 0:
                started = time.monotonic()
                task_state_store.set("checkpoint", checkpoint)
                report("stored", started, step=step)

    enrich_all()
