"""Every fault is what its name says, with the stores of ``connect()`` and with Airflow's own."""

from __future__ import annotations

import time

import pytest

from offload_backend.errors import BlobCorruptError, BlobNotFoundError, CoreStoreError, StoreError
from offload_backend.stores.memory import MemoryBlobStore
from offload_backend.testing.faults import FaultyBlobStore, Schedule
from offload_backend.testing.state_faults import Killed, StateFaults

ORPHANS = pytest.mark.offload_leaves("orphans")


def refusals():
    """What a refused row is seen as."""
    try:
        from airflow.sdk.exceptions import AirflowRuntimeError
    except ImportError:
        return (CoreStoreError,)
    return (CoreStoreError, AirflowRuntimeError)


@pytest.fixture
def store(state):
    """Of an attempt, with an old value in it."""
    task = state.task()
    task.store.set("key", "old")
    with task.attempt() as context:
        yield context["task_state_store"]


@pytest.mark.parametrize(
    ("fault", "reason", "stored"),
    [
        ("fail_upload", "unreachable", 0),
        ("deny_upload", "denied", 0),
        pytest.param("lose_upload_answer", "unreachable", 1, marks=ORPHANS),
    ],
)
def test_an_upload_fails(state, store, fault, reason, stored):
    before = len(list(state.faults.blobs.inner.list()))
    getattr(state.faults, fault)(times=1)
    with pytest.raises(StoreError) as caught:
        store.set("key", "new")
    assert (caught.value.reason, caught.value.retryable) == (reason, reason == "unreachable")
    assert (caught.value.key, "offload_faults" in caught.value.hint) == ("key", True)
    assert len(list(state.faults.blobs.inner.list())) == before + stored
    assert len(state.leftovers().orphans) == stored
    assert store.get("key") == "old"
    store.set("key", "new")
    assert store.get("key") == "new"


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        ("fail_download", StoreError, "unreachable"),
        ("deny_download", StoreError, "denied"),
        ("tear_download", StoreError, "unreachable"),
        ("damage_download", BlobCorruptError, ""),
    ],
)
def test_a_download_fails(store, offload_faults, fault, error, reason):
    several = fault in ("fail_download", "deny_download")
    getattr(offload_faults, fault)(**({"times": 2} if several else {}))
    for _ in range(2 if several else 1):
        with pytest.raises(error) as caught:
            store.get("key")
        assert getattr(caught.value, "reason", "") == reason
    assert store.get("key") == "old"


@ORPHANS
def test_a_row_is_refused(state, store, offload_faults):
    offload_faults.refuse_row()
    with pytest.raises(refusals()):
        store.set("key", "new")
    assert len(state.leftovers().orphans) == 1
    assert store.get("key") == "old"
    offload_faults.refuse_row(times=2)
    with pytest.raises(refusals()):
        store.delete("key")
    with pytest.raises(refusals()):
        store.clear()
    assert store.get("key") == "old"


@pytest.mark.parametrize(
    ("fault", "seen", "orphans"),
    [
        ("kill_before_upload", "old", 0),
        pytest.param("kill_before_row", "old", 1, marks=ORPHANS),
        pytest.param("kill_after_row", "new", None, marks=ORPHANS),
    ],
)
def test_a_kill_is_where_it_is_said_to_be(state, offload_faults, fault, seen, orphans):
    task = state.task()
    task.store.set("key", "old")
    getattr(offload_faults, fault)()
    with pytest.raises(Killed):
        task.run(lambda task_state_store: task_state_store.set("key", "new"))
    assert task.store.get("key") == seen
    assert orphans in (None, len(state.leftovers().orphans))


def test_a_kill_is_not_caught_as_an_error():
    assert not issubclass(Killed, Exception)


@pytest.mark.offload_leaves("dangling")
def test_blobs_are_lost(state, store, offload_faults):
    offload_faults.lose_blobs()
    with pytest.raises(BlobNotFoundError):
        store.get("key")
    [dangling] = state.leftovers().dangling
    assert "'key'" in dangling
    assert "BlobNotFoundError" in dangling


def test_slow_is_slow_and_otherwise_right(store, offload_faults, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    offload_faults.slow_upload(7)
    offload_faults.slow_download(9, times=2)
    store.set("key", "new")
    assert [store.get("key"), store.get("key"), store.get("key")] == ["new"] * 3
    assert [seconds for seconds in slept if seconds in (7, 9)] == [7, 9, 9]


def test_the_first_are_left_alone_and_then_as_many_fail_as_was_said(store, offload_faults):
    offload_faults.fail_upload(times=2, after=3)
    seen = []
    for number in range(8):
        try:
            store.set("key", number)
        except StoreError:
            seen.append(number)
    assert seen == [3, 4]
    assert offload_faults.pending == []


def test_what_has_not_happened_is_told():
    faults = StateFaults(MemoryBlobStore())
    faults.fail_upload(times=2)
    faults.deny_download()
    faults.damage_download()
    faults.kill_before_row()
    assert sorted(faults.pending) == ["download", "download", "row", "upload"]
    for _ in range(2):
        with pytest.raises(StoreError):
            faults.blobs.put("a", [b"x"])
    with pytest.raises(StoreError):
        faults.blobs.read_into("a", 0, memoryview(bytearray(1)), 1)
    with pytest.raises(Killed):
        faults.rows.act("before")
    assert faults.pending == ["download"]


def test_errors_are_new_ones_each_time():
    faults = StateFaults(MemoryBlobStore())
    faults.deny_upload()
    caught = []
    for _ in range(2):
        with pytest.raises(StoreError) as error:
            faults.blobs.put("a", [b"x"])
        caught.append(error.value)
    assert caught[0] is not caught[1]


def test_a_schedule_goes_in_the_order_that_was_asked_for():
    schedule, happened = Schedule(), []
    schedule.add("a", lambda: happened.append(1), times=2)
    schedule.add("b", lambda: happened.append("b"))
    schedule.add("a", lambda: happened.append(2), times=None, after=1)
    for _ in range(5):
        schedule.act("a")
    assert happened == [1, 1, 2, 2]
    assert schedule.pending == ["b"]


def test_a_faulty_store_tells_its_pending_cuts():
    faulty = FaultyBlobStore(MemoryBlobStore())
    faulty.cut(1, RuntimeError())
    assert faulty.pending == ["get"]
    faulty.put("a", [b"x"])
    with pytest.raises(RuntimeError):
        list(faulty.get("a"))
    assert faulty.pending == []
