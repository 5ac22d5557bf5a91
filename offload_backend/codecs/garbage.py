"""Python's cyclic garbage collector, kept from walking a large value again and again while it grows."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]

_LONG = 0.01
"""Seconds of a pause, from which on a walk through all that is new would be felt."""

_pausing: set[int] = set()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Python's garbage collector rests until the block is left. After a long one, all that there is has survived.

    Else the first thing that it did would be to walk all that was read, which is no garbage and takes it a third as
    long as reading. Garbage of before the block that is in cycles then waits for a full collection.
    """
    if not gc.isenabled():
        yield
        return
    try:
        _pausing.add(threading.get_ident())
        gc.disable()
        began = time.monotonic()
        yield
        if time.monotonic() - began >= _LONG:
            _promote()
    finally:
        gc.enable()
        _pausing.discard(threading.get_ident())


def _promote() -> None:
    """All objects into the oldest generation; not where a program has frozen some, which would thaw with them."""
    if not gc.get_freeze_count():
        try:
            gc.freeze()
        finally:  # a signal may raise in between
            gc.unfreeze()


def _resume_collector() -> None:
    """In a child that was forked while another thread was decoding: nobody else would."""
    if _pausing:
        _pausing.clear()
        gc.enable()


os.register_at_fork(after_in_child=_resume_collector)
