"""A loop over items with a checkpoint after each; the first try kills its own process half way."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

from airflow.sdk import DAG, task

with DAG("checkpoint_resume", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(0)}):

    @task
    def train(ti=None, dag_run=None, task_state_store=None):
        conf = dag_run.conf
        checkpoint = task_state_store.get("checkpoint", default={"step": 0, "seen": []})
        started_at = checkpoint["step"]
        for step in range(started_at, conf["steps"]):
            if ti.try_number == 1 and step == conf.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            checkpoint = {"step": step + 1, "seen": [*checkpoint["seen"], "x" * conf["bytes_per_step"]]}
            task_state_store.set("checkpoint", checkpoint)
        return {"started_at": started_at, "ended_at": checkpoint["step"], "try": ti.try_number}

    train()
