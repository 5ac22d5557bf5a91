"""A user's processes, started after stores were used and while threads use them, hang neither parent nor child."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from offload_backend import connect
from offload_backend.address import TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.memory import MemoryBlobStore
from tests.stores.fork_drill import VALUE

HANGS = 120
TASK = TaskAddress("dag", "run", "task")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn", "os.fork"])
@pytest.mark.parametrize("kind", ["local", "memory", "fsspec-file", "fsspec-memory", "values"])
def test_parent_and_child_go_on_after_a_fork(tmp_path, kind, method):
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-m",
        "tests.stores.fork_drill",
        kind,
        str(tmp_path),
        method,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], **pipes) as drill:
        try:
            told, complained = drill.communicate(timeout=HANGS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(drill.pid, signal.SIGKILL)
    assert drill.returncode == 0, complained
    assert json.loads(told) == [0, 0], complained
    assert complained == ""


def in_a_child(work) -> int | str:
    """The exit status of a forked child that does ``work``; one that hangs is killed by an alarm."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            work()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "it hung" if status == -signal.SIGALRM else status


class Halting(LocalBlobStore):
    """In the process that made it, a call halts as soon as it has its first bytes, until it may go on."""

    def __init__(self, location):
        super().__init__(location)
        self.halts, self.may_go_on = threading.Event(), threading.Event()

    def put(self, name, chunks):
        super().put(name, self.halting(chunks))

    def get(self, name):
        return self.halting(super().get(name))

    def read_into(self, name, start, buffer, total):
        super().read_into(name, start, buffer, total)
        for _ in self.halting([buffer, b""]):
            pass

    def get_range(self, name, start, length):
        return b"".join(self.halting([super().get_range(name, start, length), b""]))

    def halting(self, chunks):
        for number, chunk in enumerate(chunks):
            if number == 1:
                self.halts.set()
                assert self.may_go_on.wait(HANGS)
            yield chunk


@pytest.mark.parametrize("doing", ["set", "get"])
def test_a_child_works_while_a_thread_of_its_parent_is_in_the_middle_of_a_call(tmp_path, doing):
    """The threads that compress, or read, are there when the process is forked, and not in the child."""
    location, parent = f"file://{tmp_path}/blobs", os.getpid()
    halting, plain = Halting(location), LocalBlobStore(location)
    store = [plain]
    settings = Settings(path=location, inline_limit=0)
    offloader = Offloader(settings, lambda _: store[0] if os.getpid() == parent else LocalBlobStore(location))
    before = offloader.offload(VALUE, TASK, "before")
    in_use = Offloader(settings, lambda _: halting if os.getpid() == parent else LocalBlobStore(location))

    def work():
        for each in (offloader, in_use):
            assert each.resolve(before) == VALUE
            assert each.resolve(each.offload([VALUE], TASK, "of the child")) == [VALUE]

    with ThreadPoolExecutor(1) as pool:
        if doing == "set":
            running = pool.submit(in_use.offload, [VALUE, 1], TASK, "key")
        else:
            running = pool.submit(in_use.resolve, before)
        try:
            assert halting.halts.wait(HANGS)
            assert any(thread.name.startswith("offload-") for thread in threading.enumerate()) or doing == "get"
            exits = [in_a_child(work) for _ in range(3)]
        finally:
            halting.may_go_on.set()
        result = running.result(HANGS)
    assert exits == [0, 0, 0]
    assert (offloader.resolve(result) == [VALUE, 1]) if doing == "set" else (result == VALUE)
    assert not list(tmp_path.rglob(".part#*"))


def test_a_child_that_ends_does_not_touch_what_its_parent_is_writing(tmp_path):
    """Its copies of generators and descriptors are closed there, and nowhere else."""
    store = LocalBlobStore(f"file://{tmp_path}/blobs")
    store.put("v1/before", [b"x" * 3_000_000])
    half_read = store.get("v1/before")
    next(half_read)

    def forking():
        yield b"first, "
        assert in_a_child(half_read.close) == 0
        yield b"second"

    store.put("v1/blob", forking())
    assert b"".join(store.get("v1/blob")) == b"first, second"
    assert len(b"".join(half_read)) == 3_000_000 - 1024 * 1024


def test_no_lock_of_a_store_in_memory_is_held_in_a_child_for_good():
    """It has its own blobs, those of its parent at that moment, whatever other threads were doing then."""
    store = MemoryBlobStore()
    for number in range(20_000):
        store.put(f"v1/{number}", [b"x"])
    ended = threading.Event()

    def busy():
        while not ended.is_set():
            assert list(store.list("v2/")) == []

    def work():
        assert len(list(store.list("v1/"))) == 20_000
        store.put("v1/child", [b"child"])
        assert b"".join(store.get("v1/child")) == b"child"
        assert store.delete(["v1/child", "v1/1"]).failed == {}

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(busy) for _ in range(2)]
        exits = [in_a_child(work) for _ in range(10)]
        ended.set()
        for each in running:
            each.result()
    assert exits == [0] * 10
    assert b"".join(store.get("v1/1")) == b"x"


def test_no_lock_of_a_core_store_in_memory_is_held_in_a_child_for_good(tmp_path):
    rows = MemoryCoreStore()
    for number in range(20_000):
        rows.set(TASK, f"k{number}", "1", expires_at=None)
    ended = threading.Event()

    def busy():
        while not ended.is_set():
            next(rows.rows())

    def work():
        task = connect(path=str(tmp_path), core_store=rows, inline_limit=0).task_store("dag", "run", "task")
        task.set("k1", VALUE)
        assert task.get("k1") == VALUE
        task.delete("k1")

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(busy) for _ in range(2)]
        exits = [in_a_child(work) for _ in range(10)]
        ended.set()
        for each in running:
            each.result()
    assert exits == [0] * 10
    assert rows.get(TASK, "k1").text == "1"
