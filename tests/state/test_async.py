"""The same verbs, awaited: the event loop goes on while a store is slow."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from offload_backend import connect
from offload_backend.errors import BlobNotFoundError
from offload_backend.stores.memory import MemoryBlobStore

BIG = ["x" * 100_000]


@pytest.fixture
def stores():
    with connect(path="memory://awaited", core_store="memory://") as stores:
        yield stores


def test_a_task_store_does_awaited_what_it_does_called(stores):
    task = stores.task_store("d", run_id="r", task_id="t", map_index=3)

    async def use():
        assert await task.aget("k", default=7) == 7
        await task.aset("k", BIG, retention=timedelta(days=1))
        await task.aset("small", {"n": 1})
        assert await task.aget("k") == BIG
        await task.adelete("k")
        assert await task.aget("k") is None
        await task.aclear(all_map_indices=True)
        assert await task.aget("small") is None

    asyncio.run(use())


def test_an_asset_store_and_the_only_asset_of_a_task_do_too(stores):
    orders = stores.asset_store(name="orders")
    only = stores.asset_stores(inlets=["orders"])

    async def use():
        await orders.aset("k", BIG)
        assert await only.aget("k") == BIG
        await only.aset("other", 2)
        await only.adelete("k")
        assert await orders.aget("k", default=0) == 0
        await only.aclear()
        assert await orders.aget("other") is None
        await orders.aset("k", 1)
        await orders.adelete("k")
        await orders.aclear()

    asyncio.run(use())
    assert orders.get("k") is None


def test_the_loop_goes_on_while_a_store_takes_its_time(stores, monkeypatch):
    task = stores.task_store("d", run_id="r", task_id="t")
    released = threading.Event()
    put = MemoryBlobStore.put

    def slow(self, name, chunks):
        assert released.wait(30), "the loop never ran meanwhile"
        put(self, name, chunks)

    monkeypatch.setattr(MemoryBlobStore, "put", slow)

    async def use():
        setting = asyncio.create_task(task.aset("k", BIG))
        await asyncio.sleep(0.01)
        assert not setting.done()
        released.set()
        await setting
        return await task.aget("k")

    assert asyncio.run(use()) == BIG


def test_an_error_reaches_whoever_awaits(stores, monkeypatch):
    task = stores.task_store("d", run_id="r", task_id="t")
    task.set("k", BIG)

    def gone(self, name, start, buffer, total):
        raise BlobNotFoundError("there is no such blob")

    monkeypatch.setattr(MemoryBlobStore, "read_into", gone)
    with pytest.raises(BlobNotFoundError):
        asyncio.run(task.aget("k"))
