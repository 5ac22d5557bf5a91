"""Rows get another text for the same value, while tasks read and write them: the walk that such verbs share.

A row is replaced only if it still is as it was read, so whoever sets it meanwhile wins; what was stored for
it is then deleted. Why nothing is lost on the way is in ``docs/adr/0015-rewriting-rows.md``.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from offload_backend.blobstore import delete_told
from offload_backend.errors import BlobNotFoundError, ConfigError, OffloadError, StoreError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.preflight import require_owner
from offload_backend.lifecycle.remaking import LARGE, NOTHING, Change, Need, Remade, Remaking, RewriteReport
from offload_backend.lifecycle.superseded import SupersededBlobs

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow, RemovableRows
    from offload_backend.lifecycle.selection import Selection

__all__ = ["GRACE", "rewrite"]

GRACE = timedelta(minutes=10)
"""How long a blob stays after its row names another one: for those who have read the row, and not yet the blob."""
ROWS_PER_PAGE = 200
SECONDS_TO_COMMIT = 5
"""What is stored waits no longer for its neighbours: little is done again after a kill."""
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
    former: Collector | None = None,
    delete: bool = True,
    grace: timedelta = GRACE,
    on_step: Callable[[RewriteReport], None] = lambda _: None,
) -> RewriteReport:
    """Give the rows that are meant the texts that ``remaking`` makes; with ``dry``, only say how many need it.

    At most ``limit`` rows, 0 for all; those that fail do not count. May be killed at any moment and run again:
    rows that are done are known by their texts, and what a killed run stored is an orphan. ``former`` are the
    blobs that rows name before, if they are in another place. With ``delete``, those that are superseded go, and it
    waits, in the end, until the last has had its ``grace``. Trouble with a row or with the store is reported;
    trouble with the database raises, and so does :class:`~offload_backend.errors.ConfigError`. Raises
    :class:`~offload_backend.errors.RefusedError` unless ``rows``, which must be those of the collector's roots,
    are in the database that has adopted the deployment, and also what is to be deleted.
    """
    require_owner(collector)
    if former and delete:
        require_owner(former)
    report = RewriteReport(dry)
    superseded = SupersededBlobs(former or collector, rows, report, grace if delete else None)
    walk = _Walk(collector, former or collector, rows, remaking, selection, report, on_step, superseded)
    walk.survey()
    on_step(report)
    if not dry:
        walk.go(limit or sys.maxsize)
        superseded.delete_all(lambda: on_step(report))
    return report


@dataclass(frozen=True, eq=False)
class _Made:
    """A row, what it needed, and what it is to have, or why it is not; since when it was made."""

    found: FoundRow
    need: Need
    began: datetime
    remade: Remade | None = None
    error: OffloadError | None = None


@dataclass
class _Walk:
    collector: Collector
    former: Collector
    rows: RemovableRows
    remaking: Remaking
    selection: Selection | None
    report: RewriteReport
    on_step: Callable[[RewriteReport], None]
    superseded: SupersededBlobs
    _trouble: int = 0
    _large: threading.Lock = field(default_factory=threading.Lock)

    def survey(self) -> None:
        """Count what there is to do; where that is all, also what cannot be done."""
        report = self.report
        for found in self.rows.found():
            report.rows += not found.archived
            need = self._need(found)
            if need is NOTHING:
                continue
            if found.archived:
                report.archived += 1
            elif isinstance(need, OffloadError):
                if report.dry:
                    self._tell_failure(found, need)
            elif need.change is Change.ELSEWHERE:
                report.elsewhere += 1
                for setting in need.lacks:
                    report.lacking[setting] = report.lacking.get(setting, 0) + 1
            else:
                report.wanted.add([need.size] if need.change is Change.VALUE else [])

    def go(self, limit: int) -> None:
        """Rewrite, page by page; between two transactions none is open."""
        last: FoundRow | None = None
        with ThreadPoolExecutor(self.collector.settings.concurrency, "offload-rewrite") as pool:
            while page := self.rows.page(limit=ROWS_PER_PAGE, after=last):
                last, wanted = page[-1], self._wanted(page)
                while wanted and self.report.done.rows < limit and not self.report.stopped:
                    left = limit - self.report.done.rows
                    self._rewrite(wanted[:left], pool)
                    wanted = wanted[left:]
                self.superseded.delete_due()
                if wanted or self.report.stopped or len(page) < ROWS_PER_PAGE:
                    return

    def _wanted(self, page: list[FoundRow]) -> list[tuple[FoundRow, Need]]:
        wanted: list[tuple[FoundRow, Need]] = []
        failed: list[_Made] = []
        for found in page:
            need = self._need(found)
            if isinstance(need, OffloadError):
                failed.append(_Made(found, NOTHING, self.collector.clock(), error=need))
            elif need.change in (Change.TEXT, Change.VALUE):
                wanted.append((found, need))
        self._tell_failures(failed)
        return wanted

    def _need(self, found: FoundRow) -> Need | OffloadError:
        """What the row needs, or why it can never have it."""
        if self.selection is not None and not self.selection.has_row(found):
            return NOTHING
        try:
            return self.remaking.need(found)
        except ConfigError:
            raise
        except OffloadError as error:
            return error

    def _rewrite(self, wanted: list[tuple[FoundRow, Need]], pool: ThreadPoolExecutor) -> None:
        jobs: set[Future[_Made]] = {pool.submit(self._make, found, need) for found, need in wanted}
        try:
            while jobs:
                done, jobs = wait(jobs, SECONDS_TO_COMMIT)
                self._commit([job.result() for job in done])
                self.on_step(self.report)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    def _make(self, found: FoundRow, need: Need) -> _Made:
        began = self.collector.clock()
        if self._trouble >= ENOUGH_TROUBLE:
            self.report.stopped = True
            return _Made(found, need, began)
        try:
            with self._large if need.weight > LARGE else contextlib.nullcontext():
                began = self.collector.clock()
                remade = self.remaking.remake(found, need)
        except ConfigError:
            raise
        except OffloadError as error:
            self._trouble = self._trouble + 1 if isinstance(error, StoreError) else 0
            return _Made(found, need, began, error=error)
        self._trouble = 0
        return _Made(found, need, began, remade)

    def _commit(self, made: list[_Made]) -> None:
        """Put the texts into the rows that are still as they were read, in one transaction."""
        stored = [each for each in made if each.remade]
        ready = [each for each in stored if not self._is_late(each)]
        changes = [(each.found, each.remade.row_text) for each in ready if each.remade]
        replaced = {id(found) for found in self.rows.replace(changes)} if changes else set()
        won = {each for each in ready if id(each.found) in replaced}
        # This process may have been stopped in the middle of the transaction, and the collector not.
        overdue = {each for each in won if self._is_late(each)}
        self._put_back(overdue)
        for each in won - overdue:
            self._tell_done(each)
        self.report.changed += len(ready) - len(won)
        # No commit names these, and none can any more: nobody else was told of them.
        names = [each.remade.name for each in stored if each not in won and each.remade and each.remade.name]
        if names:
            answer = delete_told(lambda some: self.remaking.target().delete(some), names)
            self.report.undeleted.update(answer.failed)
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
            (replace(each.found, row=replace(each.found.row, text=each.remade.row_text)), each.found.row.text)
            for each in overdue
            if each.remade and self._is_there(each.need)
        ]
        if back:
            self.rows.replace(back)

    def _is_there(self, need: Need) -> bool:
        try:
            if need.blob:
                self.former.store.get_range(need.blob.name, 0, 1)
        except BlobNotFoundError:
            return False
        except OffloadError:
            pass  # cannot be told
        return True

    def _tell_done(self, made: _Made) -> None:
        stored = made.remade if made.remade and made.remade.name else None
        self.report.done.add([made.need.size or stored.size] if stored else [])
        if made.need.blob and made.need.change is Change.VALUE:
            self.superseded.add(made.found, made.need.blob)

    def _tell_failures(self, failed: list[_Made]) -> None:
        """Rows that could not be rewritten; if somebody has changed one, what it named may be gone for that."""
        same = [(each.found, each.found.row.text) for each in failed]
        there = {id(found) for found in self.rows.replace(same)} if same else set()
        for each in failed:
            if id(each.found) not in there or each.error is None:
                self.report.changed += 1
                continue
            self._tell_failure(each.found, each.error)

    def _tell_failure(self, found: FoundRow, error: OffloadError) -> None:
        self.report.failures += 1
        if len(self.report.failed) < SHOWN:
            reason = f"{error.message}; {error.hint}" if error.hint else error.message
            self.report.failed[f"{found.row.address} key {found.row.key!r}"] = reason


def _too_late() -> StoreError:
    return StoreError(
        "storing the blob and writing its row took longer than commit_window",
        reason="failed",
        retryable=True,
        hint="run it again; if that takes so long, raise [offload_backend] commit_window, and gc_min_age above it",
    )
