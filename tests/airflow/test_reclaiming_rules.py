"""What the end of a task, and a look at a row in between, may delete: every rule that keeps, one by one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from offload_backend.airflow import OffloadStateBackend
from offload_backend.airflow import worker as worker_module
from tests import seam as seams
from tests.airflow.running import Running, Supervisor, TimedOutError, running_task
from tests.inner.stores import FaultyStore, Stores
from tests.inner.test_processes import in_a_fork

HANDFUL = 10
HOME = "s3://bucket/state"
LOOK = 8


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    stores = Stores()
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", HOME)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT", "100")
    monkeypatch.setattr(worker_module, "open_store", lambda path, settings: stores.open(path))
    return stores


@pytest.fixture
def task(stores: Stores) -> Iterator[Running]:
    with running_task() as running:
        yield running


def value(n: int) -> list[Any]:
    return [n, "x" * 200]


def home(stores: Stores) -> FaultyStore:
    return stores.at[HOME]


def left(stores: Stores) -> int:
    return len(home(stores).names()) if HOME in stores.at else 0


def reads(task: Running) -> int:
    return task.supervisor.sent["GetTaskStateStore"] + task.supervisor.sent["GetAssetStateStoreByName"]


def set_many(task: Running, count: int, key: str = "k", start: int = 0) -> None:
    for n in range(start, start + count):
        task.task().set(key, value(n))


def resumed(task: Running) -> Any:
    """The key's value as the attempt finds it that comes next."""
    return OffloadStateBackend().deserialize_task_state_store_from_ref(task.supervisor.ref("k"))


def test_ten_thousand_sets_of_one_key_leave_a_handful_while_they_run_and_one_in_the_end(
    task: Running, stores: Stores
) -> None:
    most = 0
    for n in range(10_000):
        task.task().set("k", value(n))
        most = max(most, len(home(stores)._blobs))
    assert 3 <= most <= HANDFUL
    assert reads(task) <= 10_000 / LOOK
    assert home(stores).calls.count("delete") <= 10_000 / LOOK
    task.end()
    assert left(stores) == 1
    assert task.task().get("k") == value(9_999)


def test_a_few_sets_need_no_look_before_the_end(task: Running, stores: Stores) -> None:
    set_many(task, LOOK + 2)
    assert reads(task) == 0
    task.end()
    assert reads(task) == 2
    assert left(stores) == 1


