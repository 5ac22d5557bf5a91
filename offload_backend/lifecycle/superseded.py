"""The blobs that rows named before they were rewritten: deleted once nobody can want them any more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from offload_backend.blobstore import delete_told
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.holders import holders
from offload_backend.lifecycle.named import NamedBlob

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow, RemovableRows
    from offload_backend.lifecycle.remaking import RewriteReport

__all__ = ["SupersededBlobs"]

BLOBS_PER_READING = 50_000
"""Before so many are deleted, all rows are read for what they, too, name: it bounds memory and readings."""
SECONDS_BETWEEN_SIGNS = 1


class SupersededBlobs:
    """Deletes them by the rules of ``reclaim``; the report is told of what stays, and why.

    A blob goes ``grace`` after its row was committed with another one, unless something else names it: whoever
    read the row before that has had the time to read the blob. One whose row was written within
    ``commit_window`` stays for the collector: the request that wrote it may be repeated, and would name it again.
    ``None`` for ``grace`` lets all of them stay.
    """

    def __init__(
        self, collector: Collector, rows: RemovableRows, report: RewriteReport, grace: timedelta | None
    ) -> None:
        self._collector = collector
        self._report = report
        self._grace = grace.total_seconds() if grace is not None else None
        # A clock that is ahead would take a young row for an old one.
        self._old = min(collector.clock(), rows.now()) - collector.settings.commit_window
        self._waiting: deque[tuple[float, NamedBlob]] = deque()

    def add(self, found: FoundRow, blob: NamedBlob) -> None:
        """The row, as it was read, named the blob; a commit has put another ref there."""
        if self._grace is None or self._collector.settings.reclaim == "never":
            self._report.kept += 1
        elif found.row.updated_at >= self._old:
            self._report.young += 1
        else:
            self._waiting.append((time.monotonic() + self._grace, blob))
            self._report.waiting += 1

    def delete_due(self) -> None:
        """Delete those that have had their grace, if they are many."""
        if sum(1 for due, _ in self._waiting if due <= time.monotonic()) >= BLOBS_PER_READING:
            self._delete_due()

    def delete_all(self, on_wait: Callable[[], None]) -> None:
        """Wait until all have had their grace, and delete them. ``on_wait`` is called about once a second."""
        while self._waiting:
            left = self._waiting[-1][0] - time.monotonic()
            if left <= 0:
                self._delete_due()
            else:
                on_wait()
                time.sleep(min(left, SECONDS_BETWEEN_SIGNS))

    def _delete_due(self) -> None:
        now, due = time.monotonic(), list[NamedBlob]()
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        held = holders(self._collector, {blob.parts.id for blob in due})
        self._report.held.update({blob.name: held[blob.parts.id] for blob in due if blob.parts.id in held})
        names = [blob.name for blob in due if blob.parts.id not in held]
        answer = delete_told(self._collector.store.delete, names)
        self._report.deleted += len(answer.deleted)
        self._report.undeleted.update(answer.failed)
        self._report.waiting = len(self._waiting)
