"""Eager deletes of blobs that are proven dead. What is doubtful stays, for a collector to find.

A blob is taken for dead when Airflow has confirmed that the row is gone and no write of that very ref
can still be on its way:

* a ref that was *read* from the row had been committed, and its only writer is past it. This holds for
  tasks, of which one attempt lives at a time; an asset's row has other writers, whose requests may
  still be repeated on their way, so what was only read there is left alone;
* a ref that was *written* here is past its commit once the same thread, and in an event loop the same
  asyncio task, asks for the next thing. Another thread's or coroutine's may still be on its way.

Both rest on what Airflow answers. An ``execution_timeout`` that a task catches in the middle of a call
leaves that call's answer to be taken for the next one's (3.3.2, ``comms.py``). A proxy that repeats a
request long after its answer, a database that is restored or copied, or a row's text that somebody copies
under another key, can bring a ref back. Where that happens, ``[offload_backend] reclaim = never``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from offload_backend.address import StateAddress, blob_scope
from offload_backend.offloader import Offloader

__all__ = ["Reclaimer"]

_Writer = tuple[int, int]
_LIMIT = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """A ref this process met: under which scope and key, and who wrote it (``None``: it was read)."""

    scope: str
    key: str
    writer: _Writer | None


class Reclaimer:
    """Remembers the refs this process wrote and read, the last few thousand, and deletes the dead ones.

    What is dead is decided at once, by whoever asks; deleting it may then happen in another thread.
    Never raises for trouble with the store: it logs, and counts in ``failures``. Sends nothing when
    it knows of no ref. A fork begins with nothing known.
    """

    def __init__(self, offloader: Offloader) -> None:
        self.failures = 0
        self._offloader = offloader
        self._memory = _Memory()

    def wrote(self, text: str) -> None:
        """The text was handed to the caller, who is about to commit it to a row."""
        self._remember(text, _current_writer())

    def read(self, text: str) -> None:
        """The text came from a committed row."""
        self._remember(text, None)

    def dead_of_key(self, address: StateAddress, key: str) -> list[str]:
        """The row is confirmed gone: the refs that died with it, forgotten here, for :meth:`delete`."""
        scope, encoded = blob_scope(address, key)
        return self._take(lambda known: known.scope == scope and known.key == encoded)

    def dead_of_scope(self, address: StateAddress) -> list[str]:
        """As :meth:`dead_of_key`, for every row of the address."""
        scope, _ = blob_scope(address, "")
        return self._take(lambda known: known.scope == scope)

    def delete(self, dead: list[str]) -> None:
        """Delete the blobs of exactly these refs."""
        if not dead:
            return
        report = self._offloader.discard(dead)
        if report.failed:
            self.failures += len(report.failed)
            reasons = ", ".join(sorted(set(report.failed.values())))
            _log.warning("%d of %d dead blobs were left behind: %s", len(report.failed), len(dead), reasons)

    def _remember(self, text: str, writer: _Writer | None) -> None:
        name = self._offloader.blob_of(text)
        if name is None:
            return
        memory = self._own_memory()
        with memory.lock:
            if writer is None and text in memory.known:
                return
            memory.known[text] = _Known(name.scope, name.key, writer)
            if len(memory.known) > _LIMIT:
                memory.known.popitem(last=False)

    def _take(self, matches: Callable[[_Known], bool]) -> list[str]:
        asked_by = _current_writer()
        memory = self._own_memory()
        with memory.lock:
            dead = [text for text, known in memory.known.items() if matches(known) and _proven(known, asked_by)]
            for text in dead:
                del memory.known[text]
        return dead

    def _own_memory(self) -> _Memory:
        """The memory of the running process; its parent's lock might be held by a thread that is not here."""
        if self._memory.pid != os.getpid():
            self._memory = _Memory()
        return self._memory


class _Memory:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.known: OrderedDict[str, _Known] = OrderedDict()


def _current_writer() -> _Writer:
    """Who is asking: the thread, and the asyncio task if it runs one."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task) if task is not None else 0


def _proven(known: _Known, asked_by: _Writer) -> bool:
    if known.writer is None:
        return known.scope.startswith("task/")
    return known.writer == asked_by
