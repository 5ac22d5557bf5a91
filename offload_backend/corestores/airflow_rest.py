"""Roots read through Airflow's public REST API, for a collector that cannot reach the metadata database.

The API has no list of all state, so the addresses are given, and each is asked for. What an answer
proves, and what not:

- A state-store list that was read completely is the table's truth: Airflow authorizes the request
  before it looks, and then leaves out no row of those coordinates. Whoever may not see gets 403.
- That Airflow looked for the coordinates we meant is proven by an answer that names them: the task
  instance, or the DAG run, or Airflow's own "was not found" with the same ids in it.
- Rows belong to their DAG run and go with it. In 3.3 they outlast a deleted task instance, and are
  still listed. From 3.4 on a row may stand in a region that is not current and that nothing lists;
  so there the task instance at just these coordinates must be visible, or the run provably gone.
- An asset is never deleted by Airflow, so one that is not listed is one that we may not see.

Everything else is :class:`~offload_backend.rootsource.Hidden`. The archives that ``airflow db clean``
leaves (tables ``_airflow_deleted__*``) cannot be seen through this API: who may want to copy rows back
from them reads the roots from the database.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.corestores.rest_assets import AssetList
from offload_backend.corestores.rest_client import RestClient
from offload_backend.corestores.rest_ledger import RestLedger
from offload_backend.corestores.rest_pages import UnseenError, read_all, segment, text_of
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Hidden, Ledger, Origin, Root, root_of
from offload_backend.row import envelope

__all__ = ["RestRoots"]

Standing = Literal["current", "run", "gone"]
"""The task instance is visible; only its DAG run is; not even that."""

FIRST_VERSION = (3, 3)
REGIONS_SINCE = (3, 4)
NO_REGION = UUID(int=0)
TROUBLES = 10
"""Addresses in a row without any answer before we see whether the server still lives."""


class RestRoots:
    """A :class:`~offload_backend.rootsource.RootSource` that asks Airflow's API at ``url``.

    ``url`` is what people open in a browser; a username and a password may stand in it. The account
    needs to read task instances and runs of every DAG, to read assets, and to read, create and edit
    Variables; what it may not see is kept. The ledger is the Variable ``offload_collector_<deployment>``.
    ``timeout`` is in seconds for each wait, ``concurrency`` is the number of addresses asked for at
    the same time.

    Each address is read at one moment after the call, not all of them in one snapshot: a row that was
    there all the time is always found.
    """

    def __init__(
        self,
        url: str,
        *,
        deployment: str,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = 60.0,
        concurrency: int = 8,
    ) -> None:
        self._client = RestClient(url, token, username, password, timeout)
        self._ledger = RestLedger(self._client, deployment)
        self._concurrency = concurrency

    def origin(self) -> Origin:
        """The API's address: Airflow has no id of its own that a copy would not share."""
        self._version()
        return Origin("rest", self._client.url, self._client.url)

    def ledger(self) -> Ledger | None:
        """What :meth:`record` wrote last, or ``None`` if the collector was never here."""
        return self._ledger.read()

    def record(self, ledger: Ledger) -> None:
        """Write the ledger, committed when this returns; never back to an earlier run."""
        self._ledger.write(ledger)

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:
        """The roots at these addresses, :class:`Hidden` for each that was not seen completely, then the canary.

        Raises :class:`~offload_backend.errors.CoreStoreError` when the server is gone rather than one
        answer, and :class:`~offload_backend.errors.ConfigError` when it is not Airflow 3.3 or newer.
        """
        version = self._version()
        reading = _Reading(self._client, has_regions=version >= REGIONS_SINCE)
        troubles = 0
        for seen in _in_order(reading.at, addresses, self._concurrency):
            yield from seen.found
            troubles = troubles + 1 if seen.trouble else 0
            if troubles == TROUBLES:
                self._version()
                troubles = 0
        if self._version() != version:
            raise CoreStoreError(
                "Airflow was upgraded while its roots were read", hint="run it again", location=self._client.url
            )
        ledger = self.ledger()
        canary = root_of(envelope(ledger.canary), None, f"Variable {self._ledger.key}") if ledger else None
        if canary is not None:
            yield canary

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _version(self) -> tuple[int, int]:
        version = self._client.version()
        if version < FIRST_VERSION:
            raise ConfigError(
                f"Airflow {version[0]}.{version[1]} has no state store",
                hint="name an Airflow 3.3 or newer",
                location=self._client.url,
            )
        return version


@dataclass(frozen=True)
class _Seen:
    """What was found at one address, and whether the server failed to answer at all."""

    found: list[Root | Hidden]
    trouble: bool = False


