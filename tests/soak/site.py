"""The Airflow that is soaked: API server, scheduler, DAG processor, triggerer; PostgreSQL; S3 that may fail."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from demo.airflow_site import AIRFLOW, Rest, site_environment, start_api_server
from demo.processes import Process, Processes, free_port, wait_until
from tests.airflow.database import Database
from tests.load.places import BUCKET, CREDENTIALS, PREFIX, Storage
from tests.postgres_server import server
from tests.soak.witness import FOLDER, LARGEST

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DAGS = ("soak", "soak_old", "soak_reader")
BOOT_SECONDS, COMMAND_SECONDS = 600.0, 600.0


class Site:
    """One Airflow in ``home``. ``journals`` is where its tasks write down what they do."""

    def __init__(self, home: Path, storage: Storage, processes: Processes, largest: int) -> None:
        self.home, self.storage, self._processes = home, storage, processes
        self.journals = home / "journals"
        self.journals.mkdir(parents=True)
        url = _new_database()
        self.database = Database(url)
        self.port = free_port()
        self.env = site_environment(home, HERE / "dags", self.port, self._settings(url, largest))
        processes.start("migrate", [*AIRFLOW, "db", "migrate"], self.env).finish(BOOT_SECONDS)
        self.rest = Rest(self.port)
        self.rest._client.timeout = httpx.Timeout(BOOT_SECONDS)
        self.servers: dict[str, Process] = {}

    def start(self, **env: str) -> None:
        """All servers; returns when the DAGs can be run."""
        self.env |= env
        self.servers["api-server"] = start_api_server(self._processes, self.env, self.port)
        for name in ("scheduler", "dag-processor", "triggerer"):
            self.start_one(name)
        self.rest.wait_for(self.servers["api-server"], BOOT_SECONDS)
        wait_until(self._knows_dags, "the DAGs", BOOT_SECONDS, *self.servers.values())

    def start_one(self, name: str) -> None:
        more = ["--skip-serve-logs"] if name == "triggerer" else []
        self.servers[name] = self._processes.start(name, [*AIRFLOW, name, *more], self.env)

    def stop(self) -> None:
        while self.servers:
            self.servers.popitem()[1].stop()

    def command(self, *arguments: str) -> str:
        """What an ``airflow`` command printed; it has to succeed."""
        done = subprocess.run(
            [*AIRFLOW, *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"airflow {' '.join(arguments)}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout

    def trigger(self, dag_id: str, run_id: str, moment: datetime, **conf: Any) -> None:
        body = {"dag_run_id": run_id, "logical_date": moment.isoformat(), "conf": conf}
        self.rest.ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self.rest.ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def log_tails(self) -> str:
        return self._processes.tails()

    def _knows_dags(self) -> bool:
        return all(self.rest.request("GET", f"/api/v2/dags/{dag_id}").is_success for dag_id in DAGS)

    def _settings(self, url: str, largest: int) -> dict[str, str]:
        connection = {
            "conn_type": "aws",
            "login": CREDENTIALS["aws_access_key_id"],
            "password": CREDENTIALS["aws_secret_access_key"],
            "extra": {"endpoint_url": self.storage.endpoint, "region_name": CREDENTIALS["region_name"]},
        }
        return {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
            "AIRFLOW__CORE__PARALLELISM": str(3 * (os.cpu_count() or 1)),
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
            # So many tasks on so few cores: with the default of 5 s, a task fails before it has begun.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__WORKERS__STATE_STORE_BACKEND": "offload_backend.airflow.OffloadStateBackend",
            "AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://soak@{BUCKET}/{PREFIX}",
            "AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT": "soak",
            "AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "2000",
            "AIRFLOW__OFFLOAD_BACKEND__COMMIT_WINDOW": "40s",
            "AIRFLOW__OFFLOAD_BACKEND__GC_MIN_AGE": "60s",
            "AIRFLOW__OFFLOAD_BACKEND__GC_QUARANTINE": "15s",
            "AIRFLOW__OFFLOAD_BACKEND__GC_MAX_RATIO": "1.0",
            "AIRFLOW_CONN_SOAK": json.dumps(connection),
            "PYTHONPATH": str(ROOT),
            FOLDER: str(self.journals),
            LARGEST: str(largest),
        }


def airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow-core")


def _new_database() -> str:
    """The URL of an empty database of its own on the tests' PostgreSQL."""
    url = make_url(server().get_uri()).set(drivername="postgresql+psycopg")
    name = f"soak{uuid.uuid4().hex}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return url.set(database=name).render_as_string(hide_password=False)
