"""Room on the stack: deep values are walked by recursion, wherever the caller stands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

__all__ = ["STEP", "with_room"]

STEP = 16
"""Levels of a value between two calls of :func:`with_room`."""

_NEEDED = 350
"""Frames that so many levels take, with a good rest for a kind's own."""

_T = TypeVar("_T")


def with_room(function: Callable[[], _T]) -> _T:
    """What the function returns or raises; it runs in a new thread if little is left of this one's stack."""
    if not _nearly_full():
        return function()
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  # it is raised again where it belongs
            errors.append(error)

    thread = Thread(target=copy_context().run, args=(run,), name="offload-tree")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _nearly_full() -> bool:
    try:
        sys._getframe(max(0, sys.getrecursionlimit() - _NEEDED))  # noqa: SLF001  # the only way to know without walking
    except ValueError:
        return False
    return True
