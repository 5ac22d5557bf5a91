"""How long a store is waited for: one limit for all tries of a request, which begins anew with progress."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

__all__ = [
    "FOR_A_DELETE",
    "MOMENT",
    "ON_A_LOOP",
    "PROGRESS",
    "OutOfPatienceError",
    "Patience",
    "allowed_seconds",
    "within",
]

PROGRESS = 1024 * 1024
"""Bytes that count as progress. A store that does less than so many in the time given is given up."""
UNSEEN = 8 * 1024 * 1024
MOMENT = 0.25
"""Seconds after which whoever waits looks whether it is still wanted."""
ON_A_LOOP = 10.0
"""Seconds at most where an event loop stands still meanwhile, and with it every other coroutine on it."""
FOR_A_DELETE = 10.0
"""Seconds at most for a delete: no task is to wait longer for space to be given back; what stays is found later."""
_LAST_TRY = 1.0
_T = TypeVar("_T")


class OutOfPatienceError(Exception):
    """A call did not return in time; it goes on in a thread of its own until it fails, and nobody hears of it."""


class Patience:
    """The time that a request has, with all its tries and pauses, until it is given up.

    These are ``seconds`` from now, and again from each further :data:`PROGRESS` bytes of it. What a try sends
    that an earlier one had sent before is no progress. One thread uses it; any may :meth:`cut` it short.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._latest = float("inf")
        self._moved = 0

    @property
    def left(self) -> float:
        """Seconds; nothing or less when it is over. Setting it leaves out what the store is not to blame for."""
        return min(self._end, self._latest) - time.monotonic()

    @left.setter
    def left(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_cut(self) -> bool:
        """Whether nobody wants the request any more."""
        return self._latest != float("inf")

    def cut(self, seconds: float) -> None:
        """No further try is made, nothing more is sent, and an answer is waited for no longer than that."""
        self._latest = min(self._latest, time.monotonic() + seconds)

    def moved(self, size: int) -> None:
        """So many bytes of the request, from its beginning, have been sent or received."""
        if size >= self._moved + PROGRESS:
            self._moved = size
            self._end = time.monotonic() + self.seconds

    def allow(self, size: int) -> None:
        """A client is at work that does not tell how it gets on: each :data:`UNSEEN` bytes have the whole time."""
        self._end += self.seconds * (max(0, size - 1) // UNSEEN)

    def pause(self, seconds: float, at_least: float = 0.0) -> bool:
        """Sleep before the next try; ``False``, at once, where there is to be none.

        A pause that would miss the end is made shorter, but not than ``at_least``: who asks for so much is obeyed,
        or not asked again.
        """
        last = self.left - min(_LAST_TRY, self.seconds / 10)
        if last <= 0 or at_least > last:
            return False
        until = time.monotonic() + max(at_least, min(seconds, last))
        while not self.is_cut and (rest := until - time.monotonic()) > 0:
            time.sleep(min(rest, MOMENT))
        return not self.is_cut


def allowed_seconds(give_up_after: float) -> float:
    """The seconds that an operation of the calling thread has; :data:`ON_A_LOOP` at most on an event loop."""
    asyncio = sys.modules.get("asyncio")
    on_a_loop = asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - get_running_loop raises
    return min(give_up_after, ON_A_LOOP) if on_a_loop else give_up_after


def within(patience: Patience, call: Callable[[], _T], if_left: Callable[[], object] = lambda: None) -> _T:
    """What ``call`` returns or raises. Raises :class:`OutOfPatienceError` when the patience ends before.

    For clients that cannot be told how long they may take. Whatever a signal handler raises meanwhile is raised at
    once. A call that is left to itself ends with ``if_left``, in its own thread.
    """
    done, turn = threading.Event(), threading.Lock()
    results: list[_T] = []
    errors: list[BaseException] = []
    left: list[bool] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)
        with turn:
            done.set()
        if left:
            if_left()

    thread = threading.Thread(target=copy_context().run, args=(run,), name="offload-store", daemon=True)
    thread.start()
    try:
        while patience.left > 0 and not done.wait(max(0.0, min(MOMENT, patience.left))):
            pass
    finally:
        with turn:
            left += [True] * (not done.is_set())
    if left:
        raise OutOfPatienceError
    if errors:
        raise errors[0]
    return results[0]
