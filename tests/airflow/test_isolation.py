"""Whose state a hook reads in Airflow: real accessors and context, envelopes copied from row to row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetNameRef, AssetUriRef
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, context
from airflow.sdk.state import AssetScope, TaskScope
from structlog.contextvars import bound_contextvars

from offload_backend.airflow import OffloadStateBackend
from offload_backend.airflow.configuration import load_settings
from offload_backend.errors import ForeignRefError
from tests.airflow.running import Running, Supervisor, running_task
from tests.airflow.test_reclaiming_rules import home, stores, value
from tests.inner.stores import Stores
from tests.inner.test_processes import in_a_fork

__all__ = ["stores"]

REGION = UUID(int=7)
ORDERS = Asset("orders", uri="s3://lake/orders")


def written(scope: TaskScope | AssetScope, key: str = "k") -> str:
    """A ref that the backend made for this state."""
    backend = OffloadStateBackend()
    hook = "task" if isinstance(scope, TaskScope) else "asset"
    ref = getattr(backend, f"serialize_{hook}_state_store_to_ref")(value=value(1), key=key, scope=scope)
    assert "#offload=1" in ref
    return str(ref)


def scope_of_region() -> Any:
    if "region_id" not in TaskScope.__dataclass_fields__:
        pytest.skip("this Airflow has no regions")
    return TaskScope("d", "r", "t", 3, REGION)


def read_task(ref: str) -> Any:
    return OffloadStateBackend().deserialize_task_state_store_from_ref(ref)


def read_asset(ref: str) -> Any:
    return OffloadStateBackend().deserialize_asset_state_store_from_ref(ref)


def is_foreign(read: Any, ref: str) -> bool:
    """Whether the ref is refused because of whose it is; else it gives the value."""
    try:
        found = read(ref)
    except ForeignRefError as error:
        if "isolation = deployment" not in error.hint:
            raise
        return True
    assert found == value(1)
    return False


def refused(read: Any, ref: str, stores: Stores) -> bool:
    """As :func:`is_foreign`, and nothing is fetched then."""
    before = home(stores).calls.count("get")
    if not is_foreign(read, ref):
        return False
    assert home(stores).calls.count("get") == before
    return True


@contextmanager
def a_task(inlets: list[Any] | None = None, outlets: list[Any] | None = None, **names: Any) -> Iterator[None]:
    """A task whose context has what Airflow's has of these."""
    ti = SimpleNamespace(
        **{"id": UUID(int=1), "dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, **names}
    )
    with context.set_current_context({"ti": ti, "inlets": inlets or [], "outlets": outlets or []}):
        yield


@contextmanager
def a_callback(**names: Any) -> Iterator[None]:
    """After the task, or in a trigger: Airflow binds these to the log, and there is no context."""
    ours = {"ti_id": "x", "dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
    with bound_contextvars(**{**ours, **names}):
        yield


OWN = TaskScope("d", "r", "t")
OTHERS = [
    TaskScope("d", "r", "t", 0),
    TaskScope("d", "r", "t2"),
    TaskScope("d", "r2", "t"),
    TaskScope("d2", "r", "t"),
    TaskScope("d" * 300, "r", "t"),
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_a_task_reads_its_own_state_and_no_other_tasks(stores: Stores, other: TaskScope) -> None:
    own, theirs = written(OWN), written(other)
    with a_task():
        assert not refused(read_task, own, stores)
        assert refused(read_task, theirs, stores)


def test_what_a_task_of_the_same_name_and_index_wrote_is_its_own_at_every_try(stores: Stores) -> None:
    ref = written(TaskScope("d", "r", "t", 7))
    with a_task(id=UUID(int=99), map_index=7, try_number=5):
        assert not refused(read_task, ref, stores)
    with a_task(map_index=None):
        assert refused(read_task, ref, stores)
        assert not refused(read_task, written(OWN), stores)


def test_a_region_is_another_state(stores: Stores) -> None:
    ref = written(scope_of_region())
    with a_task(map_index=0, region_index=3, region_id=REGION):
        assert not refused(read_task, ref, stores)
        assert refused(read_task, written(TaskScope("d", "r", "t", 3)), stores)
    with a_task(map_index=3, region_index=3, region_id=UUID(int=0)):
        assert refused(read_task, ref, stores)
    with a_callback(map_index=0):
        assert not refused(read_task, ref, stores)


def test_the_index_within_a_region_counts_where_airflow_tells_one(stores: Stores) -> None:
    ref = written(TaskScope("d", "r", "t", 3))
    with a_task(map_index=0, region_index=3):
        assert not refused(read_task, ref, stores)
    with a_task(map_index=3, region_index=0):
        assert refused(read_task, ref, stores)


def test_names_that_are_cut_are_compared_by_their_digest(stores: Stores) -> None:
    ref = written(TaskScope("d" * 300, "日" * 200, "t"))
    with a_task(dag_id="d" * 300, run_id="日" * 200):
        assert not refused(read_task, ref, stores)
    with a_task(dag_id="d" * 300, run_id="日" * 199 + "月"):
        assert refused(read_task, ref, stores)


def test_task_state_is_no_asset_state_and_asset_state_no_task_state_wherever_it_is_read(stores: Stores) -> None:
    task, asset = written(OWN), written(AssetScope(name="orders"))
    for where in (a_task(inlets=[ORDERS]), a_callback(), a_callback(ti_id=None)):
        with where:
            assert refused(read_asset, task, stores)
            assert refused(read_task, asset, stores)


def test_under_isolation_by_deployment_any_ref_resolves(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ISOLATION", "deployment")
    refs = [written(scope) for scope in (*OTHERS, AssetScope(name="b"))]
    with a_task():
        for ref in refs:
            assert not refused(read_task, ref, stores)
            assert not refused(read_asset, ref, stores)


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_in_a_callback_and_in_a_trigger_the_state_of_the_task_is_read_of_whatever_index(
    stores: Stores, other: TaskScope
) -> None:
    own, theirs = written(OWN), written(other)
    with a_callback():
        assert not refused(read_task, own, stores)
        assert refused(read_task, theirs, stores) == (other.task_id + other.run_id + other.dag_id != "trd")


@pytest.mark.parametrize(
    "bound",
    [
        {},
        {"ti_id": None, "dag_id": None, "run_id": None, "task_id": None},
        {"dag_id": "a user's own", "run_id": "r", "task_id": "t"},
    ],
    ids=str,
)
def test_where_no_task_can_be_told_all_of_the_kind_is_read(stores: Stores, bound: dict[str, Any]) -> None:
    task, asset = written(OTHERS[3]), written(AssetScope(uri="b"))
    with bound_contextvars(**bound):
        assert not refused(read_task, task, stores)
        assert not refused(read_asset, asset, stores)


def test_two_triggers_of_one_process_each_have_a_task_of_their_own(stores: Stores) -> None:
    refs = {name: written(TaskScope(name, "r", "t")) for name in "ab"}

    async def trigger(name: str) -> list[bool]:
        with a_callback(dag_id=name):
            await asyncio.sleep(0)
            return [refused(read_task, refs[each], stores) for each in "ab"]

    async def both() -> list[list[bool]]:
        return await asyncio.gather(trigger("a"), trigger("b"))

    assert asyncio.run(both()) == [[False, True], [True, False]]


def test_threads_and_forks_of_a_task_read_what_the_task_reads(stores: Stores) -> None:
    own, theirs = written(OWN), written(OTHERS[3])
    with a_task(), ThreadPoolExecutor() as threads:
        assert threads.submit(refused, read_task, theirs, stores).result()
        assert not threads.submit(refused, read_task, own, stores).result()
        assert in_a_fork(lambda: expect_foreign(theirs)) == 0


def expect_foreign(ref: str) -> None:
    assert is_foreign(read_task, ref)


class Registry(Supervisor):
    """A supervisor that knows assets and an alias."""

    trouble: bool = False
    asked: int = 0

    def send(self, message: Any) -> Any:
        if not isinstance(message, comms.GetAssetByName | comms.GetAssetByUri | comms.GetAssetsByAlias):
            return super().send(message)
        self.asked += 1
        if self.trouble:
            raise OSError("the connection is gone")
        found = comms.AssetResult(name="orders", uri="s3://lake/orders", group="asset")
        if isinstance(message, comms.GetAssetsByAlias):
            return comms.AssetsByAliasResult(assets=[found] if message.alias_name == "lake" else [])
        if found.name == getattr(message, "name", None) or found.uri == getattr(message, "uri", None):
            return found
        return comms.ErrorResponse(error=ErrorType.ASSET_NOT_FOUND, detail={})


@pytest.fixture
def registry(stores: Stores) -> Iterator[Registry]:
    with running_task(Registry()) as running:
        assert isinstance(running.supervisor, Registry)
        yield running.supervisor


BY_NAME, BY_URI = AssetScope(name="orders"), AssetScope(uri="s3://lake/orders")
KNOWN_AS = [
    ORDERS,
    AssetNameRef(name="orders"),
    AssetUriRef(uri="s3://lake/orders"),
    AssetAlias("lake"),
]


@pytest.mark.parametrize("known_as", KNOWN_AS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("scope", [BY_NAME, BY_URI], ids=str)
@pytest.mark.parametrize("place", ["inlets", "outlets"])
def test_an_assets_state_is_read_whether_it_was_set_by_name_or_by_uri(
    registry: Registry, stores: Stores, known_as: Any, scope: AssetScope, place: str
) -> None:
    own, theirs = written(scope), written(AssetScope(name="b"))
    with a_task(**{place: [Asset("a", uri="s3://a"), known_as]}):
        assert not refused(read_asset, own, stores)
        assert refused(read_asset, theirs, stores)


def test_airflow_is_asked_only_for_what_the_dag_does_not_say(registry: Registry, stores: Stores) -> None:
    theirs = written(AssetScope(name="b"))
    with a_task(inlets=[ORDERS]):
        assert refused(read_asset, theirs, stores)
    assert registry.asked == 0
    with a_task(inlets=[AssetNameRef(name="orders")]):
        assert not refused(read_asset, written(BY_NAME), stores)
    assert registry.asked == 0


@pytest.mark.parametrize(
    "known_as", [AssetNameRef(name="gone"), AssetUriRef(uri="s3://gone"), AssetAlias("empty")], ids=str
)
def test_an_asset_that_airflow_does_not_know_opens_nothing(
    registry: Registry, stores: Stores, known_as: Any
) -> None:
    theirs = written(AssetScope(name="b"))
    with a_task(inlets=[known_as, ORDERS]):
        assert refused(read_asset, theirs, stores)


def test_without_an_answer_an_assets_own_value_is_not_taken_away(registry: Registry, stores: Stores) -> None:
    registry.trouble = True
    with a_task(inlets=[AssetUriRef(uri="s3://lake/orders")]):
        assert not refused(read_asset, written(BY_NAME), stores)


@pytest.mark.parametrize("isolation", ["state", "deployment"])
@pytest.mark.parametrize("end", ["delete", "clear", "set", "many sets", "end"])
@pytest.mark.parametrize("victim", [OTHERS[0], OTHERS[3], AssetScope(name="orders")], ids=str)
def test_whatever_a_task_does_with_a_forged_row_the_victims_blob_stays(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, isolation: str, end: str, victim: Any
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ISOLATION", isolation)
    ref = written(victim)
    (blob,) = home(stores).names()
    with running_task() as task:
        own = task.task() if isinstance(victim, TaskScope) else task.asset(name="a")
        space = "task" if isinstance(victim, TaskScope) else "name:a"
        own.set("k", value(2))
        task.supervisor.rows[space, "k"] = f'{{"__airflow_state_ref__": "{ref}"}}'
        try:
            assert own.get("k") == value(1)
        except ForeignRefError:
            assert isolation == "state"
        act(end, task, own)
    assert blob in home(stores).names()


def act(end: str, task: Running, own: Any) -> None:
    if end == "delete":
        own.delete("k")
    elif end == "clear":
        own.clear()
    elif end != "end":
        for n in range(1 if end == "set" else 40):
            own.set("k", value(n))
    task.end()


def test_with_clear_on_success_a_forged_row_takes_nobodys_blob(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ISOLATION", "deployment")
    ref = written(OTHERS[3])
    with running_task() as task:
        task.supervisor.rows["task", "k"] = f'{{"__airflow_state_ref__": "{ref}"}}'
        assert task.task().get("k") == value(1)
        task.task()._clear_backend_only()
        task.supervisor.rows.clear()
        task.end()
    assert len(home(stores).names()) == 1


@pytest.mark.parametrize("isolation", ["state", "deployment"])
def test_teams_whose_workers_have_names_of_their_own_neither_read_nor_delete_each_others_blobs(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ISOLATION", isolation)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT", "team_a")
    with running_task() as first:
        first.asset(name="shared").set("k", value(1))
        first.end()
        rows, ours = dict(first.supervisor.rows), home(stores).names()
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT", "team_b")
    with running_task(Supervisor(rows=rows)) as second:
        shared = second.asset(name="shared")
        with pytest.raises(ForeignRefError, match="team_a"):
            shared.get("k")
        for n in range(20):
            shared.set("k", value(n))
        assert shared.get("k") == value(19)
        shared.delete("k")
        second.end()
    assert home(stores).names() == ours


def test_airflows_settings_for_a_teams_executor_are_not_those_of_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TEAM_A___OFFLOAD_BACKEND__DEPLOYMENT", "team_a")
    assert load_settings().deployment == "default"
