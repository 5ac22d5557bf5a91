"""The refs a process has met: which row they belong to, in which order, and who may be about to commit them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

__all__ = ["Known", "KnownRefs", "KnownRow", "Row", "Writer"]

Row = tuple[str, str]
"""A row's scope and key as they stand, encoded, in the names of its blobs (``blob_scope``)."""

LIMIT = 10_000


class Writer:
    """A thread, and in an event loop the asyncio task it runs: what does one thing after the other."""

    __slots__ = ("_id", "_task", "_thread")

    def __init__(self) -> None:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        self._id = threading.get_ident(), id(task) if task is not None else 0
        self._thread = weakref.ref(threading.current_thread())
        self._task: weakref.ref[asyncio.Task[Any]] | None = weakref.ref(task) if task is not None else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Writer) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    @property
    def is_coroutine(self) -> bool:
        """Whether it runs on an event loop, where nothing may wait for an answer."""
        return self._task is not None

    def is_done(self) -> bool:
        """Whether it has ended, so that it cannot be on its way to a commit."""
        if self._task is not None:
            task = self._task()
            return task is None or task.done()
        thread = self._thread()
        return thread is None or not thread.is_alive()


class Known(NamedTuple):
    """A ref: when it was met, counted over the process, and who wrote it (``None``: it was read)."""

    row: Row
    text: str
    writer: Writer | None
    met: int


class KnownRow:
    """What is known of one row.

    ``last_write`` is when the latest value was handed out, blob or inline; ``looks`` counts down, for
    each writer, the sets until the row is worth reading; ``looked_at`` is in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.refs: dict[str, Known] = {}
        self.last_write = 0
        self.looks: dict[Writer, int] = {}
        self.looked_at = time.monotonic()


class KnownRefs:
    """The last :data:`LIMIT` refs of one process; what is forgotten is left to a collector.

    Hold ``lock`` around any use. A fork makes a new one: its parent's lock may be held by a thread
    that does not exist in it.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.rows: dict[Row, KnownRow] = {}
        self._order: OrderedDict[str, Row] = OrderedDict()
        self._clock = count(1)

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, text: str) -> bool:
        return text in self._order

    def add(self, row: Row, text: str, writer: Writer | None) -> None:
        """Remember a ref; one that is known already keeps its place."""
        known = self.rows.setdefault(row, KnownRow())
        before = known.refs.get(text)
        met = before.met if before else next(self._clock)
        known.refs[text] = Known(row, text, writer, met)
        self._order.setdefault(text, row)
        if writer is not None:
            known.last_write = met
        if len(self._order) > LIMIT:
            oldest = next(iter(self._order))
            self.forget([self.rows[self._order[oldest]].refs[oldest]])

    def overwritten(self, row: Row) -> None:
        """A value that needs no blob was handed out for the row."""
        if row in self.rows:
            self.rows[row].last_write = next(self._clock)

    def take(self, matches: Callable[[Known], bool], row: Row | None = None) -> list[str]:
        """Forget the refs, of one row or of all, that match; their texts, the oldest first."""
        rows = self.rows if row is None else {row: self.rows[row]} if row in self.rows else {}
        found = [known for each in rows.values() for known in each.refs.values() if matches(known)]
        self.forget(found)
        return [known.text for known in sorted(found, key=lambda known: known.met)]

    def forget(self, refs: list[Known]) -> None:
        """Know these refs no longer."""
        for known in refs:
            self._order.pop(known.text, None)
            row = self.rows[known.row]
            row.refs.pop(known.text, None)
            if not row.refs:
                del self.rows[known.row]
