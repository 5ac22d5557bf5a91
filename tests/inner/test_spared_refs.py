"""While a task runs, the two newest refs of a key stay, and whatever is not older than the one in the row."""

from __future__ import annotations

import threading

import pytest

from offload_backend.address import AssetAddress, blob_scope
from offload_backend.lifecycle.rekey import Rekeying
from tests.inner.stores import TASK, Worker


@pytest.mark.parametrize(("named", "dead"), [(4, 3), (3, 3), (2, 2), (1, 1), (0, 0)])
def test_what_is_older_than_the_row_says_is_dead_but_for_the_two_newest(stores, named, dead):
    worker = Worker(stores)
    refs = [worker.set(number) for number in range(5)]
    assert worker.reclaimer.superseded(blob_scope(TASK, "k"), refs[named]) == refs[:dead]


@pytest.mark.parametrize("named", range(5))
def test_at_the_end_of_a_task_what_is_older_than_the_row_says_is_dead(stores, named):
    worker = Worker(stores)
    refs = [worker.set(number) for number in range(5)]
    assert worker.reclaimer.outlived(blob_scope(TASK, "k"), refs[named]) == refs[:named]


def test_at_the_end_of_a_task_a_row_that_somebody_else_goes_on_with_proves_nothing(stores):
    worker = Worker(stores)
    refs = [worker.set(number) for number in range(3)]
    theirs = Worker(stores).set()
    assert worker.reclaimer.outlived(blob_scope(TASK, "k"), theirs) == []
    assert worker.reclaimer.outlived(blob_scope(TASK, "k"), '"inline"') == refs[:2]


def test_at_the_end_of_a_task_the_refs_of_a_thread_that_is_still_alive_stay(stores):
    worker = Worker(stores)
    row = blob_scope(TASK, "k")
    wrote, may_end = threading.Event(), threading.Event()
    theirs = []

    def write() -> None:
        theirs.append(worker.set())
        wrote.set()
        may_end.wait(timeout=60)

    thread = threading.Thread(target=write)
    thread.start()
    assert wrote.wait(timeout=60)
    mine = [worker.set(number) for number in range(2)]
    assert worker.reclaimer.outlived(row, mine[-1]) == mine[:1]
    may_end.set()
    thread.join()
    assert worker.reclaimer.outlived(row, mine[-1]) == theirs


@pytest.mark.parametrize("address", [TASK, AssetAddress(name="orders")])
@pytest.mark.parametrize("is_read", [True, False], ids=["and read", "and not read"])
def test_at_the_end_of_a_task_the_blob_of_a_ref_that_was_signed_anew_meanwhile_stays(
    stores, monkeypatch, address, is_read
):
    monkeypatch.setenv("SIGN_ONE", "1" * 64)
    monkeypatch.setenv("SIGN_TWO", "2" * 64)
    worker = Worker(stores, signing_keys="s1=env:SIGN_ONE s2=env:SIGN_TWO")
    newer = stores.offloader(signing_keys="s2=env:SIGN_TWO s1=env:SIGN_ONE")
    worker.set(0, address)
    signed_anew = Rekeying(newer.settings, stores.open).remade(worker.set(1, address), address, "k")
    if is_read:
        worker.reclaimer.read(signed_anew)
    else:
        worker.set(2, address)  # and Airflow refuses the row
    worker.reclaimer.delete(worker.reclaimer.outlived(blob_scope(address, "k"), signed_anew))
    assert worker.offloader.resolve(signed_anew) == 1
