"""How many values one server has open at once: each takes memory, and anybody may have many tabs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

__all__ = ["BusyError", "Turns"]


class BusyError(Exception):
    """As many values are open as may be at once; :attr:`seconds` is when to ask again."""

    seconds = 5


class Turns:
    """``count`` at once, in this process; who comes then waits no longer than ``seconds``."""

    def __init__(self, count: int, *, seconds: float = 0) -> None:
        self._free = BoundedSemaphore(count)
        self._seconds = seconds

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A turn until the end of the block; :class:`BusyError` if none gets free."""
        if not self._free.acquire(timeout=self._seconds):
            raise BusyError("as many values are open on this server as may be at once")
        try:
            yield
        finally:
            self._free.release()
