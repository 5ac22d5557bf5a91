"""Which rows and blobs are meant: a dag, run, task or index; or an asset; all keys or one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from offload_backend.address import AssetAddress, BlobName, TaskAddress, blob_scope, deployment_prefix

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow

__all__ = ["AssetSelection", "Selection", "TaskSelection"]


@dataclass(frozen=True)
class TaskSelection:
    """State of tasks: of a dag; or only of a run, a task, an index (in every region) or a key of it."""

    dag_id: str
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    key: str | None = None

    def has_row(self, found: FoundRow) -> bool:
        """Whether the row is meant."""
        address = found.row.address
        return (
            isinstance(address, TaskAddress)
            and address.dag_id == self.dag_id
            and self.run_id in (None, address.run_id)
            and self.task_id in (None, address.task_id)
            and self.map_index in (None, address.map_index)
            and self.key in (None, found.row.key)
        )

    def has_blob(self, blob: BlobName) -> bool:
        """Whether the blob was written for state that is meant; exact, also for ids that names cut and hash."""
        kind, *segments = blob.scope.split("/")
        # A region, if any, stands between run and task.
        found = [kind, *segments[:2], *segments[-2:]]
        address = TaskAddress(self.dag_id, self.run_id or "", self.task_id or "", self.map_index or 0)
        narrowed = (self.run_id is not None, self.task_id is not None, self.map_index is not None)
        wanted = zip(found, ["task", *_segments(address)], (True, True, *narrowed), strict=True)
        meant = all(there == here for there, here, asked in wanted if asked)
        return meant and _has_key(blob, self.key)

    def prefixes(self, deployment: str) -> list[str]:
        """Beginnings of names that all blobs that are meant share, and few others."""
        dag, run, *_ = _segments(TaskAddress(self.dag_id, self.run_id or "", ""))
        return [_below(deployment, f"task/{dag}/{run}/" if self.run_id is not None else f"task/{dag}/")]


@dataclass(frozen=True)
class AssetSelection:
    """State of one asset; all keys or one.

    ``aliases`` are the names or uris under which state of the same asset may have been stored, too:
    rows belong to ``address``, blobs may lie in the scope of each.
    """

    address: AssetAddress
    key: str | None = None
    aliases: tuple[AssetAddress, ...] = ()

    def has_row(self, found: FoundRow) -> bool:
        """Whether the row is meant."""
        return self.address in found.addresses and self.key in (None, found.row.key)

    def has_blob(self, blob: BlobName) -> bool:
        """Whether the blob was written for state that is meant."""
        return blob.scope in self._scopes() and _has_key(blob, self.key)

    def prefixes(self, deployment: str) -> list[str]:
        """Beginnings of names that all blobs that are meant share."""
        return [_below(deployment, f"{scope}/") for scope in self._scopes()]

    def _scopes(self) -> list[str]:
        return list(dict.fromkeys(blob_scope(address, "")[0] for address in (self.address, *self.aliases)))


Selection = TaskSelection | AssetSelection


def _segments(address: TaskAddress) -> list[str]:
    """Dag, run, task and index as they stand in names."""
    return blob_scope(address, "")[0].split("/")[1:]


def _has_key(blob: BlobName, key: str | None) -> bool:
    return key is None or blob.key == blob_scope(AssetAddress(name=""), key)[1]


def _below(deployment: str, rest: str) -> str:
    return f"{deployment_prefix(deployment)}{rest}"
