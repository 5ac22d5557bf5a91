"""A process that uses a store, or the whole of ``connect()``, and then starts others; run by test_forks.

Its threads go on while children begin. A child reads what its parent wrote, writes, and ends; then the parent
reads what the children wrote.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import fsspec

from offload_backend import connect
from offload_backend.settings import Settings
from offload_backend.stores.fsspec import FsspecBlobStore
from offload_backend.stores.opening import open_store

CHILDREN = 2
HANGS = 60
BLOB = bytes(range(256)) * 8_000
VALUE = [{"id": n, "text": f"row {n} " * 20} for n in range(60_000)]  # several chunks, so that threads compress


def of_fsspec(url: str, protocol: str) -> FsspecBlobStore:
    return FsspecBlobStore(url, fsspec.filesystem(protocol, skip_instance_cache=True), 1024 * 1024)


OPEN: dict[str, Callable[[str], Any]] = {
    "local": lambda place: open_store(f"file://{place}/blobs", Settings()),
    "memory": lambda _: open_store("memory://drill", Settings()),
    "fsspec-file": lambda place: of_fsspec(f"file://{place}/blobs", "file"),
    "fsspec-memory": lambda _: of_fsspec("memory://drill", "memory"),
}


class Blobs:
    """A store, as every process opens it for itself."""

    def __init__(self, kind: str, place: str) -> None:
        self.store = OPEN[kind](place)

    def write(self, name: str) -> None:
        self.store.put(f"v1/{name}", [name.encode(), memoryview(BLOB)])
        self.store.put(f"v1/{name}-dropped", [b"x"])
        assert self.store.delete([f"v1/{name}-dropped"]).failed == {}

    def read(self, name: str) -> None:
        expected = name.encode() + BLOB
        buffer = bytearray(len(expected))
        self.store.read_into(f"v1/{name}", 0, memoryview(buffer), len(expected))
        assert buffer == expected == b"".join(self.store.get(f"v1/{name}"))
        assert self.store.get_range(f"v1/{name}", 0, 5) == expected[:5]
        assert f"v1/{name}" in {info.name for info in self.store.list("v1/")}


class Values:
    """``connect()``, one for each process, or the parent's in a child that was forked."""

    def __init__(self, _: str, place: str) -> None:
        self.stores = connect(
            path=f"file://{place}/blobs", core_store=f"sqlite:///{place}/state.db", inline_limit=0
        )
        self.task = self.stores.task_store("dag", "run", "task")

    def write(self, name: str) -> None:
        self.task.set(name, [name, VALUE])
        self.task.set(f"{name}-dropped", name)
        self.task.delete(f"{name}-dropped")

    def read(self, name: str) -> None:
        assert self.task.get(name) == [name, VALUE]


def opened(kind: str, place: str) -> Any:
    return (Values if kind == "values" else Blobs)(kind, place)


def in_a_child(inherited: Any, kind: str, place: str, method: str, number: int) -> None:
    own = inherited if kind == "values" and inherited else opened(kind, place)
    if "memory" not in kind or method in ("fork", "os.fork"):
        own.read("before")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(own.write, (f"child-{number}", f"child-{number}-too")))
        list(pool.map(own.read, (f"child-{number}", f"child-{number}-too")))


@contextmanager
def busy(ours: Any) -> Any:
    """Threads write and read meanwhile."""
    ended = threading.Event()

    def go_on(number: int) -> None:
        turn = 0
        while not ended.is_set():
            ours.write(f"parent-{number}-{turn}")
            ours.read(f"parent-{number}-{turn}")
            turn += 1

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(go_on, number) for number in range(2)]
        try:
            yield
        finally:
            ended.set()
        for each in running:
            each.result()


def by_multiprocessing(ours: Any, kind: str, place: str, method: str) -> list[Any]:
    context = multiprocessing.get_context(method)
    inherited = ours if method == "fork" else None
    children = [
        context.Process(target=in_a_child, args=(inherited, kind, place, method, number))
        for number in range(CHILDREN)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(HANGS)
        if child.exitcode is None:
            child.kill()
    return [child.exitcode for child in children]


def by_hand(ours: Any, kind: str, place: str, method: str) -> list[Any]:
    """Children that end as a program does, waiting for its threads."""
    pids = []
    for number in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            in_a_child(ours, kind, place, method, number)
            sys.exit(0)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def main(kind: str, place: str, method: str) -> None:
    ours = opened(kind, place)
    ours.write("before")
    ours.read("before")
    with busy(ours):
        exits = (by_hand if method == "os.fork" else by_multiprocessing)(ours, kind, place, method)
    ours.read("before")
    ours.write("after")
    if "memory" not in kind:
        for number in range(CHILDREN):
            ours.read(f"child-{number}")
            ours.read(f"child-{number}-too")
    print(json.dumps(exits))


if __name__ == "__main__":
    main(*sys.argv[1:])
