"""Port: what a transport sends to one bucket on the hot path. Listing and deleting do not belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from offload_backend.blobstore import Buffer
from offload_backend.stores.patience import Patience

__all__ = ["CopySource", "ObjectReader", "S3Objects", "SentPart", "Target"]


class Target(NamedTuple):
    """The object that a request is about: its ``key``, and the ``location`` that errors name."""

    key: str
    location: str


class CopySource(NamedTuple):
    """The bytes from ``start`` up to ``end``, which is not included, of the object with this key and ETag."""

    key: str
    etag: str
    start: int
    end: int


@dataclass(frozen=True)
class SentPart:
    """What S3 wants to hear again about a part when the upload is completed; checksums by S3's names."""

    number: int
    etag: str
    checksums: tuple[tuple[str, str], ...] = ()


class ObjectReader(Protocol):
    """The answer to a GetObject.

    Reading raises :class:`~offload_backend.stores.s3_errors.NoAnswerError` when the answer breaks off.
    """

    @property
    def etag(self) -> str:
        """The object's ETag, or empty."""
        ...

    @property
    def content_range(self) -> str:
        """What part of the object this is, as HTTP says it, or empty."""
        ...

    @property
    def length(self) -> int | None:
        """Bytes of this answer; ``None`` where the store does not tell."""
        ...

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none only at the end."""
        ...

    def readinto(self, buffer: memoryview) -> int:
        """Bytes written to the start of the buffer, 0 only at the end."""
        ...

    def close(self) -> None:
        """Give up what was not read."""
        ...


class S3Objects(Protocol):
    """The requests. Each is repeated while its patience lasts and that may help, and raises our errors.

    No request takes longer, whatever the store does.

    ``s3_errors.code_and_status`` tells S3's code from the cause of such an error.
    """

    def put(self, target: Target, body: Sequence[Buffer], patience: Patience) -> str:
        """PutObject: the ETag, or empty."""
        ...

    def get(self, target: Target, start: int, end: int | None, etag: str, patience: Patience) -> ObjectReader:
        """GetObject of the bytes from ``start`` up to ``end``, which is not included, or of all.

        Only if the object still has that ETag, unless it is empty.
        """
        ...

    def create(self, target: Target, patience: Patience) -> str:
        """CreateMultipartUpload: the upload id, or empty."""
        ...

    def send_part(
        self, target: Target, upload_id: str, number: int, body: Sequence[Buffer], patience: Patience
    ) -> SentPart:
        """UploadPart. The ETag may be empty."""
        ...

    def copy_part(
        self, target: Target, upload_id: str, number: int, source: CopySource, patience: Patience
    ) -> SentPart:
        """UploadPartCopy, refused unless the source still has its ETag."""
        ...

    def complete(self, target: Target, upload_id: str, parts: Sequence[SentPart], patience: Patience) -> str:
        """CompleteMultipartUpload: the ETag, or empty."""
        ...

    def abort(self, target: Target, upload_id: str, patience: Patience) -> None:
        """AbortMultipartUpload."""
        ...
