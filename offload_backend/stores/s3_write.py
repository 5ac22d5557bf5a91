"""Writing one object of S3: in one request, or in parts, some of which S3 may copy from another object."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from itertools import chain

from offload_backend.blobstore import Buffer, CopiesRefusedError, Stretch
from offload_backend.errors import BlobNotFoundError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores.parts import parts_of
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_copies import Piece, pieces_of
from offload_backend.stores.s3_errors import code_and_status
from offload_backend.stores.s3_multipart import MultipartUpload, SendPart, told
from offload_backend.stores.s3_objects import CopySource, S3Objects, SentPart, Target

__all__ = ["Copying", "write_object"]

_LOST = frozenset({"unreachable", "throttled"})
_log = logging.getLogger(__name__)


def write_object(
    objects: S3Objects, target: Target, chunks: Iterable[Buffer], settings: Settings, seconds: float
) -> str:
    """Write the chunks, in order; the object's ETag, or empty. One part's bytes and fewer are one request.

    ``seconds`` is the patience with each request.
    """
    parts = parts_of(chunks, settings.part_size)
    first = next(parts, [])
    second = next(parts, None)
    if second is None:
        return _put(objects, target, first, seconds)
    every_part = chain((first, second), parts)
    del first, second  # or this frame would hold two parts in memory until the last one is sent
    upload = MultipartUpload(objects, target, concurrency=settings.concurrency, seconds=seconds)
    return upload.run(_sent(objects, target, part) for part in every_part)


class Copying:
    """Writes one object, having what it can of it copied from an object with a known key and ETag."""

    def __init__(self, objects: S3Objects, target: Target, key: str, etag: str) -> None:
        self._objects = objects
        self._target = target
        self._key = key
        self._etag = etag
        self._refused = False
        self._sizes: list[int] = []

    @property
    def copied(self) -> int:
        """Bytes that were copied and not sent."""
        return sum(self._sizes)

    def write(self, stretches: Iterable[Stretch], settings: Settings, seconds: float) -> str:
        """As :func:`write_object`: a blob of no more than one part is sent whole, in one request."""
        pieces = pieces_of(stretches, settings.part_size)
        first, size = list[Piece](), 0
        for piece in pieces:
            first.append(piece)
            size += piece.size
            if size > settings.part_size:
                break
        else:
            body = [buffer for piece in first for buffer in piece.buffers]
            return _put(self._objects, self._target, body, seconds)
        upload = MultipartUpload(self._objects, self._target, concurrency=settings.concurrency, seconds=seconds)
        try:
            return upload.run(partial(self._part, piece) for piece in _each(first, pieces))
        except StoreError as error:
            if not self._sizes or error.reason != "failed" or error.retryable:
                raise
            raise CopiesRefusedError(
                error.message,
                reason="failed",
                location=error.location,
                hint="set [offload_backend] copy_unchanged = false",
            ) from error

    def _part(self, piece: Piece, upload_id: str, number: int, patience: Patience) -> SentPart:
        if piece.offset is not None and not self._refused:
            source = CopySource(self._key, self._etag, piece.offset, piece.offset + piece.size)
            try:
                sent = self._objects.copy_part(self._target, upload_id, number, source, patience)
                told(sent.etag, "ETag", "UploadPartCopy", self._target)
            except (BlobNotFoundError, StoreError) as error:
                if isinstance(error, StoreError) and error.reason in _LOST and not _failed_inside(error):
                    raise
                self._refused = True
                _log.info("nothing is copied, but sent: %s", code_and_status(error.__cause__)[0] or error.message)
            else:
                self._sizes.append(piece.size)
                return sent
        return self._objects.send_part(self._target, upload_id, number, piece.buffers, patience)


def _failed_inside(error: StoreError) -> bool:
    """Whether the store answered that it failed: some do so where they know of no copies, and take what is sent."""
    return code_and_status(error.__cause__)[1] == HTTPStatus.INTERNAL_SERVER_ERROR


def _put(objects: S3Objects, target: Target, body: Sequence[Buffer], seconds: float) -> str:
    return told(objects.put(target, body, Patience(seconds)), "ETag", "PutObject", target)


def _each(first: list[Piece], rest: Iterator[Piece]) -> Iterator[Piece]:
    while first:
        yield first.pop(0)
    yield from rest


def _sent(objects: S3Objects, target: Target, body: Sequence[Buffer]) -> SendPart:
    return lambda upload_id, number, patience: objects.send_part(target, upload_id, number, body, patience)
