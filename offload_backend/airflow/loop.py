"""Hooks that Airflow calls on an event loop, and who else runs on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any, TypeVar, cast

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
    error, result = greenback.await_(_in_a_thread(call))
    if error is not None:
        raise error
    return cast("_T", result)


async def _in_a_thread(call: Callable[[], _T]) -> tuple[BaseException | None, _T | None]:
    """What ``call`` raises or returns, from a thread of its own.

    Not one of the loop's few: a store that does not answer would keep them from all who ask for a host's name.
    Whoever is cancelled meanwhile waits for it no longer, nor does the end of the process.
    """
    loop, context = asyncio.get_running_loop(), copy_context()
    done = loop.create_future()

    def run() -> None:
        outcome: tuple[BaseException | None, _T | None]
        try:
            outcome = None, context.run(call)
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            outcome = error, None
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_settle, done, outcome)

    Thread(target=run, name="offload-get", daemon=True).start()
    return cast("tuple[BaseException | None, _T | None]", await done)


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if not done.done():  # cancelled
        done.set_result(outcome)
