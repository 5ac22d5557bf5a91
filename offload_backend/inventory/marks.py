"""What the collector's marks have seen, and when: the size of all that is stored, orphans and dangling refs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from offload_backend.errors import CollectorError
from offload_backend.lifecycle.control import Control

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.lifecycle.report import Tally

__all__ = ["Mark", "marks"]


@dataclass(frozen=True)
class Mark:
    """One mark, at the moment ``at`` by the store's clock: all blobs ``listed``, ``orphans``, refs ``dangling``."""

    run: str
    at: datetime
    listed: Tally
    orphans: Tally
    dangling: Tally

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        tallies = {name: vars(getattr(self, name)) for name in ("listed", "orphans", "dangling")}
        return {"run": self.run, "at": self.at.isoformat(), **tallies}


def marks(store: BlobStore, deployment: str, most: int) -> list[Mark]:
    """The last marks, at most so many, the newest last: one listing of runs, and a small read for each.

    Those that were refused, and manifests that cannot be read, are left out. Raises
    :class:`~offload_backend.errors.StoreError` when the store fails.
    """
    control, found = Control(store, deployment), list[Mark]()
    for run in reversed(control.runs()):
        if len(found) == most:
            break
        try:
            header = control.manifest_header(run.name) if run.has_manifest else None
        except CollectorError:
            continue
        if header is not None and header.state == "concluded":
            counts = header.counts
            found.append(Mark(run.name, header.t0, counts.listed, counts.marked, counts.dangling))
    return found[::-1]