class _Reading:
    """One call of :meth:`RestRoots.roots`; used by several threads."""

    def __init__(self, client: RestClient, *, has_regions: bool) -> None:
        self._client = client
        self._has_regions = has_regions
        self._assets = AssetList(client, is_filtered=has_regions)
        self._indexes_of = lru_cache(maxsize=16)(self._read_indexes)

    def at(self, address: StateAddress) -> _Seen:
        """What is at one address."""
        found: list[Root | Hidden] = []
        try:
            if isinstance(address, TaskAddress):
                self._read_task(address, found)
            else:
                self._read_asset(address, found)
        except UnseenError as error:
            return _Seen([*found, Hidden(address, str(error))])
        except CoreStoreError as error:
            return _Seen([*found, Hidden(address, error.message)], trouble=True)
        return _Seen(found)

    def _read_task(self, address: TaskAddress, found: list[Root | Hidden]) -> None:
        if address.region_id and not self._has_regions:
            raise UnseenError("this Airflow is older than the region in the address")
        path = f"{_run_path(address.dag_id, address.run_id)}/taskInstances/{segment(address.task_id)}"
        place = self._place(address)
        rows = read_all(self._client, f"{path}/state-store", place, "task_state_store", _row_of(address))
        found += [root for root in rows.values() if root]
        standing = self._standing(address, path, place)
        if standing == "run" and self._has_regions:
            raise UnseenError("the task instance is not current, so its rows may be in another region")
        if standing == "gone" and rows:
            raise UnseenError("the DAG run is gone, yet it has rows")

    def _place(self, address: TaskAddress) -> dict[str, str | int]:
        if not self._has_regions:
            return {"map_index": address.map_index}
        # Both, for without them Airflow chooses a region; zero is the one of tasks that have none.
        return {"region_id": str(address.region_id or NO_REGION), "region_index": address.map_index}

    def _standing(self, address: TaskAddress, path: str, place: dict[str, str | int]) -> Standing:
        """What is left of the task instance, by an answer that names it."""
        if self._has_regions and not address.region_id:
            indexes = self._indexes_of(address.dag_id, address.run_id, address.task_id)
            return "gone" if indexes is None else "current" if address.map_index in indexes else "run"
        answer = self._client.get(f"{path}/{address.map_index}", place)
        names = [address.dag_id, address.run_id, address.task_id]
        if answer.denies(*names, str(address.map_index)):
            return "run" if self._has_run(address.dag_id, address.run_id) else "gone"
        shown = answer.object
        if _named(shown) != names or any(shown.get(name) != wanted for name, wanted in place.items()):
            raise UnseenError(f"the task instance: {answer}")
        return "current"

    def _read_indexes(self, dag_id: str, run_id: str, task_id: str) -> frozenset[int] | None:
        """The map indexes of a task that has no regions, or ``None`` if its run is gone.

        A worker older than regions names none in its blobs, although its rows are in one; so where the
        task has any, rows are not found by an address without.
        """
        if not self._has_run(dag_id, run_id):
            return None
        params = {"task_id": task_id, "order_by": "id"}
        instances = read_all(
            self._client, f"{_run_path(dag_id, run_id)}/taskInstances", params, "task_instances", _instance
        )
        if any(names != [dag_id, run_id, task_id] for names, _, _ in instances.values()):
            raise UnseenError("the list of task instances is not the one that was asked for")
        if any(region for _, _, region in instances.values()):
            raise UnseenError("the task has regions, and the address names none")
        return frozenset(index for _, index, _ in instances.values())

    def _has_run(self, dag_id: str, run_id: str) -> bool:
        answer = self._client.get(_run_path(dag_id, run_id))
        if answer.denies(dag_id, run_id):
            return False
        shown = answer.object
        if (shown.get("dag_id"), shown.get("dag_run_id")) != (dag_id, run_id):
            raise UnseenError(f"the DAG run: {answer}")
        return True

    def _read_asset(self, address: AssetAddress, found: list[Root | Hidden]) -> None:
        # Several assets may share a name or a uri; which of them a worker meant was decided by the server.
        for asset_id in self._assets.ids(address):
            path = f"/api/v2/assets/{asset_id}/state-store"
            rows = read_all(self._client, path, {}, "asset_state_store", _row_of(address))
            found += [root for root in rows.values() if root]


def _in_order(
    ask: Callable[[StateAddress], _Seen], addresses: Iterable[StateAddress], threads: int
) -> Iterator[_Seen]:
    """The answers in the order of the addresses, of which only a few are held at a time."""
    pending: deque[Future[_Seen]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="offload-rest") as pool:
        try:
            for address in addresses:
                pending.append(pool.submit(ask, address))
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{segment(dag_id)}/dagRuns/{segment(run_id)}"


def _row_of(address: StateAddress) -> Callable[[dict[str, Any]], tuple[str, Root | None]]:
    def keep(row: dict[str, Any]) -> tuple[str, Root | None]:
        # The API gives the value decoded. Encoded again it has the same strings, and ids are in strings.
        key = text_of(row["key"])
        return key, root_of(json.dumps(row["value"]), _moment(row.get("updated_at")), f"{address} key {key!r}")

    return keep


def _instance(row: dict[str, Any]) -> tuple[str, tuple[list[Any], int, Any]]:
    return text_of(row["id"]), (_named(row), row["map_index"], row.get("region_id"))


def _named(instance: dict[str, Any]) -> list[Any]:
    return [instance.get(name) for name in ("dag_id", "dag_run_id", "task_id")]


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        return None
