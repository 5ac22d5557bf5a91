"""An Airflow with accounts, and state in it, for the roots that are read through its REST API."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import re
import sqlite3
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from demo.airflow_site import BOOT_SECONDS, start_api_server
from demo.processes import Processes, free_port, wait_until
from offload_backend.address import AssetAddress, TaskAddress, blob_name, new_blob_id
from offload_backend.corestores.airflow_rest import RestRoots
from offload_backend.ref import BlobRef, format_ref
from offload_backend.rootsource import Hidden, Ledger, Root
from offload_backend.row import envelope
from tests.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from offload_backend.address import StateAddress
    from tests.airflow.harness import Airflow

ROLES = {"viewer": "viewer", "user": "user", "op": "op", "admin": "admin", "narrow": "op", "nobody": ""}
NO_REGION = str(uuid.UUID(int=0))
_numbers = itertools.count(1)


def password_of(account: str) -> str:
    return f"the-secret-of-{account}"


@dataclass
class RestSite:
    """``url`` has the accounts of ROLES; what tests prepare goes through ``airflow.rest``, an admin's."""

    airflow: Airflow
    url: str

    @contextmanager
    def roots(self, account: str = "op", url: str | None = None, **options: Any) -> Iterator[RestRoots]:
        options = {"deployment": f"d{next(_numbers)}", "timeout": 10.0, "concurrency": 2} | options
        with closing(
            RestRoots(url or self.url, username=account, password=password_of(account), **options)
        ) as source:
            yield source

    def seen(self, *addresses: StateAddress, account: str = "op", url: str | None = None) -> Seen:
        """What a fresh source makes of these addresses."""
        with self.roots(account, url) as source:
            return seen(source, addresses)

    def run(self, dag_id: str = "probe", task_id: str = "sync", run_id: str | None = None) -> TaskAddress:
        """A new run whose tasks wait; the address of its task that is not mapped."""
        run_id = run_id or f"rest-{uuid.uuid4().hex}"
        self.airflow.ask("trigger", dag_id=dag_id, conf={}, run_id=run_id)
        return TaskAddress(dag_id, run_id, task_id)

    def clone_run(self, dag_id: str, run_id: str, tasks: Iterable[tuple[str, int]]) -> None:
        """A run of any name with task instances of any name and index."""
        model = self.run().run_id
        if not self.airflow.sql("SELECT 1 FROM dag WHERE dag_id = :dag", dag=dag_id):
            self.clone("dag", "dag_id = 'probe'", dag_id=dag_id)
        self.clone("dag_run", f"run_id = '{model}'", dag_id=dag_id, run_id=run_id)
        index = "region_index" if self.airflow.has_regions else "map_index"
        for task_id, map_index in tasks:
            place = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, index: map_index}
            where = f"run_id = '{model}' AND task_id = 'sync'"
            self.clone("task_instance", where, id=uuid.uuid4().hex, **place)

    def put(self, address: StateAddress, key: str = "key", value: Any = None) -> str:
        """Have Airflow store a row with a ref, or with ``value``; the id in it."""
        blob_id = new_blob_id()
        value = json.loads(envelope(ref_to(blob_id, address))) if value is None else value
        for path, params in self._lists(address):
            self.airflow.rest.ask("PUT", f"{path}/{quote(key, safe='')}", params=params, json={"value": value})
        return blob_id

    def put_many(self, address: TaskAddress, count: int) -> set[str]:
        """Rows ``k000``, ``k001`` … with refs; the ids in them."""
        first = self.put(address, "k000")
        taken = {'"id"', '"key"', '"value"'}
        names = ", ".join(name for name in self._columns("task_state_store") if name not in taken)
        statement = (
            f"INSERT INTO task_state_store ({names}, key, value) SELECT {names}, ?, REPLACE(value, ?, ?) "
            "FROM task_state_store WHERE run_id = ? AND task_id = ? AND key = 'k000'"
        )
        others = [(f"k{number:03}", new_blob_id()) for number in range(1, count)]
        with closing(sqlite3.connect(self.airflow.home / "airflow.db", timeout=30)) as database, database:
            place = (address.run_id, address.task_id)
            database.executemany(statement, [(key, first, blob_id, *place) for key, blob_id in others])
        return {first, *(blob_id for _, blob_id in others)}

    def clone(self, table: str, where: str, **changes: Any) -> None:
        """Another row like one that is there."""
        names = [name for name in self._columns(table) if name != '"id"' or "id" in changes]
        chosen = [f":{bare}" if (bare := name.strip('"')) in changes else name for name in names]
        self.airflow.sql(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(chosen)} FROM {table} WHERE {where}",
            **changes,
        )

    def path(self, address: TaskAddress) -> str:
        """Of the task instance."""
        run = f"/api/v2/dags/{quote(address.dag_id, safe='')}/dagRuns/{quote(address.run_id, safe='')}"
        return f"{run}/taskInstances/{quote(address.task_id, safe='')}"

    def _lists(self, address: StateAddress) -> list[tuple[str, dict[str, Any]]]:
        if isinstance(address, AssetAddress):
            column, text = ("name", address.name) if address.name is not None else ("uri", address.uri)
            found = self.airflow.sql(f"SELECT id FROM asset WHERE {column} = :text", text=text)
            return [(f"/api/v2/assets/{asset_id}/state-store", {}) for (asset_id,) in found]
        place: dict[str, Any] = {"map_index": address.map_index}
        if self.airflow.has_regions:
            place |= {"region_id": str(address.region_id or NO_REGION), "region_index": address.map_index}
        return [(f"{self.path(address)}/state-store", place)]

    @functools.cache  # noqa: B019 - one site lives as long as the test run
    def _columns(self, table: str) -> tuple[str, ...]:
        found = self.airflow.sql(f"SELECT name FROM pragma_table_info('{table}')")
        return tuple(f'"{name}"' for (name,) in found)

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Seen:
    """What a source yields, taken apart."""

    roots: tuple[Root, ...]
    hidden: tuple[Hidden, ...]

    @property
    def ids(self) -> set[str]:
        return {blob_id for root in self.roots for blob_id in root.ids}

    @property
    def reason(self) -> str:
        """Why the one address that was asked for is hidden."""
        [hidden] = self.hidden
        return hidden.reason

    @property
    def kept(self) -> set[StateAddress]:
        return {hidden.address for hidden in self.hidden}


