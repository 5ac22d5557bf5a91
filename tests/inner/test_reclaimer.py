from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from offload_backend import knownrefs
from offload_backend.address import AssetAddress, TaskAddress, blob_scope
from offload_backend.knownrefs import Writer
from tests.inner.stores import HOME, TASK, Worker, name_in
from tests.inner.test_processes import in_a_fork

ASSET = AssetAddress(name="asset")
OTHERS = [
    TaskAddress("dag", "run", "task", 1),
    TaskAddress("dag", "run", "task", 31),
    TaskAddress("dag", "run", "other", 3),
    TaskAddress("dag", "run2", "task", 3),
    TaskAddress("dag2", "run", "task", 3),
    TaskAddress("dag", "run", "task", 3, UUID(int=5)),
    ASSET,
    AssetAddress(uri="asset"),
    AssetAddress(name="asset 2"),
]


@pytest.fixture
def worker(stores):
    return Worker(stores)


def test_delete_reclaims_what_was_written_here_superseded_ones_included(worker):
    for n in range(5):
        worker.set(n)
    assert len(worker.left()) == 5
    worker.deleted()
    assert worker.left() == set()


def test_clear_reclaims_every_key_of_the_scope(worker):
    for key in ("a", "b", "a/b", ""):
        worker.set(key=key)
    worker.cleared()
    assert worker.left() == set()


def test_delete_leaves_other_keys_and_scopes(worker):
    kept = {name_in(worker.set(address=other)) for other in OTHERS}
    kept |= {name_in(worker.set(key=key)) for key in ("k2", "K", "k/", "", "k%", ".")}
    worker.set()
    worker.deleted()
    assert worker.left() == kept


@pytest.mark.parametrize("address", [TASK, *OTHERS])
def test_clear_leaves_other_scopes(worker, address):
    kept = {name_in(worker.set(address=other)) for other in (TASK, *OTHERS) if other != address}
    worker.set(address=address)
    worker.cleared(address)
    assert worker.left() == kept


@pytest.mark.parametrize("address", [TASK, *OTHERS])
def test_every_kind_of_scope_is_reclaimed(worker, address):
    worker.set(address=address)
    worker.deleted(address)
    worker.set(address=address, key="other")
    worker.cleared(address)
    assert worker.left() == set()


def test_long_keys_are_told_apart(worker):
    kept = name_in(worker.set(key="k" * 511 + "a"))
    worker.set(key="k" * 511 + "b")
    worker.deleted(key="k" * 511 + "b")
    assert worker.left() == {kept}


def test_what_another_thread_wrote_is_left(worker):
    with ThreadPoolExecutor(1) as other:
        theirs = name_in(other.submit(worker.set).result())
        worker.set()
        worker.deleted()
        worker.cleared()
        assert worker.left() == {theirs}
        other.submit(worker.deleted).result()
    assert worker.left() == set()


def test_what_another_coroutine_wrote_is_left(worker):
    async def main():
        other = asyncio.create_task(write())
        theirs = await other
        worker.set()
        worker.deleted()
        assert worker.left() == {name_in(theirs)}

    async def write():
        return worker.set()

    asyncio.run(main())


def test_a_coroutine_reclaims_what_it_wrote_itself_even_if_a_thread_does_the_work(worker):
    async def main():
        worker.set()
        await asyncio.sleep(0)
        await asyncio.to_thread(worker.reclaimer.delete, worker.reclaimer.dead_of_key(TASK, "k"))

    asyncio.run(main())
    assert worker.left() == set()


def test_a_coroutine_leaves_what_its_thread_wrote_outside_of_it(worker):
    theirs = name_in(worker.set())

    async def main():
        worker.deleted()

    asyncio.run(main())
    assert worker.left() == {theirs}


def test_a_task_reclaims_what_it_read(stores):
    text = Worker(stores).set()
    reader = Worker(stores)
    reader.reclaimer.read(text)
    reader.deleted()
    assert reader.left() == set()


def test_a_task_reclaims_what_another_of_its_threads_read(stores):
    text = Worker(stores).set()
    reader = Worker(stores)
    with ThreadPoolExecutor(1) as other:
        other.submit(reader.reclaimer.read, text).result()
        reader.deleted()
    assert reader.left() == set()


@pytest.mark.parametrize("address", [ASSET, AssetAddress(uri="asset")])
def test_what_was_only_read_from_an_asset_is_left(stores, address):
    text = Worker(stores).set(address=address)
    reader = Worker(stores)
    reader.reclaimer.read(text)
    reader.deleted(address)
    reader.cleared(address)
    assert reader.left() == {name_in(text)}


def test_reading_what_another_thread_wrote_does_not_make_it_mine(worker):
    with ThreadPoolExecutor(1) as other:
        text = other.submit(worker.set).result()
        worker.reclaimer.read(text)
        worker.deleted()
    assert worker.left() == {name_in(text)}


def test_writing_what_was_read_before_makes_it_mine(worker):
    text = worker.offloader.offload(1, ASSET, "k")
    worker.reclaimer.read(text)
    worker.reclaimer.wrote(text)
    worker.deleted(ASSET)
    assert worker.left() == set()


