"""Verbs of the collector that take turns, one call to store or database at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeVar

from offload_backend.errors import OffloadError

Outcome = Literal["done", "fails", "answer lost", "partial", "killed"]
OUTCOMES: tuple[Outcome, ...] = ("done", "fails", "answer lost", "partial")
_PATIENCE = 60.0
_T = TypeVar("_T")


class KilledError(BaseException):
    """The process is no more."""


class Actor:
    """A verb in a thread of its own. It stands before each of its calls until it is told how that one goes.

    Only one thread runs at any time, so a sequence of steps always ends in the same state.
    """

    def __init__(self, verb: str, work: Callable[[Actor], object]) -> None:
        self.verb = verb
        self.at: str | None = None
        self.result: object = None
        self.error: BaseException | None = None
        self.alone = True
        self.seen: dict[str, int] = {}
        self.asked: set[str] = set()
        self._work = work
        self._outcome: Outcome = "done"
        self._free = False
        self._go, self._came = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    @property
    def has_ended(self) -> bool:
        return self.at is None

    def step(self, outcome: Outcome = "done") -> None:
        """Let the next call go this way, and come to the one after it; nothing, if there is none."""
        if self.has_ended:
            return
        self._outcome = outcome
        self._go.release()
        self._wait()

    def finish(self) -> None:
        """Let all further calls go well."""
        self._free = True
        self.step()

    def kill(self) -> None:
        self.step("killed")

    def call(self, what: str, act: Callable[[], _T], trouble: Callable[[], OffloadError]) -> _T:
        """One call, in the thread; what becomes of it was told to :meth:`step`."""
        outcome = self.turn(what)
        if outcome == "fails":
            raise trouble()
        result = act()
        if outcome == "answer lost":
            raise trouble()
        return result

    def turn(self, what: str) -> Outcome:
        """Stand before a call, in the thread."""
        if self._outcome == "killed":
            raise KilledError
        if self._free:
            return "done"
        self.at = what
        self._came.release()
        self._go.acquire()
        if self._outcome == "killed":
            raise KilledError
        return self._outcome

    def _run(self) -> None:
        try:
            self.result = self._work(self)
        except KilledError:
            self.error = None
        except BaseException as error:  # told to whoever started it
            self.error = error
        self.at = None
        self._came.release()

    def _wait(self) -> None:
        assert self._came.acquire(timeout=_PATIENCE), f"{self.verb} neither ends nor calls anything"
        if self.has_ended:
            self._thread.join(_PATIENCE)
