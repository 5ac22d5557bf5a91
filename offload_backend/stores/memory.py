"""Blobs in this process's memory, for tests and trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone

from offload_backend.blobstore import BlobInfo, Buffer, DeleteReport
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, StoreError
from offload_backend.location import checked_name, checked_prefix

__all__ = ["MemoryBlobStore"]

CHUNK = 1024 * 1024


class MemoryBlobStore:
    """A blob store that ends with its process; safe to use from any thread. A fork gets a copy of its own."""

    def __init__(self, location: str = "memory://blobs") -> None:
        self._location = location
        # Used by single steps that are atomic: a lock could be held by another thread at the moment of a fork.
        self._blobs: dict[str, tuple[bytes, datetime]] = {}

    @property
    def location(self) -> str:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        return self._location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        checked_name(name)
        blob = b"".join(chunks), datetime.now(tz=timezone.utc)
        if self._blobs.setdefault(name, blob) is not blob:
            raise StoreError("the name is taken", reason="failed", location=f"{self._location}/{name}")

    def get(self, name: str) -> Iterator[bytes]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        data = self._data(name)
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0 or length < 0:
            raise ValueError("start and length are not negative")
        return self._data(name)[start : start + length]

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0:
            raise ValueError("start is not negative")
        data = memoryview(self._data(name))
        if len(data) != total or start + len(buffer) > total:
            raise BlobCorruptError(
                f"expected {max(total, start + len(buffer))} bytes, the store has {len(data)}",
                location=f"{self._location}/{name}",
            )
        buffer[:] = data[start : start + len(buffer)]

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        checked_prefix(prefix)
        for name, (data, modified) in self._blobs.copy().items():
            if name.startswith(prefix):
                yield BlobInfo(name, len(data), modified)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        wanted = tuple(dict.fromkeys(map(checked_name, names)))
        for name in wanted:
            self._blobs.pop(name, None)
        return DeleteReport(deleted=wanted)

    def _data(self, name: str) -> bytes:
        checked_name(name)
        blob = self._blobs.get(name)
        if blob is None:
            raise BlobNotFoundError("there is no such blob", location=f"{self._location}/{name}")
        return blob[0]