@pytest.mark.parametrize(
    "settings", [{"deployment": "other"}, {"path": "s3://bucket/elsewhere"}, {"path": "s3://bucket/prefix/x"}]
)
def test_foreign_refs_are_never_reclaimed(stores, settings):
    theirs = Worker(stores, **settings).set()
    worker = Worker(stores, read_paths=("s3://bucket/elsewhere", "s3://bucket/prefix/x"))
    for meet in (worker.reclaimer.read, worker.reclaimer.wrote):
        meet(theirs)
        worker.deleted()
        worker.cleared()
    assert sum(len(store.names()) for store in stores.at.values()) == 1


@pytest.mark.parametrize("text", ["7", "{}", "", "not json", "s3://bucket/prefix/dag/run/task/-1/k", "s3://b/k#x"])
def test_what_is_no_ref_of_ours_is_not_remembered(stores, text):
    worker = Worker(stores)
    worker.reclaimer.wrote(text)
    worker.reclaimer.read(text)
    assert not len(worker.reclaimer._own_refs())


def test_who_knows_of_no_blob_opens_no_store(stores):
    worker = Worker(stores)
    worker.deleted()
    worker.cleared()
    assert stores.opened == []


@pytest.mark.parametrize(("fault", "left", "counted"), [("delete", 3, 3), ("some deletes", 2, 2)])
def test_trouble_with_the_store_is_logged_and_counted_and_never_raised(worker, caplog, fault, left, counted):
    for n in range(3):
        worker.set({"secret": n})
    worker.stores.at[HOME].fails = {fault}
    with caplog.at_level(logging.WARNING):
        worker.deleted()
    assert len(worker.left()) == left
    assert worker.reclaimer.failures == counted
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{counted} of 3 dead blobs were left behind" in record.getMessage()
    assert any(reason in record.getMessage() for reason in ("network is down", "access denied"))


def test_a_blob_is_reclaimed_only_once(worker):
    worker.set()
    worker.deleted()
    worker.deleted()
    worker.cleared()
    assert worker.stores.at[HOME].calls.count("delete") == 1


def test_one_delete_takes_all_dead_blobs_of_a_scope_at_once(worker):
    for n in range(20):
        worker.set(n, key=f"k{n}")
    worker.cleared()
    assert worker.stores.at[HOME].calls.count("delete") == 1


def test_memory_is_bounded_and_forgets_the_oldest_first(worker, monkeypatch):
    monkeypatch.setattr(knownrefs, "LIMIT", 3)
    names = [name_in(worker.set(n)) for n in range(10)]
    assert len(worker.reclaimer._own_refs()) == 3
    worker.deleted()
    assert worker.left() == set(names[:7])


def test_the_memory_holds_some_thousand_refs():
    assert 1000 <= knownrefs.LIMIT <= 10_000


def test_a_fork_knows_nothing_and_its_parent_still_everything(worker, monkeypatch):
    text = worker.set()
    held = worker.reclaimer._own_refs().lock

    def child():
        monkeypatch.setattr(worker.offloader, "discard", lambda texts: pytest.fail("deleted what the parent knows"))
        worker.deleted()
        worker.cleared()
        worker.reclaimer.read(text)
        assert text in worker.reclaimer._own_refs()
        assert len(worker.reclaimer._own_refs()) == 1

    with held:  # as by another thread at the moment of the fork
        assert in_a_fork(child) == 0
    worker.deleted()
    assert worker.left() == set()


def test_many_threads_set_and_delete_at_once_and_each_reclaims_its_own(worker):
    start = threading.Barrier(8)

    def work(number):
        start.wait(timeout=60)
        mine = TaskAddress("dag", "run", "task", number)
        for n in range(30):
            worker.set(n, mine, f"k{n % 3}")
            if n % 7 == 6:
                worker.deleted(mine, f"k{n % 3}")
        worker.cleared(mine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert worker.left() == set()


def test_a_row_that_another_thread_wrote_proves_nothing_of_what_this_one_wrote(worker):
    """The answer may be late: this thread's ref may be the row's by now."""
    row = blob_scope(TASK, "k")
    for n in range(5):
        worker.set(n)
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(worker.set).result()
    mine = worker.set()
    assert worker.reclaimer.superseded(row, theirs) == []
    assert len(worker.reclaimer.superseded(row, mine)) == 5


@pytest.mark.parametrize("named", [None, "", "7", "s3://bucket/prefix/elsewhere#x"])
def test_a_row_that_says_nothing_known_proves_nothing_while_the_task_runs(worker, named):
    for n in range(5):
        worker.set(n)
    assert worker.reclaimer.superseded(blob_scope(TASK, "k"), named) == []


def test_a_writer_is_a_thread_or_a_coroutine_in_it():
    async def main():
        inner = asyncio.create_task(a_writer())
        return Writer(), await inner

    async def a_writer():
        return Writer()

    assert Writer() == Writer()
    assert not Writer().is_coroutine
    outer, inner = asyncio.run(main())
    assert outer.is_coroutine
    assert len({Writer(), outer, inner}) == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(Writer).result() != Writer()


def test_a_writer_is_done_when_its_thread_or_coroutine_has_ended():
    async def main():
        inner = asyncio.create_task(a_writer())
        found = await inner
        return Writer(), found, found.is_done()

    async def a_writer():
        mine = Writer()
        assert not mine.is_done()
        return mine

    assert not Writer().is_done()
    outer, _, inner_was_done = asyncio.run(main())
    assert inner_was_done
    assert outer.is_done()
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(Writer).result()
        assert not theirs.is_done()
    assert theirs.is_done()
