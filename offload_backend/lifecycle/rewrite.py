"""Rows get another ref to the same value, while tasks read and write them: the walk that such verbs share.

A row is replaced only if it still is as it was read, so whoever sets it meanwhile wins; what was stored for
it is then deleted. Why nothing is lost on the way is in ``docs/adr/0015-rewriting-rows.md``.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from offload_backend.address import blob_scope
from offload_backend.blobstore import delete_told
from offload_backend.errors import BlobNotFoundError, ConfigError, OffloadError, StoreError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.named import NamedBlob, named_blob, ref_of
from offload_backend.lifecycle.preflight import require_owner
from offload_backend.lifecycle.remaking import Change, Remaking, RewriteReport
from offload_backend.lifecycle.superseded import SupersededBlobs
from offload_backend.row import row_text

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow, RemovableRows
    from offload_backend.lifecycle.selection import Selection

__all__ = ["GRACE", "rewrite"]

GRACE = timedelta(minutes=10)
"""How long a blob stays after its row names another one: for those who have read the row, and not yet the blob."""
ROWS_PER_PAGE = 200
SECONDS_TO_COMMIT = 5
"""What is stored waits no longer for its neighbours: little is done again after a kill."""
LARGE = 8 * 1024 * 1024
"""Of blobs with more bytes than this, one at a time is on its way."""
ENOUGH_TROUBLE = 10
"""Failures of the store, one after the other, after which it is asked no more."""
SHOWN = 1000


def rewrite(
    collector: Collector,
    rows: RemovableRows,
    remaking: Remaking,
    *,
    selection: Selection | None = None,
    limit: int = 0,
    dry: bool = False,
    grace: timedelta = GRACE,
    on_step: Callable[[RewriteReport], None] = lambda _: None,
) -> RewriteReport:
    """Give the rows that are meant the refs that ``remaking`` makes; with ``dry``, only say how many need it.

    At most ``limit`` rows, 0 for all; those that fail do not count. May be killed at any moment and run again:
    rows that are done are known by their refs, and what a killed run stored is an orphan. Waits, in the end, until
    the last superseded blob has had its ``grace``. Trouble with a row or with the store is reported; trouble with
    the database raises, and so does :class:`~offload_backend.errors.ConfigError`. Raises
    :class:`~offload_backend.errors.RefusedError` unless ``rows``, which must be those of the collector's roots,
    are in the database that has adopted the deployment.
    """
    require_owner(collector)
    report = RewriteReport(dry)
    superseded = SupersededBlobs(collector, rows, report, grace)
    walk = _Walk(collector, rows, remaking, selection, report, on_step, superseded)
    walk.survey()
    on_step(report)
    if not dry:
        walk.go(limit or sys.maxsize)
        superseded.delete_all(lambda: on_step(report))
    return report


@dataclass(frozen=True, eq=False)
class _Made:
    """A row, the blob it names, and what is to be named instead, or why it is not; since when it was made."""

    found: FoundRow
    blob: NamedBlob
    began: datetime
    ref: str = ""
    error: OffloadError | None = None


@dataclass
class _Walk:
    collector: Collector
    rows: RemovableRows
    remaking: Remaking
    selection: Selection | None
    report: RewriteReport
    on_step: Callable[[RewriteReport], None]
    superseded: SupersededBlobs
    _trouble: int = 0
    _large: threading.Lock = field(default_factory=threading.Lock)

    def survey(self) -> None:
        """Count what there is to do."""
        report = self.report
        for found in self.rows.found():
            report.rows += not found.archived
            ref = self._ref_meant(found)
            change = self.remaking.change(ref) if ref else Change.NONE
            if change is Change.NONE:
                continue
            blob = self._own(found, ref)
            if found.archived:
                report.archived += 1
            elif blob is None:
                report.elsewhere += 1
            else:
                report.wanted.add([blob.size] if change is Change.BLOB else [])

    def go(self, limit: int) -> None:
        """Rewrite, page by page; between two transactions none is open."""
        last: FoundRow | None = None
        with ThreadPoolExecutor(self.collector.settings.concurrency, "offload-rewrite") as pool:
            while page := self.rows.page(limit=ROWS_PER_PAGE, after=last):
                last, wanted = page[-1], list(self._wanted(page))
                while wanted and self.report.done.rows < limit and not self.report.stopped:
                    left = limit - self.report.done.rows
                    self._rewrite(wanted[:left], pool)
                    wanted = wanted[left:]
                self.superseded.delete_due()
                if wanted or self.report.stopped or len(page) < ROWS_PER_PAGE:
                    return

    def _wanted(self, page: list[FoundRow]) -> Iterator[tuple[FoundRow, NamedBlob]]:
        for found in page:
            ref = self._ref_meant(found)
            blob = self._own(found, ref) if ref and self.remaking.change(ref) is not Change.NONE else None
            if blob:
                yield found, blob

    def _ref_meant(self, found: FoundRow) -> str | None:
        return ref_of(found) if self.selection is None or self.selection.has_row(found) else None

    def _own(self, found: FoundRow, ref: str | None) -> NamedBlob | None:
        """The blob, if it was written for this row: what another row names is not for this one to change."""
        settings = self.collector.settings
        blob = named_blob(ref, settings.deployment, self.collector.store.location) if ref else None
        return blob if blob and blob.is_of(found) else None

    def _rewrite(self, wanted: list[tuple[FoundRow, NamedBlob]], pool: ThreadPoolExecutor) -> None:
        jobs: set[Future[_Made]] = {pool.submit(self._make, found, blob) for found, blob in wanted}
        try:
            while jobs:
                done, jobs = wait(jobs, SECONDS_TO_COMMIT)
                self._commit([job.result() for job in done])
                self.on_step(self.report)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    def _make(self, found: FoundRow, blob: NamedBlob) -> _Made:
        began = self.collector.clock()
        if self._trouble >= ENOUGH_TROUBLE:
            self.report.stopped = True
            return _Made(found, blob, began)
        place = (blob.parts.scope, blob.parts.key)
        address = next(each for each in found.addresses if blob_scope(each, found.row.key) == place)
        try:
            with self._large if blob.size > LARGE else contextlib.nullcontext():
                began = self.collector.clock()
                ref = self.remaking.remade(blob.ref, address, found.row.key)
        except ConfigError:
            raise
        except OffloadError as error:
            self._trouble = self._trouble + 1 if isinstance(error, StoreError) else 0
            return _Made(found, blob, began, error=error)
        self._trouble = 0
        return _Made(found, blob, began, ref)

    def _commit(self, made: list[_Made]) -> None:
        """Put the refs into the rows that are still as they were read, in one transaction."""
        stored = [each for each in made if each.ref]
        ready = [each for each in stored if not self._is_late(each)]
        changes = [(each.found, row_text(each.ref)) for each in ready]
        replaced = {id(found) for found in self.rows.replace(changes)} if changes else set()
        won = {each for each in ready if id(each.found) in replaced}
        # This process may have been stopped in the middle of the transaction, and the collector not.
        overdue = {each for each in won if self._is_late(each)}
        self._put_back(overdue)
        for each in won - overdue:
            self._tell_done(each)
        self.report.changed += len(ready) - len(won)
        # No commit names these, and none can any more: nobody else was told of them.
        names = [name for each in stored if each not in won and (name := self._new_name(each))]
        self.report.undeleted.update(delete_told(self.collector.store.delete, names).failed if names else {})
        late = [replace(each, error=_too_late()) for each in stored if each not in ready or each in overdue]
        self._tell_failures([each for each in made if each.error] + late)

    def _is_late(self, made: _Made) -> bool:
        """Whether a collector may take for an orphan, by now, what was stored."""
        return self.collector.clock() - made.began >= self.collector.settings.commit_window

    def _put_back(self, overdue: set[_Made]) -> None:
        """Let the rows name again what they named, where it is still there.

        It is, if this process was stopped before the commit; if it was stopped after, what is named now is live.
        """
        back = [
            (replace(each.found, row=replace(each.found.row, text=row_text(each.ref))), each.found.row.text)
            for each in overdue
            if self._is_there(each.blob.name)
        ]
        if back:
            self.rows.replace(back)

    def _is_there(self, name: str) -> bool:
        try:
            self.collector.store.get_range(name, 0, 1)
        except BlobNotFoundError:
            return False
        except OffloadError:
            pass  # cannot be told
        return True

    def _tell_done(self, made: _Made) -> None:
        moved = self._new_name(made) is not None
        self.report.done.add([made.blob.size] if moved else [])
        if moved:
            self.superseded.add(made.found, made.blob)

    def _new_name(self, made: _Made) -> str | None:
        """The name of the blob that was written for this, if one was."""
        named = named_blob(made.ref, self.collector.settings.deployment, self.collector.store.location)
        return named.name if named and named.name != made.blob.name else None

    def _tell_failures(self, failed: list[_Made]) -> None:
        """Rows that could not be rewritten; if somebody has changed one, what it named may be gone for that."""
        same = [(each.found, each.found.row.text) for each in failed]
        there = {id(found) for found in self.rows.replace(same)} if same else set()
        for each in failed:
            if id(each.found) not in there or each.error is None:
                self.report.changed += 1
                continue
            self.report.failures += 1
            if len(self.report.failed) < SHOWN:
                row, error = each.found.row, each.error
                reason = f"{error.message}; {error.hint}" if error.hint else error.message
                self.report.failed[f"{row.address} key {row.key!r}"] = reason


def _too_late() -> StoreError:
    return StoreError(
        "storing the blob and writing its row took longer than commit_window",
        reason="failed",
        retryable=True,
        hint="run it again; if that takes so long, raise [offload_backend] commit_window, and gc_min_age above it",
    )
