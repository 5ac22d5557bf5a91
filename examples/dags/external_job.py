"""A job in another system is started once, however often the task that waits for it is killed.

The token is stored before the job is submitted, and the service starts one job for one token, as Athena
(ClientRequestToken), EMR Serverless (clientToken), Databricks (idempotency_token) and BigQuery (a job id of the
client's choice) do. What can be had of a service that takes no token: docs/recipes.md.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

from airflow.sdk import DAG, task

from offload_backend import NEVER_EXPIRE


class Cluster:
    """Stands for the service: a job is a file, and done after a moment."""

    folder = Path(tempfile.gettempdir()) / "offload-example-cluster"

    def submit(self, token):
        self.folder.mkdir(exist_ok=True)
        job = self.folder / f"job-{token}"
        if not job.exists():
            job.touch()
        return job.name

    def is_done(self, job_id):
        return time.time() - (self.folder / job_id).stat().st_mtime > 0.2


with DAG("external_job", schedule=None, default_args={"retries": 3}):

    @task
    def run_job(task_state_store=None):
        cluster = Cluster()
        job = task_state_store.get("job")
        if job is None:
            job = {"token": uuid.uuid4().hex}
            task_state_store.set("job", job, retention=NEVER_EXPIRE)
        if "id" not in job:
            job["id"] = cluster.submit(job["token"])
            task_state_store.set("job", job, retention=NEVER_EXPIRE)
        while not cluster.is_done(job["id"]):
            time.sleep(0.05)
        return {"job_id": job["id"]}

    run_job()
