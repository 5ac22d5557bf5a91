"""How far a task is, for the people who wait for it: a small value, in the UI while the task runs.

It is written now and then, not for each item, for each `set` is a request to the API server; and under a key of its
own, since what is large is in the bucket and shows as a ref. A Checkpointer writes such a key by itself.
"""

from __future__ import annotations

import time

from airflow.sdk import DAG, task

ITEMS = 1_000


def handle(item):
    """Stands for the work; what is done again after a kill must do no harm."""


with DAG("progress", schedule=None, default_args={"retries": 3}):

    @task
    def work(task_state_store=None):
        began_at = (task_state_store.get("progress") or {"done": 0})["done"]
        started = time.monotonic()
        for item in range(began_at, ITEMS):
            handle(item)
            if (item + 1) % 100 == 0:
                each = (time.monotonic() - started) / (item + 1 - began_at)
                left = f"{each * (ITEMS - item - 1):.0f} s left"
                task_state_store.set("progress", {"done": item + 1, "of": ITEMS, "text": left})
        return {"began_at": began_at}

    work()
