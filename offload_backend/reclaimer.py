"""Eager deletes of blobs that are proven dead. What is doubtful stays, for a collector to find.

A blob is dead when its row is gone, or has moved on from it, and no write of that very ref can still be on
its way. Every rule here keeps unless something was *seen*:

* a ref that was *read* from the row had been committed, and its only writer is past it. This holds for
  tasks, of which one attempt lives at a time; an asset's row has other writers, whose requests may
  still be repeated on their way, so what was only read there is left alone;
* a ref that was *written* here is past its commit once the same thread, and in an event loop the same
  asyncio task, asks for the next thing, or has ended. Another one's may still be on its way;
* a row that names a ref proves dead only what its writer handed out **before** that ref. One writer's
  commits follow one another, so an answer that is late still tells the truth about what is older; and
  what is newer is a write that failed or has not arrived, which a server may yet carry out. While a task
  runs, its two latest blobs of a key stay in any case;
* a row that names a ref this process never met proves nothing about a task's state: somebody else goes on
  with it. An asset has other writers by nature: at the end of the task, all but the latest of what was
  written here is dead then;
* a row that cannot be read proves nothing, and neither does one that is not found: Airflow answers a
  superseded attempt as it answers a missing key, and what the attempt that replaced it resumes from may
  be a blob that was written here;
* a set whose row was refused is not told to a backend. Its ref counts as the latest until a later set is
  seen in the row.

All of it rests on the order of one writer's requests. An ``execution_timeout`` that a task catches in the
middle of a call leaves that call's answer to be taken for the next one's (3.3.2 and 3.4, ``comms.py``):
what is read while a task runs may therefore be late, and at its end nothing is believed before a question
that was never asked before has got its own answer. Deletes that Airflow confirms (``delete``, ``clear``)
have no such check, and with the row goes a set before them that failed. A server or proxy that carries out
a request after a later one of the same task, a database that is restored or copied, or a row's text that
somebody copies under another key, can bring a ref back. Where that happens,
``[offload_backend] reclaim = never``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from offload_backend.address import StateAddress, blob_scope, parse_blob_name
from offload_backend.knownrefs import Known, KnownRefs, KnownRow, Row, Writer
from offload_backend.observation.observer import Observer
from offload_backend.offloader import Offloader
from offload_backend.ref import is_ref

__all__ = ["Reclaimer"]

_SETS_BETWEEN_LOOKS = 8
_SETS_AFTER_A_VAIN_LOOK = 3
"""Odd, so that a key whose every other value stays inline is not met at its inline turn for ever."""
_SECONDS_BETWEEN_LOOKS = 30.0
"""Who sets a key this seldom, and so perhaps a large one, has it looked at every time."""
_LONGEST_PAUSE = 1024
_KEPT_WHILE_RUNNING = 2
_log = logging.getLogger(__name__)


class Reclaimer:
    """Remembers the refs this process wrote and read, the last few thousand, and deletes the dead ones.

    What is dead is decided at once, by whoever asks; deleting it may then happen in another thread.
    Never raises for trouble with the store: it logs the first, counts all in ``failures``, and looks less
    often. Sends nothing when it knows of no ref. A fork begins with nothing known.
    """

    def __init__(
        self,
        offloader: Offloader,
        reclaimed: Callable[[list[str]], None] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.failures = 0
        self._offloader = offloader
        self._observer = observer or Observer()
        self._reclaimed = reclaimed
        self._refs = KnownRefs()
        self._pause = _SETS_BETWEEN_LOOKS

    def wrote(self, text: str) -> None:
        """The ref was handed to the caller, who is about to commit it to a row."""
        self._remember(text, Writer())

    def wrote_inline(self, address: StateAddress, key: str) -> None:
        """A value that stays in its row was handed to the caller, who is about to commit it."""
        row, refs = blob_scope(address, key), self._own_refs()
        with refs.lock:
            refs.overwritten(row)
            self._count(refs.rows.get(row))

    def read(self, text: str) -> None:
        """The text came from a committed row."""
        self._remember(text, None)

    def dead_of_key(self, address: StateAddress, key: str) -> list[str]:
        """The row is confirmed gone: the refs that died with it, forgotten here, for :meth:`delete`."""
        row = blob_scope(address, key)
        asked_by, refs = Writer(), self._own_refs()
        with refs.lock:
            return refs.take(lambda known: _is_past(known, asked_by), row)

    def dead_of_scope(self, address: StateAddress) -> list[str]:
        """As :meth:`dead_of_key`, for every row of the address."""
        scope, _ = blob_scope(address, "")
        asked_by, refs = Writer(), self._own_refs()
        with refs.lock:
            return refs.take(lambda known: known.row[0] == scope and _is_past(known, asked_by))

    def is_due(self, row: Row) -> bool:
        """Whether this writer has overwritten the row so often, or so slowly, that it is worth a look."""
        refs = self._own_refs()
        with refs.lock:
            known = refs.rows.get(row)
            if known is None or len(known.refs) <= _KEPT_WHILE_RUNNING:
                return False
            is_slow = time.monotonic() - known.looked_at >= _SECONDS_BETWEEN_LOOKS
            return known.looks.get(Writer(), 1) <= 0 or (is_slow and not self.failures)

    def superseded(self, row: Row, named: str | None) -> list[str]:
        """While the task runs, ``named`` was just read from the row (``None``: it could not be read).

        The refs it proves dead, forgotten here, for :meth:`delete`.
        """
        asked_by, refs = Writer(), self._own_refs()
        with refs.lock:
            known = refs.rows.get(row)
            if known is None:
                return []
            known.looked_at = time.monotonic()
            current = known.refs.get(named or "")
            dead = []
            if current is not None and current.writer == asked_by:
                spared = sorted(each.met for each in known.refs.values())[-_KEPT_WHILE_RUNNING:]
                before = min(current.met, spared[0])
                dead = refs.take(lambda each: each.met < before and _is_past(each, asked_by), row)
            known.looks[asked_by] = self._pause if dead else _SETS_AFTER_A_VAIN_LOOK
            return dead

    def overwritten_rows(self) -> list[Row]:
        """The rows that have moved on from a ref known here."""
        refs = self._own_refs()
        with refs.lock:
            return [
                row
                for row, known in refs.rows.items()
                if any(each.met < known.last_write for each in known.refs.values())
            ]

    def rows_of(self, address: StateAddress) -> list[Row]:
        """The rows of the address of which a ref is known."""
        scope, _ = blob_scope(address, "")
        refs = self._own_refs()
        with refs.lock:
            return [row for row in refs.rows if row[0] == scope]

    def outlived(self, row: Row, named: str) -> list[str]:
        """The task is at its end and the row says ``named``, beyond doubt: what is dead, as :meth:`superseded`."""
        asked_by, refs = Writer(), self._own_refs()
        with refs.lock:
            known = refs.rows.get(row)
            if known is None:
                return []
            before, blob = _dead_before(row, known, named), _blob_in(named)
            return refs.take(
                lambda each: each.met < before and _blob_in(each.text) != blob and _is_over(each, asked_by), row
            )

    def died(self, row: Row) -> list[str]:
        """The task is at its end and the row is gone, beyond doubt: what is dead, as :meth:`superseded`."""
        asked_by, refs = Writer(), self._own_refs()
        with refs.lock:
            return refs.take(lambda known: _is_over(known, asked_by), row)

    def delete(self, dead: list[str]) -> None:
        """Delete the blobs of exactly these refs."""
        if not dead:
            return
        report = self._offloader.discard(dead)
        self._observer.reclaimed(report)
        if report.failed:
            level = logging.DEBUG if self.failures else logging.WARNING
            self.failures += len(report.failed)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            reasons = ", ".join(sorted(set(report.failed.values())))
            _log.log(level, "%d of %d dead blobs were left behind: %s", len(report.failed), len(dead), reasons)
        if self._reclaimed and report.deleted:
            deleted = {blob.id for name in report.deleted if (blob := parse_blob_name(name))}
            blobs = ((text, self._offloader.blob_of(text)) for text in dead)
            self._reclaimed([text for text, blob in blobs if blob and blob.id in deleted])

    def _remember(self, text: str, writer: Writer | None) -> None:
        name = self._offloader.blob_of(text)
        if name is None:
            return
        refs = self._own_refs()
        with refs.lock:
            if writer is None and text in refs:
                return
            row = name.scope, name.key
            refs.add(row, text, writer)
            if writer is not None:
                self._count(refs.rows.get(row))

    def _count(self, known: KnownRow | None) -> None:
        if known is None:
            return
        writer = Writer()
        if not writer.is_coroutine:
            known.looks[writer] = known.looks.get(writer, self._pause + _KEPT_WHILE_RUNNING) - 1

    def _own_refs(self) -> KnownRefs:
        """What the running process knows."""
        if self._refs.pid != os.getpid():
            self._refs = KnownRefs()
        return self._refs


def _is_past(known: Known, asked_by: Writer) -> bool:
    """Whether no commit of the ref can be on its way, since its writer asks for something else."""
    if known.writer is None:
        return known.row[0].startswith("task/")
    return known.writer == asked_by


def _is_over(known: Known, asked_by: Writer) -> bool:
    """As :func:`_is_past`, or since its writer has ended."""
    return _is_past(known, asked_by) or (known.writer is not None and known.writer.is_done())


def _dead_before(row: Row, known: KnownRow, named: str) -> int:
    """What was met before this moment is dead, by what the row says at the end of a task."""
    current = known.refs.get(named)
    if current is not None:
        return current.met
    if is_ref(named) and not row[0].startswith("asset/"):
        return 0
    return known.last_write


def _blob_in(text: str) -> str:
    """The URL of the blob: a ref that ``offload rekey`` has signed anew is another text for the same one."""
    return text.partition("#")[0]
