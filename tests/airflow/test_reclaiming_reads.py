"""A reader between a row and its blob: what is overwritten and deleted meanwhile, whoever deletes, is read anew."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import listener
from airflow.sdk.execution_time import task_runner

from offload_backend.address import TaskAddress
from offload_backend.airflow import OffloadStateBackend
from offload_backend.errors import BlobNotFoundError, StoreError
from tests.airflow.running import in_a_trigger, running_task
from tests.airflow.test_reclaiming_rules import HOME, home, reads, set_many, stores, task, value

if TYPE_CHECKING:
    from tests.airflow.running import Running
    from tests.inner.stores import FaultyStore, Stores

__all__ = ["stores", "task"]


@pytest.mark.parametrize("key", ["k", "日" * 400], ids=["plain", "hashed"])
def test_a_reader_whose_blob_this_process_gave_back_meanwhile_gets_the_newer_value(
    task: Running, stores: Stores, key: str
) -> None:
    set_many(task, 1, key)
    old = task.supervisor.ref(key)
    set_many(task, 30, key, start=1)
    assert task.backend().deserialize_task_state_store_from_ref(old) == value(30)


@pytest.mark.parametrize("reclaim", ["eager", "never"])
@pytest.mark.parametrize("may_list", [True, False])
@pytest.mark.parametrize("space", ["task", "name:a"])
def test_a_reader_whose_blob_was_overwritten_and_deleted_meanwhile_gets_the_newer_value(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, reclaim: str, space: str, *, may_list: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", reclaim)
    store = task.task() if space == "task" else task.asset(name="a")
    store.set("k", value(0))
    old, (blob,) = task.supervisor.ref("k", space), home(stores).names()
    store.set("k", value(1))
    home(stores).delete([blob])
    if not may_list:
        forbid_missing(home(stores), monkeypatch)
    hooks = task.backend()
    read = hooks.deserialize_task_state_store_from_ref
    assert (read if space == "task" else hooks.deserialize_asset_state_store_from_ref)(old) == value(1)
    assert reads(task) == 1


def forbid_missing(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As S3 answers where s3:ListBucket is not granted."""
    read_into = store.read_into

    def forbidden(name: str, start: int, buffer: memoryview, total: int) -> None:
        try:
            read_into(name, start, buffer, total)
        except BlobNotFoundError as error:
            raise StoreError("GetObject failed: AccessDenied", reason="denied") from error

    monkeypatch.setattr(store, "read_into", forbidden)


def test_a_reader_who_is_overwritten_by_a_value_in_the_row_gets_that(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", "never")
    set_many(task, 1)
    old = task.supervisor.ref("k")
    task.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": "7"})
    home(stores).delete(home(stores).names())
    assert task.backend().deserialize_task_state_store_from_ref(old) == 7


@pytest.mark.parametrize("reclaim", ["eager", "never"])
def test_a_reader_whose_value_moved_to_a_plain_row_meanwhile_gets_that(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, reclaim: str
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", reclaim)
    set_many(task, 1)
    old = task.supervisor.ref("k")
    task.supervisor.rows["task", "k"] = json.dumps(value(0))  # as `offload migrate out --to plain` does
    home(stores).delete(home(stores).names())
    assert task.backend().deserialize_task_state_store_from_ref(old) == value(0)


@pytest.mark.parametrize("reclaim", ["eager", "never"])
def test_a_reader_whose_value_moved_to_another_place_meanwhile_reads_it_there(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, reclaim: str
) -> None:
    set_many(task, 1)
    old = task.supervisor.ref("k")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", reclaim)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", "s3://bucket/new")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__READ_PATHS", HOME)
    backend, address = OffloadStateBackend(), TaskAddress("d", "r", "t")
    moved = backend._use().offload(value(0), address, "k")
    task.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": moved})
    home(stores).delete(home(stores).names())
    assert backend.deserialize_task_state_store_from_ref(old) == value(0)
    assert reads(task) == 1


@pytest.mark.parametrize("reclaim", ["eager", "never"])
def test_a_blob_that_is_gone_under_its_row_is_an_error(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, reclaim: str
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", reclaim)
    set_many(task, 1)
    home(stores).delete(home(stores).names())
    with pytest.raises(BlobNotFoundError):
        task.task().get("k")
    assert home(stores).calls.count("get") == 1
    assert reads(task) == 2


@pytest.mark.parametrize(("reason", "asked"), [("denied", 2), ("unreachable", 1), ("throttled", 1)])
def test_a_store_that_refuses_the_blob_that_the_row_names_is_asked_once(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, reason: str, asked: int
) -> None:
    set_many(task, 1)
    refusal = StoreError("GetObject failed", reason=reason)
    calls: list[str] = []

    def refused(name: str, *_: Any) -> None:
        calls.append(name)
        raise refusal

    monkeypatch.setattr(home(stores), "read_into", refused)
    with pytest.raises(StoreError) as caught:
        task.task().get("k")
    assert caught.value is refusal
    assert len(calls) == 1
    assert reads(task) == asked


def test_on_an_event_loop_a_lost_blob_is_an_error_for_nothing_may_wait_there(task: Running, stores: Stores) -> None:
    set_many(task, 1)
    old, (blob,) = task.supervisor.ref("k"), home(stores).names()
    set_many(task, 1, start=1)
    home(stores).delete([blob])

    async def main() -> Any:
        return task.backend().deserialize_task_state_store_from_ref(old)

    with pytest.raises(BlobNotFoundError):
        asyncio.run(main())
    assert reads(task) == 0
    assert task.backend().deserialize_task_state_store_from_ref(old) == value(1)


def test_where_no_task_runs_an_assets_row_is_read_again_and_nothing_listens_for_an_end(
    task: Running, stores: Stores
) -> None:
    store = task.asset(name="a")
    store.set("k", value(0))
    old, (blob,) = task.supervisor.ref("k", "name:a"), home(stores).names()
    store.set("k", value(1))
    with running_task(task.supervisor) as trigger, in_a_trigger():
        hooks = trigger.backend()
        assert hooks.deserialize_asset_state_store_from_ref(old) == value(0)
        home(stores).delete([blob])
        assert hooks.deserialize_asset_state_store_from_ref(old) == value(1)
        assert not listener.get_listener_manager().has_listeners


def test_where_nobody_can_be_asked_a_lost_blob_is_an_error(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.asset(name="a").set("k", value(0))
    old = task.supervisor.ref("k", "name:a")
    home(stores).delete(home(stores).names())
    with monkeypatch.context() as patch, in_a_trigger():
        patch.delattr(task_runner, "SUPERVISOR_COMMS")
        with pytest.raises(BlobNotFoundError):
            OffloadStateBackend().deserialize_asset_state_store_from_ref(old)


@pytest.mark.parametrize("reclaim", ["eager", "never"])
def test_a_value_that_is_there_is_read_without_a_look_at_its_row(
    task: Running, stores: Stores, monkeypatch: pytest.MonkeyPatch, reclaim: str
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", reclaim)
    set_many(task, 1)
    assert task.task().get("k") == value(0)
    assert reads(task) == 1
