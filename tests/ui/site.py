"""A real API server with accounts, below a path as behind many proxies, and state that the real backend wrote."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import httpx

from demo.airflow_site import BOOT_SECONDS, site_environment, start_api_server
from demo.processes import Processes, free_port, wait_until
from offload_backend.address import AssetAddress
from offload_backend.row import envelope
from tests.airflow.database import Database
from tests.airflow.rest_site import ROLES, password_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.processes import Process
    from offload_backend.address import StateAddress
    from tests.s3 import S3

HERE = Path(__file__).parent
AIRFLOW_TESTS = HERE.parent / "airflow"
BELOW = "/team-a"
"""Where the API server lies: all that the page and Airflow's UI ask for is below it."""


@dataclass
class Site:
    """``url`` is the API server's, with the accounts of ROLES."""

    url: str
    env: dict[str, str]
    s3: S3
    home: Path
    database: Database
    runner: Process

    def client(self, account: str | None = "admin", **options: Any) -> httpx.Client:
        """Somebody's requests, below :data:`BELOW`; ``None`` is nobody."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=60.0, **options)
        if account is not None:
            client.headers["Authorization"] = f"Bearer {self.token(account)}"
        return client

    def token(self, account: str) -> str:
        """As Airflow gives it for a password."""
        login = {"username": account, "password": password_of(account)}
        answer = httpx.post(f"{self.url}/auth/token", json=login, trust_env=False, timeout=60.0)
        return str(answer.raise_for_status().json()["access_token"])

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have the runner do something."""
        self.runner.stdin.write(json.dumps([command, arguments]) + "\n")
        self.runner.stdin.flush()
        answer = json.loads(self.runner.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def put(self, address: StateAddress, key: str, value: Any, **settings: Any) -> str:
        """Have the backend store the value, and Airflow its row; the text of the row's envelope."""
        text = self.offloaded(address, key, value, **settings)
        self.put_text(address, key, text)
        return text

    def put_text(self, address: StateAddress, key: str, text: str) -> None:
        """Have Airflow write a row with an envelope around any text."""
        with self.client() as client:
            path, value = f"{self._path(address)}/{quote(key, safe='')}", json.loads(envelope(text))
            answer = client.put(path, params=self._place(address), json={"value": value})
            assert answer.is_success, answer.text

    def offloaded(self, address: StateAddress, key: str, value: Any, **settings: Any) -> str:
        """What the backend makes of the value."""
        from offload_backend.offloader import Offloader
        from offload_backend.settings import Settings
        from offload_backend.stores.opening import open_store

        options = {
            name.removeprefix("AIRFLOW__OFFLOAD_BACKEND__").lower(): value
            for name, value in self.env.items()
            if name.startswith("AIRFLOW__OFFLOAD_BACKEND__")
        }
        options |= {"path": f"s3://{self.s3.bucket}/state", "storage_options": json.dumps(storage_options(self.s3))}
        used = Settings.load({**options, **settings})
        return Offloader(used, lambda path: open_store(path, used)).offload(value, address, key)

    def region_of(self, run_id: str, task_id: str) -> UUID | None:
        """Of a mapped task; ``None`` before Airflow 3.4."""
        if not self.database.has_regions:
            return None
        found = self.database.sql(
            "SELECT DISTINCT region_id FROM task_instance WHERE run_id = :run_id AND task_id = :task_id",
            run_id=run_id,
            task_id=task_id,
        )
        [(region,)] = found
        return region if isinstance(region, UUID) else UUID(str(region))

    def id_of(self, key: str) -> int:
        """Of the one task row with this key."""
        [(row_id,)] = self.database.sql("SELECT id FROM task_state_store WHERE key = :key", key=key)
        return int(row_id)

    def asset_id(self, name: str) -> int:
        [(asset_id,)] = self.database.sql("SELECT id FROM asset WHERE name = :name", name=name)
        return int(asset_id)

    def age(self, key: str, by: timedelta, expires: timedelta | None = None) -> None:
        """Make the row of the key older, and give it an expiry from now on."""
        now = datetime.now(timezone.utc)
        text = [(now - by).strftime("%F %T.%f"), (now + expires).strftime("%F %T.%f") if expires else None]
        tasks = "UPDATE task_state_store SET updated_at = :at, expires_at = :expires WHERE key = :key"
        self.database.sql(tasks, at=text[0], expires=text[1], key=key)
        self.database.sql("UPDATE asset_state_store SET updated_at = :at WHERE key = :key", at=text[0], key=key)

    def _place(self, address: StateAddress) -> dict[str, Any]:
        if isinstance(address, AssetAddress):
            return {}
        index = {"map_index": address.map_index}
        if not self.database.has_regions:
            return index
        return {**index, "region_index": address.map_index, "region_id": str(address.region_id or UUID(int=0))}

    def _path(self, address: StateAddress) -> str:
        if isinstance(address, AssetAddress):
            return f"/api/v2/assets/{self.asset_id(address.name or '')}/state-store"
        place = (address.dag_id, address.run_id, address.task_id)
        dag, run, task = (quote(each, safe="") for each in place)
        return f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/state-store"


def storage_options(s3: S3) -> dict[str, Any]:
    client = s3.client
    credentials = client._request_signer._credentials
    return {
        "endpoint_url": s3.endpoint,
        "key": credentials.access_key,
        "secret": credentials.secret_key,
        "region_name": "us-east-1",
    }


@contextmanager
def serve(home: Path, s3: S3, env: Mapping[str, str] | None = None) -> Iterator[Site]:
    """The site, with its DAGs read in and nothing run; all of it is gone when the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}{BELOW}"
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({account: password_of(account) for account in ROLES}))
    settings = {
        "PYTHONPATH": os.pathsep.join([str(AIRFLOW_TESTS / "lib"), str(HERE.parents[1])]),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__AUTH_MANAGER": "narrow_auth_manager.NarrowAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__WORKERS__STATE_STORE_BACKEND": "offload_backend.airflow.OffloadStateBackend",
        "AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://blobs@{s3.bucket}/state",
        "AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT": "team-a",
        "AIRFLOW_CONN_BLOBS": json.dumps(s3.connection()),
        **(env or {}),
    }
    full = site_environment(home, HERE / "dags", port, settings)
    with Processes(home / "servers") as processes:
        runner = processes.start_piped("runner", [sys.executable, str(AIRFLOW_TESTS / "runner.py")], full)
        database = Database(full["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        site = Site(url, full, s3, home, database, runner)
        site.ask("prepare")
        server = start_api_server(processes, full, port)
        wait_until(lambda: _answers(url), f"the API server at {url}", BOOT_SECONDS, server)
        yield site


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/version", trust_env=False, timeout=30.0).is_success
    except httpx.TransportError:
        return False
