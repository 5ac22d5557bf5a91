"""Port: where blobs live. Adapters are in ``stores/``; ``testing/blob_store.py`` is their contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from offload_backend.errors import OffloadError, StoreError

__all__ = [
    "BlobInfo",
    "BlobStore",
    "Buffer",
    "CopiesRanges",
    "CopiesRefusedError",
    "DeleteReport",
    "KeepsUnfinished",
    "Stretch",
    "delete_told",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes; a memoryview of another format than ``B`` is never passed."""


@dataclass(frozen=True)
class BlobInfo:
    """One listed blob: ``size`` in bytes, ``modified`` by the store's own clock, with a time zone."""

    name: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class DeleteReport:
    """What a delete did: every name asked for is in exactly one of the two.

    ``deleted`` holds the names that are gone, those that never existed included; ``failed`` maps the
    others to the store's reason.
    """

    deleted: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stretch:
    """``size`` bytes of a blob to be put; ``offset`` is where another blob holds the same ones, if it does."""

    buffers: Sequence[Buffer]
    size: int
    offset: int | None = None


class BlobStore(Protocol):
    """Blobs below one location.

    Names are relative (``v1/prod/task/…``), ``/``-separated, without empty, ``.`` or ``..`` segments;
    an adapter raises :class:`~offload_backend.errors.ForeignRefError` for any other, and never
    follows a symbolic link out of the location. Methods may be called from any thread, also from one
    that runs an event loop. An instance serves the process that made it; after a fork, make another.

    Every method raises :class:`~offload_backend.errors.StoreError` when the store refuses or fails,
    after bounded retries of what is safe to retry.
    """

    @property
    def location(self) -> str:
        """URL of the root, without trailing slash, credentials or connection id; refs begin with it."""
        ...

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Store the chunks, in order, as one blob.

        A chunk may be a view of the user's own memory: it is neither changed, nor kept when ``put`` returns.

        The blob is visible whole or not at all, and durable when ``put`` returns. Whatever raises,
        ``chunks`` included, leaves nothing visible and no multipart upload behind, with two exceptions.
        When the answer to a request is lost, or a signal handler raises between the store's accepting
        it and its answer, an orphan or an unfinished upload may stay; and a store that stopped
        answering is not waited for until the upload is aborted. The one is found as an orphan, the
        other removed by a lifecycle rule; no ref ever names either. Memory in use is bounded by parts
        in flight, not by the blob.
        """
        ...

    def get(self, name: str) -> Iterator[bytes]:
        """The blob's bytes, in order, in chunks.

        Raises :class:`~offload_backend.errors.BlobNotFoundError` if there is none; may raise in the
        middle, and then nothing that was yielded may be used. Under a name that is no blob's
        (:func:`~offload_backend.address.parse_blob_name`), another client may overwrite what is there, as the
        peer does: then this is the bytes of one version, or a retryable error, at the end at the latest.
        """
        ...

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, fewer only at the end of the blob. Raises as :meth:`get`."""
        ...

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """Fill the whole buffer with the blob's bytes from ``start``, without another copy where the store can.

        Raises :class:`~offload_backend.errors.BlobCorruptError` unless the blob has exactly ``total`` bytes,
        and as :meth:`get` does; then what the buffer holds is undefined. The whole blob is one plain request.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """Every blob whose name starts with ``prefix``, or raises; never a silently shorter list."""
        ...

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """Delete the blobs; deleting a missing one is done. Failures of single names are reported, not raised.

        After the first failure because the store is unreachable or throttles, the names that remain
        are not tried but reported as failed with its reason, so that a dead store costs one wait.
        """
        ...


@runtime_checkable
class KeepsUnfinished(Protocol):
    """A store in which a killed upload leaves something behind that is not listed, as files of a directory do."""

    def remove_unfinished(self, prefix: str, before: datetime) -> int:
        """Remove such leftovers, below the prefix, that nobody has written to since ``before``; how many.

        ``before`` is by the store's own clock. What cannot be removed stays.
        """
        ...


class CopiesRefusedError(StoreError):
    """The store would not make an object of parts that it copied itself; without copies it may."""


@runtime_checkable
class CopiesRanges(Protocol):
    """A store that can make a blob of another one's bytes, which then need not be sent."""

    def put_with_copies(self, name: str, stretches: Iterable[Stretch], source: str) -> int:
        """Store the stretches, in order, as one blob, just as ``put`` would; how many bytes were copied.

        ``source`` is the blob that their offsets are about. It may be gone, or forbidden, or of a store that
        copies nothing: what cannot be copied is sent, so every stretch has its bytes. Runs that are shorter
        than 5 MiB are not worth a copy. Raises :class:`CopiesRefusedError` where copied parts were taken, and
        then not what they were for: some stores want all parts of the same size.
        """
        ...


def delete_told(delete: Callable[[Sequence[str]], DeleteReport], names: Sequence[str]) -> DeleteReport:
    """What ``delete``, a store's, reports; where it raises, that every name has failed, with the reason."""
    try:
        return delete(names)
    except OffloadError as error:
        return DeleteReport(failed=dict.fromkeys(names, error.message))
