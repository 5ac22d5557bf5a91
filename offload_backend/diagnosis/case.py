"""What is examined: each way in is opened once, and where it is closed, what lies behind it is not tried."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta

from offload_backend.blobstore import BlobStore
from offload_backend.bucket import Bucket
from offload_backend.corestore import RemovableRows
from offload_backend.diagnosis.finding import SkippedError
from offload_backend.errors import StoreError
from offload_backend.lifecycle.records import Layout
from offload_backend.rootsource import RootSource
from offload_backend.settings import Settings

__all__ = ["HOPELESS", "Case"]

HOPELESS = frozenset({"unreachable", "no-credentials", "bucket-missing", "throttled"})
"""Reasons of a :class:`StoreError` for which everything else that is asked of the store fails as well."""


@dataclass
class Case:
    """A deployment, and the ways to its blobs and rows.

    ``open_store`` and ``open_bucket`` take a configured path; the latter gives ``None`` for what is in no bucket.
    ``rows_named``: somebody said where the rows are, so that it is wrong if they are not there. ``retention`` is
    how long a task's rows live unless told otherwise, ``None`` for ever. ``peer_path`` is where Airflow's own
    backend writes, if that is configured.
    """

    settings: Settings
    open_store: Callable[[str], BlobStore]
    open_bucket: Callable[[str], Bucket | None]
    rows: Callable[[], AbstractContextManager[RemovableRows]]
    roots: Callable[[], AbstractContextManager[RootSource]]
    rows_named: bool
    retention: timedelta | None
    peer_path: str = ""
    rows_reached: bool = False
    _store: BlobStore | None = None
    _bucket: Bucket | None = None
    _closed: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """The names of what the deployment has in the store."""
        return Layout(self.settings.deployment)

    def store(self) -> BlobStore:
        """The store of the path, :class:`SkippedError` where it could not be opened or reached."""
        self.require("path")
        if self._store is None:
            # Closed meanwhile: should it stall, as a service that has the connection may, the others do not wait.
            self.close("path", "the path cannot be opened")
            self._store = self.open_store(self.settings.path)
            self.reopen("path")
        return self._store

    def bucket(self) -> Bucket:
        """The bucket of the path; :class:`SkippedError` where there is none."""
        self.store()
        if self._bucket is None:
            self._bucket = self.open_bucket(self.settings.path)
        if self._bucket is None:
            raise SkippedError("the path is in no bucket of S3")
        return self._bucket

    def close(self, way: str, why: str) -> None:
        """From now on :meth:`require` skips with this reason."""
        self._closed.setdefault(way, why)

    def reopen(self, way: str) -> None:
        """Try the way again."""
        self._closed.pop(way, None)

    def require(self, way: str) -> None:
        """Raise :class:`SkippedError` where the way is closed."""
        if way in self._closed:
            raise SkippedError(self._closed[way])

    def gave_up(self, error: StoreError) -> None:
        """Note what a request to the store failed for, so that the next one does not wait for the same in vain."""
        if error.reason in HOPELESS:
            self.close("path", f"the store was not reached: {error.message}")