def test_a_key_that_is_set_seldom_never_has_more_than_three_blobs(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload_backend.reclaimer._SECONDS_BETWEEN_LOOKS", 0.0)
    for n in range(20):
        set_many(task, 1, start=n)
        assert left(stores) <= 3
    task.end()
    assert left(stores) == 1


def test_keys_that_were_set_once_cost_nothing_in_the_end(task: Running, stores: Stores) -> None:
    for n in range(20):
        set_many(task, 1, f"k{n}")
    task.end()
    assert reads(task) == 0
    assert home(stores).calls == ["put"] * 20


def test_a_task_that_never_used_state_registers_and_sends_nothing(task: Running, stores: Stores) -> None:
    from airflow.sdk.listener import get_listener_manager

    task.task().delete("k")
    task.end()
    assert not get_listener_manager().has_listeners
    assert stores.opened == []
    assert reads(task) == 0


def test_a_value_that_was_read_and_overwritten_is_given_back(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_many(task, 1)
    with running_task(Supervisor(rows=dict(task.supervisor.rows))) as following:
        assert following.task().get("k") == value(0)
        set_many(following, 1, start=1)
        following.end()
    assert left(stores) == 1
    assert resumed(following) == value(1)


def test_a_value_that_was_only_read_stays(task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    set_many(task, 1)
    with running_task(Supervisor(rows=dict(task.supervisor.rows))) as following:
        following.task().get("k")
        following.end()
        assert reads(following) == 1
    assert resumed(task) == value(0)


def test_a_value_that_shrank_into_its_row_leaves_no_blob(task: Running, stores: Stores) -> None:
    set_many(task, 3)
    task.task().set("k", 7)
    task.end()
    assert left(stores) == 0
    assert task.task().get("k") == 7


def test_every_other_value_inline_leaves_a_handful_all_the_same(task: Running, stores: Stores) -> None:
    most = 0
    for n in range(400):
        task.task().set("k", value(n) if n % 2 else n)
        most = max(most, len(home(stores)._blobs) if HOME in stores.at else 0)
    assert most <= 2 * HANDFUL
    task.end()
    assert left(stores) == 1


# The rules that keep.


def test_a_superseded_attempt_deletes_nothing_while_it_runs(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_many(task, 3)
    task.supervisor.superseded = True
    for n in range(30):
        with pytest.raises(Exception, match="404"):
            task.task().set("k", value(100 + n))
    assert reads(task) > 0
    assert left(stores) == 33
    assert resumed(task) == value(2)


@pytest.mark.parametrize("clears", ["True", "False"])
def test_a_superseded_attempt_deletes_nothing_at_its_end(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, clears: str
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", clears)
    set_many(task, 3)
    if clears == "True":
        task.task()._clear_backend_only()
    task.supervisor.superseded = True
    task.end()
    assert reads(task) > 0
    assert left(stores) == 3
    assert resumed(task) == value(2)


@pytest.mark.parametrize("fails", [{"GetTaskStateStore"}, {"GetTaskStateStore", "DeleteTaskStateStore"}])
def test_a_row_that_cannot_be_read_proves_nothing(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, fails: set[str]
) -> None:
    task.supervisor.failing = fails
    set_many(task, 30)
    task.end()
    assert reads(task) > 1
    assert left(stores) == 30
    assert resumed(task) == value(29)


def test_a_missing_row_that_nobody_cleared_proves_nothing(task: Running, stores: Stores) -> None:
    set_many(task, 5)
    task.supervisor.rows.clear()
    task.end()
    assert left(stores) == 5
    assert task.supervisor.sent["DeleteTaskStateStore"] == 0


def test_a_set_whose_row_was_refused_stays_for_it_may_yet_be_applied(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_many(task, 3)
    late = refused_set(task, 3)
    task.end()
    assert left(stores) == 2
    assert resumed(task) == value(2)
    task.supervisor.rows["task", "k"] = late
    assert resumed(task) == value(3)


def refused_set(task: Running, n: int) -> str:
    """The text that the server may still write to the row."""
    rows = dict(task.supervisor.rows)
    task.task().set("k", value(n))
    late = task.supervisor.rows["task", "k"]
    task.supervisor.rows = rows
    return late


def test_a_set_whose_row_was_refused_goes_when_a_later_one_was_seen(task: Running, stores: Stores) -> None:
    set_many(task, 3)
    refused_set(task, 3)
    set_many(task, 1, start=4)
    task.end()
    assert left(stores) == 1
    assert task.task().get("k") == value(4)


def test_while_a_task_runs_refused_sets_stay_until_a_later_one_was_seen(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_many(task, 1)
    late = [refused_set(task, n) for n in range(1, 31)]
    assert left(stores) == 31
    for text in late:
        task.supervisor.rows["task", "k"] = text
        assert resumed(task)
    set_many(task, LOOK, start=31)
    assert left(stores) <= LOOK + HANDFUL


def test_the_two_latest_blobs_stay_while_a_task_runs(task: Running, stores: Stores) -> None:
    set_many(task, LOOK + 2)
    latest = home(stores).names()[-2:]
    home(stores).fails = {"put"}
    with pytest.raises(Exception, match="network is down"):
        set_many(task, 1, start=50)
    assert home(stores).names() == latest


def test_what_another_thread_is_about_to_commit_stays(task: Running, stores: Stores) -> None:
    backend, scope = task.backend(), task.task()._scope
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(
            lambda: backend.serialize_task_state_store_to_ref(value=value(100), key="k", scope=scope)
        ).result()
        set_many(task, 30)
        task.end()
        assert left(stores) == 2
    task.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": theirs})
    assert task.task().get("k") == value(100)


def test_what_a_coroutine_is_about_to_commit_stays_and_goes_when_it_is_done(task: Running, stores: Stores) -> None:
    accessor, backend = task.asset(name="a"), task.backend()

    async def waiting(go: asyncio.Event) -> None:
        backend.serialize_asset_state_store_to_ref(value=value(100), key="k", scope=_scope_of(accessor))
        await go.wait()

    async def main() -> None:
        go = asyncio.Event()
        other = asyncio.create_task(waiting(go))
        await asyncio.sleep(0)
        for n in range(5):
            await accessor.aset("k", value(n))
        await asyncio.to_thread(task.end)
        assert left(stores) >= 2
        go.set()
        await other

    asyncio.run(main())


def _scope_of(accessor: Any) -> Any:
    from airflow.sdk.state import AssetScope

    return AssetScope(name=accessor._name, uri=accessor._uri)


def test_a_task_state_that_somebody_else_goes_on_with_proves_nothing(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deferred task may resume elsewhere, as the same attempt, while this process still ends."""
    set_many(task, 3)
    with running_task(Supervisor(rows=dict(task.supervisor.rows))) as elsewhere:
        set_many(elsewhere, 1, start=10)
    task.supervisor.rows = elsewhere.supervisor.rows
    task.end()
    assert reads(task) == 2
    assert left(stores) == 4
    assert resumed(task) == value(10)


def test_an_answer_that_came_late_never_costs_the_current_value(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out that is caught in the middle of a call leaves its answer to be read by the next."""
    set_many(task, 4)
    for kind in ("GetTaskStateStore", "SetTaskStateStore", "GetTaskStateStore"):
        task.supervisor.interrupt = kind
        with pytest.raises(TimedOutError):
            (task.task().get("k") if kind.startswith("Get") else task.task().set("k", value(50)))
    for n in range(40):
        task.task().set("k", value(100 + n))
        assert resumed(task) == value(100 + n)
    task.end()
    assert resumed(task) == value(139)


def test_nothing_is_believed_at_the_end_before_an_answer_fits_its_question(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not found, not found, done: late answers that would say that the row was deleted."""
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    for _ in range(3):
        task.supervisor.interrupt = "GetTaskStateStore"
        with pytest.raises(TimedOutError):
            task.task().get("k")
    task.task().set("k", value(1))
    task.task()._clear_backend_only()
    assert [type(answer).__name__ for answer in task.supervisor.unread] == ["ErrorResponse"] * 2 + ["OKResponse"]
    task.end()
    assert left(stores) == 1
    assert resumed(task) == value(1)


def test_a_task_that_times_out_while_a_row_is_read_back_times_out_and_reads_no_more(
    task: Running, stores: Stores
) -> None:
    set_many(task, LOOK + 2)
    task.supervisor.interrupt = "GetTaskStateStore"
    with pytest.raises(TimedOutError):
        set_many(task, 1, start=50)
    set_many(task, 30, start=60)
    task.end()
    assert reads(task) == 1
    assert left(stores) == LOOK + 2 + 30
    assert resumed(task) == value(89)


def test_of_an_asset_only_what_was_written_here_goes(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.asset(name="a").set("k", value(0))
    with running_task(Supervisor(rows=dict(task.supervisor.rows))) as following:
        following.asset(name="a").get("k")
        for n in range(30):
            following.asset(name="a").set("k", value(n))
        assert left(stores) <= HANDFUL + 1
        following.end()
        assert left(stores) == 2
        assert following.asset(name="a").get("k") == value(29)


def test_an_asset_that_another_task_wrote_last_keeps_our_latest(task: Running, stores: Stores) -> None:
    for n in range(5):
        task.asset(name="a").set("k", value(n))
    late = task.supervisor.rows["name:a", "k"]
    with running_task() as other:
        other.asset(name="a").set("k", value(100))
    task.supervisor.rows = dict(other.supervisor.rows)
    task.end()
    assert left(stores) == 2
    assert task.asset(name="a").get("k") == value(100)
    task.supervisor.rows["name:a", "k"] = late  # of a request that was repeated on its way
    assert task.asset(name="a").get("k") == value(4)


def test_while_others_write_an_asset_nothing_goes_before_the_end(task: Running, stores: Stores) -> None:
    with running_task() as other:
        other.asset(name="a").set("k", value(100))
    for n in range(30):
        task.asset(name="a").set("k", value(n))
        task.supervisor.rows = dict(other.supervisor.rows)
    assert reads(task) > 0
    assert left(stores) == 31
    task.end()
    assert left(stores) == 2


@pytest.mark.parametrize("key", ["k", "日" * 400, "a/b%2F~"])
def test_a_cleared_task_leaves_nothing(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    set_many(task, 3, key)
    task.task()._clear_backend_only()
    assert left(stores) == 3
    task.supervisor.rows.clear()  # the server accepts the success
    task.end()
    assert left(stores) == 0


def test_a_cleared_task_gives_back_what_it_had_only_read(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    set_many(task, 1)
    with running_task(Supervisor(rows=dict(task.supervisor.rows))) as following:
        following.task().get("k")
        following.task()._clear_backend_only()
        following.supervisor.rows.clear()
        following.end()
    assert left(stores) == 0


def test_a_success_that_was_not_accepted_keeps_the_value(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    set_many(task, 3)
    task.task()._clear_backend_only()
    task.end()
    assert left(stores) == 1
    assert resumed(task) == value(2)


def test_the_state_of_another_task_is_not_asked_for_under_this_ones_name(task: Running, stores: Stores) -> None:
    for n in range(30):
        task.task(task_id="other").set("k", value(n))
        task.task(map_index=3).set("k", value(n))
    task.end()
    assert reads(task) == 0
    assert left(stores) == 60


def test_the_end_of_a_task_takes_no_longer_than_it_may(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload_backend.airflow.reclaiming.END_SECONDS", -1.0)
    set_many(task, 3)
    task.end()
    assert reads(task) <= 1
    assert left(stores) == 3


@pytest.mark.parametrize("fault", ["delete", "some deletes"])
def test_trouble_with_deletes_fails_nothing_and_is_told_once(
    task: Running, stores: Stores, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    set_many(task, 1)
    home(stores).fails = {fault}
    with caplog.at_level(logging.WARNING):
        set_many(task, 200, start=1)
        task.end()
    assert task.task().get("k") == value(200)
    assert [record.message for record in caplog.records if "left behind" in record.message][1:] == []
    assert "left behind" in caplog.text
    assert home(stores).calls.count("delete") < 10


def test_a_store_that_hangs_does_not_hold_up_the_end_of_a_task(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("offload_backend.airflow.reclaiming.END_SECONDS", 0.2)
    set_many(task, 3)
    release = threading.Event()
    delete = home(stores).delete

    def hangs(names: list[str]) -> Any:
        release.wait(60)
        return delete(names)

    monkeypatch.setattr(home(stores), "delete", hangs)
    with caplog.at_level(logging.WARNING):
        task.end()
    release.set()
    assert "does not answer" in caplog.text


def test_reclaim_never_reads_and_deletes_nothing(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", "never")
    set_many(task, 30)
    task.task().delete("k")
    task.end()
    assert left(stores) == 30
    assert reads(task) == 0


def test_a_fork_neither_reads_nor_deletes_what_its_parent_knows(task: Running, stores: Stores) -> None:
    set_many(task, LOOK + 2)

    def child() -> None:
        for store in stores.at.values():
            store.pid = os.getpid()
        before = reads(task)
        set_many(task, LOOK + 5, start=100)
        task.end()
        assert reads(task) == before
        assert "delete" not in home(stores).calls

    assert in_a_fork(child) == 0
    task.end()
    assert left(stores) == 1


def test_no_row_is_read_from_an_event_loop(task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offload_backend.reclaimer._SECONDS_BETWEEN_LOOKS", 0.0)

    async def main() -> None:
        for n in range(30):
            await task.asset(name="a").aset("k", value(n))
        for n in range(30):
            task.task().set("k", value(n))

    asyncio.run(main())
    assert reads(task) == 0
    assert left(stores) == 60
    task.end()
    assert left(stores) == 2


def test_where_no_task_runs_no_row_is_read(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer lives long and runs on an event loop."""
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    seam = seams.start(monkeypatch, seams.OURS)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor)
    for n in range(30):
        seam.asset(name="a").set("k", value(n))
    assert not supervisor.sent["GetAssetStateStoreByName"]
    assert left(stores) == 30
