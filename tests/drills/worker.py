"""Processes that do one thing each and can be killed: forks of one that has imported all and connected to nothing.

JSON lines in, JSON lines out, as ``["start", {…}]``; when its input ends, all of its children are killed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from offload_backend import blobs, connect
from offload_backend.corestores import sql
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.crypto import Secret
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.expire import expire
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.migrate import MovingHere, MovingIn
from offload_backend.lifecycle.migrate_out import MovingToCommonIo, MovingToPlainRows
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.rekey import Rekeying
from offload_backend.lifecycle.rewrite import rewrite
from offload_backend.lifecycle.selection import TaskSelection
from offload_backend.settings import Settings
from offload_backend.stores import opening
from tests.drills.steps import Steps, watch

TASK = ("dag", "run", "task")
SECONDS = 60
KEYS = "k=class:tests.drills.worker.Key"


class Key:
    """What ``rekey`` encrypts with; no other verb has it."""

    def fresh(self) -> Secret:
        return Secret(bytes(32))

    def unwrapped(self, wrapped: bytes) -> list[bytes]:
        return [] if wrapped else [bytes(32)]


class Job:
    """One verb on one deployment. ``time`` is a file with the seconds that the world's clocks are ahead."""

    def __init__(self, settings: dict[str, Any], core_store: str, time_file: str) -> None:
        self.given, self.core_store, self.time_file = settings, core_store, Path(time_file)
        self.settings = Settings.load(settings)

    def ahead(self) -> float:
        return float(self.time_file.read_text())

    def state(self) -> Any:
        blobs._seconds_since_boot = lambda: time.monotonic() + self.ahead()
        sql.datetime = clock_ahead(self.ahead)
        return connect(core_store=self.core_store, **self.given)

    def collector(self) -> Collector:
        store = opening.open_store(self.settings.path, self.settings)
        roots = SqlRoots(self.core_store, self.settings.deployment)
        clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=self.ahead())  # noqa: E731
        return Collector(self.settings, store, roots, clock=clock)

    def set(self, key: str, value: Any) -> None:
        with self.state() as stores:
            stores.task_store(*TASK).set(key, value)

    def set_random(self, key: str, size: int) -> None:
        """A value that compresses little, so that it has parts."""
        self.set(key, os.urandom(size // 2).hex())

    def delete(self, key: str) -> None:
        with self.state() as stores:
            stores.task_store(*TASK).delete(key)

    def clear(self) -> None:
        with self.state() as stores:
            stores.task_store(*TASK).clear()

    def adopt(self) -> Any:
        return asdict(adopt(self.collector()))

    def mark(self) -> Any:
        return asdict(mark(self.collector()))

    def purge(self) -> Any:
        return asdict(purge(self.collector(), delete=True))

    def rekey(self) -> Any:
        settings = self.settings.replaced({"encryption_keys": KEYS})
        rekeying = Rekeying(settings, lambda path: opening.open_store(path, settings))
        rows = SqlCoreStore(self.core_store)
        return asdict(rewrite(self.collector(), rows, rekeying, grace=timedelta()))

    def migrate_in(self) -> Any:
        return self._migrate(MovingIn(self.settings, self._open))

    def migrate_move(self) -> Any:
        old, collector = self.settings.read_paths[0], self.collector()
        settings = self.settings.replaced({"path": old})
        former = Collector(settings, self._open(old), collector.roots, clock=collector.clock)
        return self._migrate(MovingHere(self.settings, self._open, old), former=former)

    def migrate_out(self, to: str) -> Any:
        if to == "plain":
            return self._migrate(MovingToPlainRows(self.settings, self._open, row_limit=0))
        return self._migrate(MovingToCommonIo(self.settings, self._open, path=self.settings.read_paths[1]))

    def _open(self, path: str) -> Any:
        return opening.open_store(path, self.settings)

    def _migrate(self, moving: Any, former: Collector | None = None) -> Any:
        """All but the asset, of whose blob a collector can still see that it is in the right place."""
        rows, selection = SqlCoreStore(self.core_store), TaskSelection(TASK[0])
        report = rewrite(self.collector(), rows, moving, selection=selection, former=former, grace=timedelta())
        assert not report.failures, report.failed
        return asdict(report)

    def expire(self) -> Any:
        return asdict(expire(self.collector(), SqlCoreStore(self.core_store), delete=True))


def clock_ahead(ahead: Callable[[], float]) -> type[datetime]:
    """``datetime``, ahead by these seconds."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(seconds=ahead())

    return Ahead


def start(job: dict[str, Any], verb: str, arguments: dict[str, Any], steps: dict[str, Any], report: str) -> int:
    """Begin a verb in a process of its own; its pid."""
    pid = os.fork()
    if pid == 0:
        os._exit(_run(job, verb, arguments, Steps(**steps), Path(report)))
    _children.add(pid)
    return pid


def wait(pid: int, stopped: bool) -> int | None:
    """Its exit code once it has ended, or ``None`` once it is stopped, if that is what is waited for."""
    with _within_seconds():
        _, status = os.waitpid(pid, os.WUNTRACED if stopped else 0)
    if os.WIFSTOPPED(status):
        return None
    _children.discard(pid)
    return os.waitstatus_to_exitcode(status)


@contextmanager
def _within_seconds() -> Iterator[None]:
    """Raise :class:`TimeoutError` after so many, not counting those in which all of this stood still."""
    ticks = itertools.count(1)

    def tick(*_: Any) -> None:
        if next(ticks) == SECONDS:
            raise TimeoutError(f"a process has neither ended nor stopped for {SECONDS} s")

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def kill_all() -> None:
    """Whoever is left, stopped or not."""
    while _children:
        pid = _children.pop()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def prepare(settings: dict[str, Any]) -> None:
    """Make the clients that the children inherit, unconnected: making one takes longer than most verbs."""
    loaded = Settings.load(settings)
    stores = {path: opening.open_store(path, loaded) for path in (loaded.path, *loaded.read_paths)}
    for store in stores.values():
        store._connected()

    def inherited(path: str, _: Settings) -> Any:
        store = stores[path]
        store._owner = os.getpid()  # a client that is not yet connected serves any process
        return store

    opening.open_store = inherited


def _run(job: dict[str, Any], verb: str, arguments: dict[str, Any], steps: Steps, report: Path) -> int:
    watch(steps)
    told: dict[str, Any] = {}
    try:
        told["result"] = getattr(Job(**job), verb)(**arguments)
    except Exception as error:
        told["error"] = f"{type(error).__name__}: {error}"
        told["trace"] = traceback.format_exc()
    report.write_text(json.dumps({**told, "steps": steps.labels}, default=str))
    return "error" in told


def _serve() -> None:
    try:
        for line in sys.stdin:
            name, arguments = json.loads(line)
            print(json.dumps(_COMMANDS[name](**arguments)), flush=True)
    finally:
        kill_all()


_children: set[int] = set()
_COMMANDS = {"start": start, "wait": wait, "kill_all": kill_all, "prepare": prepare}

if __name__ == "__main__":
    _serve()
