"""Erasure at once, for those who must: rows that are meant, then every blob that was written for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from offload_backend.address import parse_blob_name
from offload_backend.durations import format_duration
from offload_backend.errors import Refusal, RefusedError
from offload_backend.lifecycle.collector import DELETED, Collector
from offload_backend.lifecycle.holders import holders, pinned
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.named import ref_of
from offload_backend.lifecycle.preflight import require_owner
from offload_backend.lifecycle.selection import AssetSelection, Selection
from offload_backend.location import location_of, relative_name, shown, without_user
from offload_backend.rootsource import Root, root_of
from offload_backend.settings import Settings

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobInfo, BlobStore
    from offload_backend.corestore import FoundRow, RemovableRows
    from offload_backend.rootsource import RootSource

__all__ = ["NOT_ERASED", "RUNNING", "EraseReport", "Eraser", "blob_item", "row_item"]

RUNNING = "running"
"""Name of the refusal, and of what overrides it."""
BATCH = 1000
NOT_ERASED = (
    "older versions and delete markers in a bucket that keeps versions, its replicas, and unfinished uploads",
    "backups and replicas of the database, its write-ahead log, and pages of its files not yet overwritten",
    "archives of airflow db clean (tables _airflow_deleted__…): drop them with airflow db drop-archived",
    "task logs, XComs, and what tasks wrote elsewhere",
    "names of erased blobs in the collector's manifests and in the log of this command",
    "what running tasks hold in memory, and what they write from now on",
)
"""What no erasure here reaches."""
_T = TypeVar("_T")
_Blobs = dict[str, "BlobInfo"]


@dataclass
class EraseReport:
    """What was erased, or would be.

    ``rows`` and ``blobs`` are those removed, and those that the store confirmed gone. ``changed`` rows
    were written anew or held by somebody meanwhile and stay. ``kept`` maps names of blobs that stay to
    the row that names them: one that is not meant, an archive's, or one written meanwhile.
    ``archived`` counts rows that are meant in Airflow's archives, by table: they stay. ``elsewhere``
    are values that removed rows named and that are not among the blobs. ``failed`` maps names to the
    store's reasons.
    """

    deleted: bool
    rows: list[FoundRow] = field(default_factory=list)
    blobs: list[BlobInfo] = field(default_factory=list)
    changed: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    archived: dict[str, int] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class Eraser:
    """One deployment's rows, roots and blobs. ``roots`` must be those of the database that holds ``rows``.

    ``record`` gets each event as it happens, intent before and result after every step:
    ``(event, items)`` with items that JSON can hold. ``expect`` is that of a collector.
    """

    settings: Settings
    rows: RemovableRows
    roots: RootSource
    store: BlobStore
    hooks: Hooks = field(default_factory=Hooks)
    record: Callable[[str, list[dict[str, Any]]], None] = lambda _event, _items: None
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    expect: Callable[[str, int], None] = lambda _what, _count: None

    def erase(self, selection: Selection, *, delete: bool = False, accept: Collection[str] = ()) -> EraseReport:
        """Remove the rows that are meant, then their blobs and all orphans of theirs, of whatever age.

        Without ``delete``, only say what would go, and what would be refused. A blob that a row names
        which is not meant stays. Blobs younger than ``commit_window`` may belong to a task that is
        about to write its row, and would leave it a dangling ref: then :class:`RefusedError`, unless
        ``accept`` holds :data:`RUNNING`. Killed or failed half way, run it again.
        """
        require_owner(self._collector)
        selection = self._widened(selection)
        blobs = self._blobs(selection)
        survey = self._survey(selection, blobs)
        report = EraseReport(delete, archived=survey.archived)
        report.refusals = [] if RUNNING in accept else self._young(survey, blobs)
        if delete:
            if report.refusals:
                raise RefusedError(report.refusals)
            # Trouble with reading the roots had better show before anything is gone.
            self._held(blobs)
            report.rows = self._remove(survey.doomed)
            report.changed = len(survey.doomed) - len(report.rows)
            self._delete(blobs, self._held(blobs), report)
        else:
            report.rows = survey.doomed
            report.blobs = _apart(blobs, {**survey.held, **pinned(self._collector, blobs)}, report)
        report.elsewhere = [where for found in report.rows if (where := self._elsewhere(found, selection))]
        return report

    def _widened(self, selection: Selection) -> Selection:
        if isinstance(selection, AssetSelection):
            return replace(selection, aliases=tuple(self.rows.aliases(selection.address)))
        return selection

    def _blobs(self, selection: Selection) -> _Blobs:
        """The blobs that are meant, by id."""
        found: _Blobs = {}
        for prefix in selection.prefixes(self.settings.deployment):
            for info in self.store.list(prefix):
                name = parse_blob_name(info.name)
                if name is not None and selection.has_blob(name):
                    found[name.id] = info
        return found

    def _survey(self, selection: Selection, blobs: _Blobs) -> _Survey:
        survey = _Survey()
        for found in self.rows.found():
            meant = selection.has_row(found)
            table = str(found.place[0])
            if meant and not found.archived:
                survey.doomed.append(found)
                continue
            if meant:
                survey.archived[table] = survey.archived.get(table, 0) + 1
            holder = f"{table}: {found.row.address} key {found.row.key!r}"
            survey.held.update(_ids_held(root_of(found.row.text, None, holder), blobs))
        return survey

    def _young(self, survey: _Survey, blobs: _Blobs) -> list[Refusal]:
        # A clock that is ahead would take an upload that is going on for an old one.
        now = min(self.clock(), self.rows.now())
        ages = [now - info.modified for blob_id, info in blobs.items() if blob_id not in survey.held]
        young = [age for age in ages if age < self.settings.commit_window]
        if not young:
            return []
        youngest = timedelta(seconds=max(0, round(min(young).total_seconds())))
        return [
            Refusal(
                RUNNING,
                measured=f"{len(young)} of {len(blobs)} blobs are younger, the youngest is "
                f"{format_duration(youngest)} old: a task may be about to write a row that names one",
                limit=f"commit_window {format_duration(self.settings.commit_window)}",
                override=f"see that no such task runs and give --accept {RUNNING}, or wait",
            )
        ]

    def _held(self, blobs: _Blobs) -> dict[str, str]:
        """Ids of blobs that are named, now that all of them have been listed, and by whom."""
        return holders(self._collector, blobs)

    @property
    def _collector(self) -> Collector:
        return Collector(self.settings, self.store, self.roots, self.hooks)

    def _remove(self, doomed: list[FoundRow]) -> list[FoundRow]:
        removed: list[FoundRow] = []
        for some in _batches(doomed):
            self.record("rows-intended", [row_item(found) for found in some])
            gone = self.rows.remove(some)
            self.record("rows-erased", [row_item(found) for found in gone])
            removed += gone
        return removed

    def _delete(self, blobs: _Blobs, held: dict[str, str], report: EraseReport) -> None:
        doomed = _apart(blobs, held, report)
        self.expect(DELETED, len(doomed))
        for some in _batches(doomed):
            self.record("blobs-intended", [blob_item(info) for info in some])
            answer = self.store.delete([info.name for info in some])
            deleted = set(answer.deleted)
            gone = [info for info in some if info.name in deleted]
            self.record("blobs-erased", [blob_item(info) for info in gone])
            report.blobs += gone
            report.failed.update(answer.failed)
        failed = [{"name": name, "reason": reason} for name, reason in report.failed.items()]
        kept = [{"name": name, "named_by": holder} for name, holder in report.kept.items()]
        self.record("blobs-failed", failed)
        self.record("blobs-kept", kept)

    def _elsewhere(self, found: FoundRow, selection: Selection) -> str | None:
        """Where the row's value is, if it is not, or was not, among the blobs that are meant."""
        ref = ref_of(found)
        if ref is None:
            return None
        name = relative_name(without_user(ref.partition("#")[0]), location_of(self.settings.path))
        parts = parse_blob_name(name) if name else None
        ours = parts is not None and parts.deployment == self.settings.deployment and selection.has_blob(parts)
        return None if ours else shown(ref)


@dataclass
class _Survey:
    """The rows that are meant, which blob another row holds, and rows in archives by table."""

    doomed: list[FoundRow] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    archived: dict[str, int] = field(default_factory=dict)


def _ids_held(root: Root | None, blobs: _Blobs) -> dict[str, str]:
    return {blob_id: root.holder for blob_id in root.ids if blob_id in blobs} if root else {}


def _apart(blobs: _Blobs, held: dict[str, str], report: EraseReport) -> list[BlobInfo]:
    """The blobs that may go; the report learns of the others."""
    report.kept.update({blobs[blob_id].name: holder for blob_id, holder in held.items()})
    return [info for blob_id, info in blobs.items() if blob_id not in held]


def row_item(found: FoundRow) -> dict[str, Any]:
    """The row as a log names it, without its content."""
    return {"table": found.place[0], "address": str(found.row.address), "key": found.row.key}


def blob_item(info: BlobInfo) -> dict[str, Any]:
    """The blob as a log names it: ``size`` in bytes, ``modified`` by the store's clock."""
    return {"name": info.name, "size": info.size, "modified": info.modified.isoformat()}


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
