"""The stage of the demo: an object store and an Airflow, as real as one machine can have them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from demo.airflow_site import AIRFLOW, Rest, clean_environment, migrate_database, site_environment, start_api_server
from demo.observe import Bucket, Rows, read_rows
from demo.processes import Process, Processes, free_port, wait_until

if TYPE_CHECKING:
    from demo.report import Report

__all__ = ["DAG", "FOLDER", "RUN_ID", "TASK", "Stage"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
DAG, TASK, RUN_ID, BUCKET = "enrich_reviews", "enrich_all", "demo", "checkpoints"
CREDENTIALS = ("demo", "demo-secret")
START_SECONDS, RUN_SECONDS = 120.0, 240.0
ENDED = ("success", "failed")


class Stage:
    """One Airflow and one object store, in ``.demo/``."""

    def __init__(self, report: Report, processes: Processes) -> None:
        self.report, self.processes = report, processes
        self.home = FOLDER / "airflow"
        self.rows = Rows()
        self.stored: list[Rows] = []
        self.start_store()

    def start_store(self) -> None:
        """S3 as moto has it, in a process of its own, with one bucket: the backend never makes one."""
        port = free_port()
        self.s3_url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        server = self.processes.start("object-store", command, clean_environment())
        key, secret = CREDENTIALS
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.s3_url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        wait_until(self._make_bucket, f"the object store at {self.s3_url}", START_SECONDS, server)

    def start_airflow(self) -> None:
        """API server, scheduler with LocalExecutor, DAG processor; returns when the DAG can be run."""
        port = free_port()
        env = site_environment(self.home, ROOT / "demo" / "dags", port, self._settings())
        migrate_database(self.processes, env)
        needed = [start_api_server(self.processes, env, port)]
        needed += [self.processes.start(name, [*AIRFLOW, name], env) for name in ("scheduler", "dag-processor")]
        self.rest = Rest(port)
        self.rest.wait_for(needed[0], START_SECONDS)
        wait_until(self._dag_is_known, f"the DAG {DAG}", START_SECONDS, *needed)
        self.needed: list[Process] = needed
        self.version = str(self.rest.ask("GET", "/api/v2/version")["version"])

    def run(self) -> str:
        """Trigger the DAG and tell what happens until it ends; the run's state."""
        self.rest.ask("POST", f"/api/v2/dags/{DAG}/dagRuns", json={"dag_run_id": RUN_ID, "logical_date": None})
        wait_until(self._watch, "the end of the DAG run", RUN_SECONDS, *self.needed)
        self._watch()
        return self._state()

    def first_try_log(self) -> Path:
        """Airflow's own log of the try that was killed."""
        return self._task_logs / "attempt=1.log"

    def last_words(self) -> str:
        """The end of the last try's log."""
        logs = sorted(self._task_logs.glob("attempt=*.log"))
        return "\n".join(logs[-1].read_text(errors="replace").splitlines()[-8:]) if logs else "the task has no log"

    @property
    def _task_logs(self) -> Path:
        return self.home / "logs" / f"dag_id={DAG}" / f"run_id={RUN_ID}" / f"task_id={TASK}"

    def _settings(self) -> dict[str, str]:
        key, secret = CREDENTIALS
        connection = {
            "conn_type": "aws",
            "login": key,
            "password": secret,
            "extra": {"endpoint_url": self.s3_url, "region_name": "us-east-1"},
        }
        return {
            "AIRFLOW__WORKERS__STATE_STORE_BACKEND": "offload_backend.airflow.OffloadStateBackend",
            "AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://demo_s3@{BUCKET}/airflow",
            "AIRFLOW_CONN_DEMO_S3": json.dumps(connection),
            "PYTHONPATH": str(ROOT),
        }

    def _make_bucket(self) -> bool:
        try:
            self.s3.create_bucket(Bucket=BUCKET)
        except EndpointConnectionError:
            return False
        return True

    def _dag_is_known(self) -> bool:
        return self.rest.request("GET", f"/api/v2/dags/{DAG}").is_success

    def _state(self) -> str:
        return str(self.rest.ask("GET", f"/api/v2/dags/{DAG}/dagRuns/{RUN_ID}")["state"])

    def _watch(self) -> bool:
        ended = self._state() in ENDED
        rows = read_rows(self.home / "airflow.db", RUN_ID)
        news = rows.progress[len(self.rows.progress) :]
        if rows.checkpoint and not self.rows.checkpoint:
            self.report.line(f"Airflow's row for the checkpoint, whole: {rows.checkpoint}")
        for event in news:
            if event["what"] == "stored":
                self.stored.append(rows)
            self.report.event(event, rows, Bucket.of(self.s3, BUCKET))
        self.rows = rows
        return ended
