"""The wrappers that are shipped for other people's tests."""

from __future__ import annotations

import pytest

from offload_backend.errors import StoreError
from offload_backend.stores.memory import MemoryBlobStore
from offload_backend.testing.blob_store import BlobStoreContract
from offload_backend.testing.faults import CountingBlobStore, FaultyBlobStore
from tests.contracts.test_stores import RawMemory

ERROR = StoreError("told to", reason="failed")


class TestCountingStoreKeepsTheContract(BlobStoreContract):
    @pytest.fixture
    def store(self):
        return CountingBlobStore(MemoryBlobStore())

    @pytest.fixture
    def raw(self, store):
        return RawMemory(store.inner)


class TestFaultyStoreWithoutFaultsKeepsTheContract(TestCountingStoreKeepsTheContract):
    @pytest.fixture
    def store(self):
        return FaultyBlobStore(MemoryBlobStore())


@pytest.fixture
def faulty():
    return FaultyBlobStore(MemoryBlobStore())


def test_calls_and_names_are_counted():
    store = CountingBlobStore(MemoryBlobStore())
    store.put("a", [b"x"])
    store.put("b", [b"x"])
    b"".join(store.get("a"))
    store.get_range("b", 0, 1)
    store.read_into("b", 0, memoryview(bytearray(1)), 1)
    list(store.list("a"))
    store.delete(["a", "b"])
    assert store.calls == {"put": 2, "get": 1, "get_range": 1, "read_into": 1, "list": 1, "delete": 1}
    assert store.names == {
        "put": ["a", "b"],
        "get": ["a"],
        "get_range": ["b"],
        "read_into": ["b"],
        "list": ["a"],
        "delete": ["a", "b"],
    }


def test_a_fault_fails_as_often_as_it_was_told_to_and_does_nothing(faulty):
    faulty.fail("put", ERROR, times=2)
    for _ in range(2):
        with pytest.raises(StoreError, match="told to"):
            faulty.put("a", [b"x"])
    assert list(faulty.list()) == []
    faulty.put("a", [b"x"])
    assert b"".join(faulty.get("a")) == b"x"


def test_a_lost_answer_comes_after_the_work_is_done(faulty):
    faulty.lose_answer("put", ERROR)
    with pytest.raises(StoreError):
        faulty.put("a", [b"x"])
    assert [info.name for info in faulty.list()] == ["a"]
    faulty.lose_answer("delete", ERROR)
    with pytest.raises(StoreError):
        faulty.delete(["a"])
    assert list(faulty.list()) == []


def test_a_get_can_break_off(faulty):
    faulty.put("a", [b"x" * 3_000_000])
    faulty.cut(1, ERROR)
    chunks = faulty.get("a")
    assert len(next(chunks)) == 1024 * 1024
    with pytest.raises(StoreError):
        next(chunks)
    assert len(b"".join(faulty.get("a"))) == 3_000_000


def test_a_buffer_can_stay_empty_or_be_torn_or_hold_a_wrong_byte(faulty):
    faulty.put("a", [b"0123456789"])
    buffer = bytearray(10)

    def read():
        faulty.read_into("a", 0, memoryview(buffer), 10)

    faulty.fail("read_into", ERROR)
    with pytest.raises(StoreError, match="told to"):
        read()
    assert buffer == bytes(10)
    faulty.tear(4, ERROR)
    with pytest.raises(StoreError, match="told to"):
        read()
    assert buffer[:4] == b"0123"
    assert not set(buffer[4:]) & set(b"0123456789\0")
    faulty.garble(3)
    read()
    assert [position for position in range(10) if buffer[position] != b"0123456789"[position]] == [3]
    faulty.lose_answer("read_into", ERROR)
    buffer[:] = bytes(10)
    with pytest.raises(StoreError, match="told to"):
        read()
    assert buffer == b"0123456789"
    faulty.delay("read_into", 0)
    read()
    assert buffer == b"0123456789"


def test_something_can_happen_around_a_call(faulty):
    happened = []
    faulty.run_before("put", lambda: happened.append(len(list(faulty.list()))))
    faulty.run_after("put", lambda: happened.append(len(list(faulty.list()))))
    faulty.delay("put", 0)
    faulty.put("a", [b"x"])
    assert happened == [0, 1]


def test_a_listing_can_be_stale(faulty):
    faulty.put("a", [b"x"])
    faulty.put("b", [b"x"])
    faulty.hide(["a"])
    assert [info.name for info in faulty.list()] == ["b"]
