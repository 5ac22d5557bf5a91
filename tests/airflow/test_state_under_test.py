"""The fixture ``offload_airflow``: what it plays, and that the rest is Airflow's."""

from __future__ import annotations

import asyncio
import os

import pytest

pytest.importorskip("airflow.sdk.state")

from airflow.sdk import Asset, AssetAlias, Connection, Variable, get_current_context, task
from airflow.sdk.definitions.asset import AssetNameRef, AssetUriRef
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time import context, task_runner

LARGE = {"rows": ["x" * 100] * 1000}
ORDERS = Asset("orders", uri="s3://lake/orders")


def test_the_accessors_are_airflows_and_the_backend_is_ours(offload_airflow):
    with offload_airflow.task(outlets=[ORDERS]).attempt() as found:
        assert type(found["task_state_store"]) is context.TaskStateStoreAccessor
        assert type(found["asset_state_store"]) is context.AssetStateStoreAccessors
        backend = context._get_worker_state_store_backend()
        assert type(backend).__module__ == "offload_backend.airflow.backend"
        assert get_current_context() is found
    with pytest.raises(RuntimeError):
        get_current_context()


def test_each_attempt_has_a_backend_that_remembers_nothing(offload_airflow):
    seen = []
    for _ in range(2):
        with offload_airflow.task().attempt():
            seen.append(context._get_worker_state_store_backend())
    assert seen[0] is not seen[1]


def test_what_task_has_decorated_is_called_with_its_context(offload_airflow):
    @task(retries=3)
    def fit(factor, task_state_store=None, ti=None):
        task_state_store.set("key", LARGE)
        return factor * ti.try_number

    fitting = offload_airflow.task("fit")
    assert [fitting.run(fit, factor=10), fitting.run(fit, factor=10)] == [10, 20]
    assert fitting.store.get("key") == LARGE


def test_an_asset_is_the_same_by_name_and_by_uri(offload_airflow):
    with offload_airflow.task("load", outlets=[ORDERS]).attempt() as found:
        found["asset_state_store"].set("key", LARGE)
    for inlet in (AssetNameRef("orders"), AssetUriRef("s3://lake/orders")):
        with offload_airflow.task("read", inlets=[inlet]).attempt() as found:
            assert found["asset_state_store"][inlet].get("key") == LARGE
    assert offload_airflow.asset_store(uri="s3://lake/orders").get("key") == LARGE
    assert offload_airflow.asset_store(uri="s3://lake/other").get("key") is None


def test_an_alias_has_no_asset_here(offload_airflow):
    with offload_airflow.task("read", inlets=[AssetAlias("any"), ORDERS]).attempt() as found:
        assert found["asset_state_store"].get("key", "none") == "none"


def test_what_the_next_run_overwrites_is_the_collectors_and_no_orphan(offload_airflow):
    for number in range(3):
        with offload_airflow.task("load", run_id=str(number), outlets=[ORDERS]).attempt() as found:
            found["asset_state_store"].set("key", {"number": number})
    assert offload_airflow.leftovers().orphans == ()
    assert len(list(offload_airflow.faults.blobs.inner.list())) > 1


@pytest.mark.offload_leaves("orphans")
def test_a_superseded_attempt_finds_nothing_and_changes_nothing(offload_airflow):
    fit = offload_airflow.task("fit")
    fit.store.set("key", "old")
    with fit.attempt() as zombie, fit.attempt() as current:
        assert zombie["task_state_store"].get("key") is None
        for change in (lambda store: store.set("key", 1), lambda store: store.delete("key"), lambda s: s.clear()):
            with pytest.raises(AirflowRuntimeError, match="404"):
                change(zombie["task_state_store"])
        assert current["task_state_store"].get("key") == "old"
        other = offload_airflow.task("fit", map_index=3)
        with other.attempt():
            current["task_state_store"].set("key", "new")
    assert fit.store.get("key") == "new"


def test_assets_can_be_awaited(offload_airflow):
    async def function(asset_state_store):
        store = asset_state_store[ORDERS]
        await store.aset("key", LARGE)
        assert await store.aget("key") == LARGE
        await store.adelete("key")
        return await store.aget("key", "gone")

    assert offload_airflow.task(outlets=[ORDERS]).run(function) == "gone"


def test_connections_and_variables_are_the_environments(offload_airflow, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_PAGES", "7")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://user:word@host/base")

    def function():
        return Variable.get("pages"), Connection.get("warehouse").host, Variable.get("none", default="-")

    assert offload_airflow.task().run(function) == ("7", "host", "-")


def test_what_nobody_plays_says_so(offload_airflow):
    from airflow.sdk.execution_time import comms

    with offload_airflow.task().attempt() as found:
        answer = task_runner.SUPERVISOR_COMMS.send(
            comms.GetXCom(key="k", dag_id="d", run_id="r", task_id="t", map_index=-1)
        )
        assert "stands in for state alone; nobody answers GetXCom" in str(answer)
        assert found["ti"].try_number == 1


class TestSettings:
    @pytest.fixture
    def offload_settings(self):
        return {"inline_limit": 500, "allowed_classes": ["tests.*"], "deployment": "tested"}

    def test_they_lie_over_airflows_configuration(self, offload_airflow, monkeypatch):
        assert offload_airflow.settings.inline_limit == 500
        assert offload_airflow.settings.deployment == "tested"
        with offload_airflow.task().attempt() as found:
            found["task_state_store"].set("small", "x")
            found["task_state_store"].set("large", LARGE)
        [blob] = offload_airflow.faults.blobs.inner.list()
        assert blob.name.startswith("v1/tested/task/dag/run/task/-1/large/")

    def test_what_they_do_not_name_is_airflows(self, monkeypatch, request):
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__COMPRESSION_LEVEL", "7")
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT", "9")
        settings = request.getfixturevalue("offload_airflow").settings
        assert (settings.compression_level, settings.inline_limit) == (7, 500)


def test_an_event_loop_of_its_own_may_run_attempts(offload_airflow):
    async def main():
        with offload_airflow.task().attempt() as found:
            found["task_state_store"].set("key", LARGE)
            return found["task_state_store"].get("key")

    assert asyncio.run(main()) == LARGE


def test_the_setting_of_the_worker_is_there_while_a_test_runs(offload_airflow):
    name = os.environ["AIRFLOW__WORKERS__STATE_STORE_BACKEND"]
    assert name == "offload_backend.airflow.OffloadStateBackend"