def seen(source: RestRoots, addresses: Iterable[StateAddress]) -> Seen:
    found = list(source.roots(addresses))
    roots = tuple(each for each in found if isinstance(each, Root))
    return Seen(roots, tuple(each for each in found if isinstance(each, Hidden)))


def ref_to(blob_id: str, address: StateAddress) -> str:
    name = blob_name("default", address, "key", blob_id, "json.zst")
    return format_ref(BlobRef(f"s3://bucket/prefix/{name}", 1, 1, "0" * 64, "json"))


def ledger(sequence: int) -> Ledger:
    url = f"s3://bucket/prefix/v1/default/_gc/canary/{new_blob_id()}.json.zst"
    return Ledger(sequence, format_ref(BlobRef(url, 1, 1, "0" * 64, "json")))


@contextmanager
def serve(airflow: Airflow) -> Iterator[RestSite]:
    """A second API server of the same Airflow, with accounts."""
    passwords = airflow.home / "rest-passwords.json"
    passwords.write_text(json.dumps({account: password_of(account) for account in ROLES}))
    settings = {
        "AIRFLOW__CORE__AUTH_MANAGER": "narrow_auth_manager.NarrowAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        # Tokens made for the command line expire at once; those of the other route live for a day.
        "AIRFLOW__API_AUTH__JWT_CLI_EXPIRATION_TIME": "1",
        "AIRFLOW__API_AUTH__JWT_LEEWAY": "0",
    }
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Processes(airflow.home / "servers") as processes, httpx.Client(trust_env=False) as client:
        server = start_api_server(processes, airflow.env | settings, port, "api-server-with-accounts")

        def answers() -> bool:
            try:
                return client.get(f"{url}/api/v2/version").is_success
            except httpx.TransportError:
                return False

        wait_until(answers, f"{server.name} at {url}", BOOT_SECONDS, server)
        yield RestSite(airflow, url)


@contextmanager
def faulty(site: RestSite, monkeypatch: Any) -> Iterator[FaultProxy]:
    """The site behind a proxy that knows the API's operations."""
    monkeypatch.setattr("tests.fault_proxy.operation_of", operation_of)
    with FaultProxy(site.url) as proxy:
        yield proxy


def edited(edit: Callable[[bytes], bytes]) -> Callable[[int, dict, bytes], tuple[int, dict, bytes]]:
    """For the proxy's ``change``: edits what the server says, compressed or not."""

    def change(status, headers, body):
        plain = {name: value for name, value in headers.items() if name.lower() != "content-encoding"}
        return status, plain, edit(gzip.decompress(body) if plain != headers else body)

    return change


_OPERATIONS = {
    r"/state-store\?.*offset=0$": "rows",
    r"/state-store\?": "later rows",
    r"/taskInstances/[^/]+/-?[0-9]+": "instance",
    r"/taskInstances\?": "instances",
    r"/dagRuns/[^/]+$": "run",
    r"/assets\?": "assets",
    r"/assets/[0-9]+$": "asset",
    r"/variables": "variable",
    r"/auth/token": "login",
    r"/version$": "version",
}


def operation_of(method: str, path: str) -> str:
    """A short name of a request, for the rules of the proxy."""
    return next((name for pattern, name in _OPERATIONS.items() if re.search(pattern, path)), f"{method} {path}")
