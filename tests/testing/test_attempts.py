"""Attempts of a task, over stores that outlive them."""

from __future__ import annotations

import functools

import pytest

from offload_backend import NEVER_EXPIRE
from offload_backend.address import TaskAddress

LARGE = {"weights": [0.5] * 20_000, "done": {("2026-11-26", 1)}}


def blobs(state):
    return [info.name for info in state.faults.blobs.inner.list()]


def set_five_times(task_state_store):
    for number in range(5):
        task_state_store.set("key", {"number": number})


def test_state_outlives_an_attempt_and_comes_back_type_for_type(state):
    task = state.task("fit")
    task.run(lambda task_state_store: task_state_store.set("key", LARGE, retention=NEVER_EXPIRE))
    assert task.run(lambda task_state_store: task_state_store.get("key")) == LARGE
    assert task.try_number == 2
    [row] = state.rows.rows()
    assert (row.address, row.key, row.expires_at) == (TaskAddress("dag", "run", "fit"), "key", None)
    assert "__airflow_state_ref__" in row.text
    assert "memory://" in row.text


def test_a_retention_is_kept_in_the_row(state):
    state.task().run(lambda task_state_store: task_state_store.set("key", 1))
    [row] = state.rows.rows()
    assert row.expires_at is not None


def test_an_attempt_that_ends_leaves_one_blob_a_key(state):
    state.task().run(set_five_times)
    assert len(blobs(state)) == 1


def test_an_attempt_that_fails_keeps_its_state_and_tidies_up(state):
    def function(task_state_store):
        set_five_times(task_state_store)
        raise ZeroDivisionError

    task = state.task()
    with pytest.raises(ZeroDivisionError):
        task.run(function)
    assert task.store.get("key") == {"number": 4}
    assert len(blobs(state)) == 1


@pytest.mark.offload_leaves("orphans")
def test_a_killed_attempt_tidies_nothing_up(state, offload_faults):
    offload_faults.kill_after_row(after=4)
    with pytest.raises(offload_faults.Killed):
        state.task().run(set_five_times)
    assert state.task().store.get("key") == {"number": 4}
    assert len(blobs(state)) > 1


@pytest.mark.parametrize("how", ["succeeds", "fails", "is killed"])
def test_clear_on_success_clears_on_success_alone(state, offload_faults, how, monkeypatch):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    raised = {"fails": ZeroDivisionError, "is killed": offload_faults.Killed}.get(how)
    try:
        with state.task().attempt() as context:
            context["task_state_store"].set("key", LARGE)
            if raised:
                raise raised
    except (ZeroDivisionError, offload_faults.Killed):
        pass
    assert state.task().store.get("key") == (LARGE if raised else None)
    assert len(blobs(state)) == (1 if raised else 0)


def test_delete_and_clear_give_the_space_back(state):
    with state.task().attempt() as context:
        store = context["task_state_store"]
        for key in "abc":
            store.set(key, LARGE)
        store.delete("a")
        assert store.get("a", "gone") == "gone"
        assert len(blobs(state)) == 2
        store.clear()
    assert blobs(state) == []
    assert list(state.rows.rows()) == []


@pytest.mark.parametrize(
    "other", [{"task_id": "b"}, {"dag_id": "b"}, {"run_id": "b"}, {"map_index": 0}], ids=lambda other: str(*other)
)
def test_another_task_dag_run_or_index_has_state_of_its_own(state, other):
    first, second = state.task(), state.task(**other)
    first.store.set("key", 1)
    assert second.store.get("key") is None
    second.run(lambda task_state_store: task_state_store.set("key", 2))
    assert (first.store.get("key"), second.store.get("key")) == (1, 2)
    assert state.task(**other).run(lambda task_state_store: task_state_store.get("key")) == 2


def test_an_attempt_reads_what_a_test_has_prepared_from_outside(state):
    state.task().store.set("key", LARGE)
    assert state.task().run(lambda task_state_store: task_state_store.get("key")) == LARGE


class TestWhatAFunctionGets:
    def test_its_parameters_are_entries_of_the_context(self, state):
        def function(run_id, ti, task_state_store, *, mine, default=5):
            assert task_state_store.get("key") is None
            return run_id, ti.task_id, ti.map_index, ti.try_number, mine, default

        task = state.task("fit", run_id="monday", map_index=3)
        assert task.run(function, mine=4) == ("monday", "fit", 3, 1, 4, 5)
        assert task.run(function, mine=4, run_id="given")[:4] == ("given", "fit", 3, 2)

    def test_keywords_get_all_of_it(self, state):
        def function(first, **context):
            return first, sorted(context)

        names = ["inlets", "outlets", "run_id", "task_instance", "task_state_store", "ti"]
        assert state.task().run(function, first=1) == (1, names)

    def test_more_can_be_put_in(self, state):
        with state.task().attempt(params={"a": 1}, run_id="mine") as context:
            assert context["params"] == {"a": 1}
            assert context["run_id"] == "mine"

    def test_a_coroutine_is_run_to_its_end(self, state):
        async def function(task_state_store):
            task_state_store.set("key", LARGE)
            return "done"

        assert state.task().run(function) == "done"
        assert state.task().store.get("key") == LARGE

    def test_a_wrapped_function_gets_what_the_one_inside_asks_for(self, state):
        def function(task_state_store):
            return task_state_store.get("key", "none")

        @functools.wraps(function)
        def wrapped(*given, **more):
            return function(*given, **more)

        assert state.task().run(wrapped) == "none"

    def test_assets_are_there_where_the_task_has_any(self, state):
        pytest.importorskip("airflow.sdk")
        from airflow.sdk import Asset

        orders, invoices = Asset("orders", uri="s3://lake/orders"), Asset("invoices")
        with state.task("load", inlets=[invoices], outlets=[orders]).attempt() as context:
            context["asset_state_store"][orders].set("key", LARGE)
            context["asset_state_store"][invoices].set("key", 1)
        with state.task("read", inlets=[orders]).attempt() as context:
            assert context["asset_state_store"].get("key") == LARGE
        assert state.asset_store(name="orders").get("key") == LARGE
        with state.task("none").attempt() as context:
            assert "asset_state_store" not in context
