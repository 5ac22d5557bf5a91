"""Submit a long job once; a retry of the task reconnects to it instead of starting another one.

    python examples/resumable_job.py DIRECTORY

is one attempt of the task. Kill it while it waits, run it again, and it finds its job. The "cluster"
here is a folder: a job is a file ``<id>.job``, and whoever writes ``<id>.done`` finishes it.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

from offload_backend import connect
from offload_backend.state import TaskStore


class Cluster:
    """Stands for the service that runs the job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def submit(self) -> str:
        job_id = uuid.uuid4().hex
        (self._folder / f"{job_id}.job").touch()
        return job_id

    def result(self, job_id: str) -> str | None:
        done = self._folder / f"{job_id}.done"
        return done.read_text() if done.exists() else None


def attempt(task_store: TaskStore, cluster: Cluster) -> str:
    """Return the job's result, whichever attempt submitted it."""
    job_id = task_store.get("job_id")
    if job_id is None:
        job_id = cluster.submit()
        # A crash before this line has committed submits a second job. Where that matters, give the
        # service a name of the job that it accepts only once, such as dag, run and task.
        task_store.set("job_id", job_id)
        print(f"submitted {job_id}", flush=True)
    else:
        print(f"reconnected to {job_id}", flush=True)
    while (result := cluster.result(job_id)) is None:
        time.sleep(0.05)
    return result


def main(directory: Path) -> None:
    cluster = Cluster(directory / "cluster")
    with (
        connect(directory / "blobs", f"sqlite:///{directory}/state.db") as stores,
        stores.task_store("reports", "manual__2031-01-01", "run_job") as task_store,
    ):
        print(f"finished: {attempt(task_store, cluster)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
