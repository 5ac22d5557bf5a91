"""One operation, one fault at one step: what its caller sees, and what must hold whatever happened."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    CollectorError,
    CoreStoreError,
    IncompleteError,
    OffloadError,
    RefusedError,
    StoreError,
)
from tests.faults.operations import KEPT, TASK, Deployment, History, Operation, past, small
from tests.faults.places import Place
from tests.faults.steps import PATIENCE, SHORT, Aim, Death, Step, Steps

_WORDS = {
    BlobNotFoundError: "not found",
    BlobCorruptError: "corrupt",
    CoreStoreError: "database",
    RefusedError: "refused",
    IncompleteError: "incomplete",
    CollectorError: "collector",
}


class KilledError(Exception):
    """The process is gone, and tells nothing."""


@dataclass(frozen=True)
class Seen:
    """``value`` is what the operation returned, if it did."""

    value: Any = None
    error: BaseException | None = None

    @property
    def word(self) -> str:
        """``done``, or what the caller gets instead."""
        error = self.error
        if error is None:
            return "done"
        if isinstance(error, StoreError):
            return error.reason
        if isinstance(error, Death):
            return "dies"
        if isinstance(error, asyncio.CancelledError):
            return "cancelled"
        if isinstance(error, KilledError):
            return "killed"
        return _WORDS[type(error)]


class Trial:
    """An operation at a place, as often as is wanted: each begins in the same deployment."""

    def __init__(self, place: Place, operation: Operation, folder: Path) -> None:
        self.place, self.operation = place, operation
        self._folder = folder
        self._database = folder / "state.db"
        self._forget()
        history = History(self.deployment())
        with past(history.clock):
            operation.prepare(history)
        self._objects = history.end()
        self._rows = self._database.read_bytes()

    def deployment(self) -> Deployment:
        """The deployment, for a process that knows nothing yet."""
        settings = self.place.settings(core_store=f"sqlite:///{self._database}", read_timeout=PATIENCE / 2)
        return Deployment(self.place, self._database, settings)

    def run(self, aim: Aim | None) -> tuple[Seen, Steps]:
        """Begin anew and do it; when this returns, all is healed and nobody is at work any more."""
        self.begin()
        steps = Steps(aim)
        with self.place.watched(steps):
            if aim is not None and aim.fault in ("SIGKILL", "SIGSTOP"):
                seen = self._in_child(steps)
            else:
                seen = _bounded(lambda: self._do(steps))
                _wait_for_threads(steps, besides="offload-store")  # which a client may let go on until it hears
            self.place.heal()
            _wait_for_threads(steps)
            steps.armed = False
        return seen, steps

    def begin(self) -> None:
        """The deployment is as it was made."""
        self._forget()
        self._database.write_bytes(self._rows)
        self.place.fill(self._objects)

    def steps(self) -> list[Step]:
        """Those of an undisturbed run."""
        seen, steps = self.run(None)
        assert seen.error is None, seen.error
        return steps.seen

    def _do(self, steps: Steps) -> Any:
        deployment, aim = self.deployment(), steps.aim
        if self.operation.collect is not None:
            return self._collect(deployment, steps)
        with deployment.stores() as stores:
            task = stores.task_store(*TASK)
            if self.operation.first:
                task.get(self.operation.first)
            steps.in_child = lambda: _use(stores, shares=self.place.layer != "memory")
            steps.armed = True
            if aim is not None and aim.fault == "cancelled":
                return asyncio.run(self._cancelled(task, steps))
            return getattr(task, self.operation.verb)(*self.operation.args)

    def _collect(self, deployment: Deployment, steps: Steps) -> Any:
        with deployment.collector() as collector:
            steps.in_child = lambda: list(collector.store.list())
            steps.armed = True
            self.operation.collect(collector)

    async def _cancelled(self, task: Any, steps: Steps) -> Any:
        """The coroutine is cancelled when the step is reached, which waits until that is so."""
        loop, noticed = asyncio.get_running_loop(), threading.Event()
        running = loop.create_task(getattr(task, f"a{self.operation.verb}")(*self.operation.args))

        def cancel() -> None:
            loop.call_soon_threadsafe(running.cancel)
            assert noticed.wait(PATIENCE)

        steps.cancel = cancel
        try:
            return await running
        finally:
            noticed.set()

    def _in_child(self, steps: Steps) -> Seen:
        report = self._folder / "report"
        report.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            try:
                seen = _seen(lambda: self._do(steps))
                report.write_bytes(pickle.dumps(seen))
            finally:
                os._exit(0)
        code = _waited(pid)
        return pickle.loads(report.read_bytes()) if code == 0 else Seen(error=KilledError())

    def _forget(self) -> None:
        for path in self._folder.glob("state.db*"):
            path.unlink()


def _use(stores: Any, *, shares: bool) -> None:
    """What a forked child does: it reads what is there, and where that ``shares`` blobs stores something."""
    assert stores.asset_store(name=KEPT.name).get("kept") == small("kept")
    if not shares:
        return
    other = stores.task_store("dag", "run", "child")
    other.set("mine", small("mine"))
    assert other.get("mine") == small("mine")


def _seen(do: Callable[[], Any]) -> Seen:
    try:
        return Seen(do())
    except BaseException as error:
        return Seen(error=error)


def _bounded(do: Callable[[], Any]) -> Seen:
    """In a thread of its own, which must come to an end."""
    seen: list[Seen] = []
    thread = threading.Thread(target=lambda: seen.append(_seen(do)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert seen, f"it hangs for more than {PATIENCE} s"
    return seen[0]


def _wait_for_threads(steps: Steps, besides: str = "") -> None:
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("offload-")]
    mine = [thread for thread in mine if thread.name != besides]
    for thread in (*mine, *steps.forks):
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} is left"


def _waited(pid: int) -> int:
    """Its exit code; whenever it is stopped, it goes on after every time-out."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        if found:
            time.sleep(2 * SHORT)
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"the process hangs for more than {PATIENCE} s")


def error_of(seen: Seen) -> OffloadError | None:
    """The error, if it is one of ours."""
    return seen.error if isinstance(seen.error, OffloadError) else None
