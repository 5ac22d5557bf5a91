"""Hooks that Airflow calls on an event loop, and who else runs on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from offload_backend.airflow.rows import on_event_loop

__all__ = ["beside_the_loop"]

_T = TypeVar("_T")


def beside_the_loop(call: Callable[[], _T]) -> _T:
    """What ``call`` returns or raises; in a trigger, in a thread, so that the triggerer's other triggers go on.

    Airflow calls hooks synchronously, also from ``aget``. Its triggerer gives each trigger a portal of greenback's,
    by which a synchronous call can wait for a coroutine, and its supervisor answers every thread. Elsewhere the
    loop stands still, at most as long as :data:`~offload_backend.stores.patience.ON_A_LOOP` says.
    """
    greenback: Any = sys.modules.get("greenback")
    if greenback is None or not on_event_loop() or not greenback.has_portal():
        return call()
    result: _T = greenback.await_(asyncio.to_thread(call))
    return result
