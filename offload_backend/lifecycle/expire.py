"""Expiry in the right order: rows first, committed; then exactly the blobs that they named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from offload_backend.address import TaskAddress
from offload_backend.blobstore import delete_told
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.holders import holders, pinned
from offload_backend.lifecycle.named import NamedBlob, named_blob, ref_of
from offload_backend.lifecycle.preflight import require_owner

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow, RemovableRows

__all__ = ["ASSETS", "ROWS_PER_BATCH", "ExpireReport", "Tally", "expire"]

ROWS_PER_BATCH = 1000
"""Where no batch size is set: as many blobs as one request to S3 deletes."""
ROWS_PER_READING = 50_000
"""Rows that are removed before all others are read for what they, too, name: it bounds memory and readings."""
ASSETS = "(assets)"
"""The group of rows that belong to no dag."""


@dataclass
class Tally:
    """Rows, the blobs they named, and the bytes that these take in the store."""

    rows: int = 0
    blobs: int = 0
    bytes: int = 0

    def add(self, sizes: list[int]) -> None:
        """Count one more row, and the blobs of these sizes."""
        self.rows += 1
        self.blobs += len(sizes)
        self.bytes += sum(sizes)


@dataclass
class ExpireReport:
    """What :func:`expire` removed, or would remove.

    ``total`` and ``dags`` count rows removed, and blobs that the store confirmed gone. ``changed`` rows
    were written anew, removed or held by somebody else in the meantime, and were left alone. ``kept``
    blobs stay because of ``reclaim = never``; ``held`` maps names of blobs that stay to who names them as
    well: another row, a pin, a hook; ``elsewhere`` counts refs that do not name a blob of the
    row itself below the write location (of Airflow's own backend, another location, copied from
    another row): what they name stays. ``failed`` maps names of blobs to the store's reasons, and
    ``stopped`` tells that the store deleted nothing more, so that the other rows were left alone.
    """

    deleted: bool
    now: datetime
    total: Tally = field(default_factory=Tally)
    dags: dict[str, Tally] = field(default_factory=dict)
    changed: int = 0
    kept: int = 0
    held: dict[str, str] = field(default_factory=dict)
    elsewhere: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def expire(
    collector: Collector,
    rows: RemovableRows,
    *,
    batch_size: int = 0,
    delete: bool = False,
    on_batch: Callable[[ExpireReport], None] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> ExpireReport:
    """Remove the rows past ``expires_at``, and then their blobs; without ``delete``, only say which.

    Batches of ``batch_size`` rows, 0 for :data:`ROWS_PER_BATCH`; each is one transaction, and a row
    goes only if it is still as it was read. A row without ``expires_at`` is never removed. Whoever
    kills this between a commit and the deletes leaves orphans, never a dangling ref. Trouble with the
    store is reported; trouble with the database raises, and then no more blobs are deleted. Raises
    :class:`~offload_backend.errors.RefusedError` unless ``rows``, which must be those of the collector's
    roots, are in the database that has adopted the deployment.
    """
    require_owner(collector)
    # A clock that is ahead would expire what is not due: the earlier of two counts.
    now = min(clock(), rows.now())
    report = ExpireReport(delete, now)
    limit = batch_size if batch_size > 0 else ROWS_PER_BATCH
    last: FoundRow | None = None
    waiting: list[FoundRow] = []
    enough = 1  # the first batch tells whether the store deletes at all
    while batch := rows.expired(now, limit=limit, after=last):
        last = batch[-1]
        due = [found for found in batch if found.row.expires_at is not None and found.row.expires_at < now]
        removed = rows.remove(due) if delete else due
        report.changed += len(due) - len(removed)
        waiting += removed
        if len(waiting) >= enough:
            report.stopped = not _reclaim(waiting, collector, report)
            waiting, enough = [], ROWS_PER_READING
        if on_batch:
            on_batch(report)
        if report.stopped or len(batch) < limit:
            break
    if waiting:
        report.stopped = not _reclaim(waiting, collector, report)
    return report


def _reclaim(removed: list[FoundRow], collector: Collector, report: ExpireReport) -> bool:
    """Delete the blobs of rows that are gone, and count both. Whether the store deletes at all."""
    named = {id(found): blob for found in removed if (blob := _own_blob(found, collector, report))}
    ids = {blob.parts.id for blob in named.values()}
    # In a dry run each blob is still named by its own row.
    held = (holders if report.deleted else pinned)(collector, ids) if ids else {}
    report.held.update({blob.name: held[blob.parts.id] for blob in named.values() if blob.parts.id in held})
    gone = {blob.name for blob in named.values()} - report.held.keys()
    if collector.settings.reclaim == "never":
        report.kept += len(gone)
        gone = set()
    elif report.deleted and gone:
        answer = delete_told(collector.store.delete, sorted(gone))
        report.failed.update(answer.failed)
        gone = set(answer.deleted)
    for found in removed:
        blob = named.get(id(found))
        sizes = [blob.size] if blob and blob.name in gone else []
        for tally in (report.total, report.dags.setdefault(_group(found), Tally())):
            tally.add(sizes)
    return bool(gone) or not report.failed


def _own_blob(found: FoundRow, collector: Collector, report: ExpireReport) -> NamedBlob | None:
    """The blob that the row names, if it was written for this row: another may live by any other."""
    ref = ref_of(found)
    blob = named_blob(ref, collector.settings.deployment, collector.store.location) if ref else None
    if blob is not None and blob.is_of(found):
        return blob
    report.elsewhere += ref is not None
    return None


def _group(found: FoundRow) -> str:
    address = found.row.address
    return address.dag_id if isinstance(address, TaskAddress) else ASSETS
