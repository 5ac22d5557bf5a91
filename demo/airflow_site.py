"""An Airflow in a folder: its environment, its processes, its REST API."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import httpx

from demo.processes import Process, Processes, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["AIRFLOW", "Rest", "clean_environment", "migrate_database", "site_environment", "start_api_server"]

AIRFLOW = [sys.executable, "-m", "airflow"]
BOOT_SECONDS = 300.0  # a cold start on a busy two-core machine takes about 20, on one that is overloaded minutes
FOREIGN = ("AIRFLOW_", "AIRFLOW__", "AWS_", "PYTHON", "PYTEST_")
KEPT = {"AWS_CA_BUNDLE", "PYTHONUNBUFFERED", "PYTHONPYCACHEPREFIX"}


def clean_environment() -> dict[str, str]:
    """Our environment without anything that could point Airflow or S3 at somebody's real ones."""
    env = {k: v for k, v in os.environ.items() if k in KEPT or not k.startswith(FOREIGN)}
    return env | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def site_environment(home: Path, dags: Path, port: int, extra: Mapping[str, str]) -> dict[str, str]:
    """What every process of one Airflow gets: SQLite in ``home``, LocalExecutor, everyone is admin."""
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-a-throw-away-airflow-on-this-machine-" + "0" * 32,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "20",
        # The longest a supervisor overlooks that its task is dead; the default is 5.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    return clean_environment() | settings | dict(extra)


def migrate_database(processes: Processes, env: Mapping[str, str]) -> None:
    """Create the metadata database; raises with the log's end when that fails."""
    processes.start("migrate", [*AIRFLOW, "db", "migrate"], env).finish(BOOT_SECONDS)


def start_api_server(processes: Processes, env: Mapping[str, str], port: int, name: str = "api-server") -> Process:
    """Start the API server and return at once; :meth:`Rest.wait_for` tells when it answers."""
    return processes.start(
        name, [*AIRFLOW, "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], env
    )


class Rest:
    """Airflow's public REST API, with an admin's token."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def wait_for(self, server: Process, seconds: float = BOOT_SECONDS) -> None:
        """Return when the server answers and has given us a token."""
        wait_until(self._log_in, f"{server.name} at {self.url}", seconds, server)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request; the caller judges the status."""
        return self._client.request(method, path, **options)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON (None when it has no body); an error status raises with the server's words."""
        response = self.request(method, path, **options)
        if response.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {response.status_code} {response.text}",
                request=response.request,
                response=response,
            )
        return response.json() if response.content else None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _log_in(self) -> bool:
        try:
            answer = self._client.get("/auth/token")
        except httpx.TransportError:
            return False
        if answer.is_error:
            return False
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return True
