from __future__ import annotations

import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from offload_backend.address import TaskAddress
from offload_backend.errors import ConfigError
from tests.inner.stores import BIG, HOME, TASK, Stores


def test_sixteen_threads_share_an_offloader(stores):
    offloader = stores.offloader(inline_limit=200)
    start = threading.Barrier(16)

    def work(number):
        start.wait(timeout=60)
        values = [[number, n, "x" * (n * 40)] for n in range(20)]
        texts = [
            offloader.offload(value, TaskAddress("d", "r", "t", number), f"k{n}") for n, value in enumerate(values)
        ]
        return [offloader.resolve(text) for text in texts] == values

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    assert len(stores.at[HOME].names()) == len(set(stores.at[HOME].names())) > 200


def test_the_store_of_a_path_is_opened_once_and_only_when_needed(stores):
    offloader = stores.offloader()
    assert offloader.resolve(offloader.offload(1, TASK, "k")) == 1
    assert stores.opened == []
    for _ in range(3):
        offloader.resolve(offloader.offload(BIG, TASK, "k"))
    assert stores.opened == [HOME]


def in_a_fork(work: Any) -> int:
    """The exit status of a forked child that does ``work``."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_opens_stores_of_its_own_and_the_parent_keeps_its_own(stores, monkeypatch):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    parents = dict(stores.at)

    def child():
        fresh = Stores().open(HOME)
        fresh._blobs = parents[HOME]._blobs
        stores.at[HOME] = fresh
        assert offloader.resolve(text) == BIG
        assert offloader.resolve(offloader.offload([BIG], TASK, "k")) == [BIG]
        assert stores.opened == [HOME, HOME]

    assert in_a_fork(child) == 0
    assert offloader.resolve(text) == BIG
    assert stores.opened == [HOME]


def test_a_store_that_cannot_be_opened_is_tried_again_next_time(stores, monkeypatch):
    offloader = stores.offloader()
    opening = stores.open
    failures = [ConfigError("unknown connection 'x'")]

    def fails_once(path):
        if failures:
            raise failures.pop()
        return opening(path)

    monkeypatch.setattr(offloader._stores, "_open_store", fails_once)
    with pytest.raises(ConfigError, match="unknown connection") as caught:
        offloader.offload(BIG, TASK, "k")
    assert caught.value.key == "k"
    assert offloader.resolve(offloader.offload(BIG, TASK, "k")) == BIG


def test_two_threads_that_open_a_store_at_once_keep_one(stores, monkeypatch):
    offloader = stores.offloader()
    both = threading.Barrier(2)

    def slow_open(path):
        both.wait(timeout=60)
        return Stores().open(path)

    monkeypatch.setattr(offloader._stores, "_open_store", slow_open)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(offloader._stores._store, [HOME, HOME])
    assert first is second
