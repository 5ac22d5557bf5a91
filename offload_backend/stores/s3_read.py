"""Reading one object of S3, through answers that break half way."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import TypeAlias, TypeVar

from offload_backend.errors import BlobCorruptError, StoreError
from offload_backend.observation.operation import note_retry
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_errors import NoAnswerError, code_and_status, s3_error
from offload_backend.stores.s3_objects import ObjectReader
from offload_backend.stores.unchanged import changed

__all__ = ["Ask", "fill_buffer", "read_object"]

CHUNK = 1024 * 1024
_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_DOUBLINGS = 8
"""Beyond the longest pause; of thousands of tries the power would be too large for a number."""
_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", re.ASCII)
_Piece = TypeVar("_Piece", bytes, memoryview)
_log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[int, int | None, str, Patience], ObjectReader]
"""Sends a GetObject: start, end (not included; ``None``: the object's), and the ETag it must have, or empty."""


def read_object(
    ask: Ask, location: str, patience: Patience, *, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The object's bytes from ``start`` up to ``end``, which is not included, in chunks.

    There is one request, unless its answer breaks off: then the rest of the same object is asked for, while the
    patience lasts, which begins anew with every chunk.
    """
    return _pieces(ask, location, patience, lambda reader, _: reader.read(CHUNK), start=start, end=end)


def fill_buffer(ask: Ask, location: str, patience: Patience, *, start: int, buffer: memoryview, total: int) -> None:
    """Fill the buffer with an object's bytes from ``start``, asking as :func:`read_object` does.

    Raises :class:`BlobCorruptError` unless the object has ``total`` bytes.
    """
    whole = start == 0 and len(buffer) == total

    def sized(offset: int, end: int | None, etag: str, patience: Patience) -> ObjectReader:
        try:
            reader = ask(offset, end, etag, patience)
        except StoreError as error:
            if code_and_status(error.__cause__)[1] == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _of_another_size(location, total) from error
            raise
        matched = _RANGE.match(reader.content_range)
        size = reader.length if offset == 0 and end is None else int(matched[2]) if matched else None
        if size not in (None, total):
            reader.close()
            raise _of_another_size(location, total)
        return reader

    def take(reader: ObjectReader, offset: int) -> memoryview:
        rest = buffer[offset - start :]
        if not rest and whole and reader.length is None and _goes_on(reader, location):
            raise _of_another_size(location, total)
        return rest[: reader.readinto(rest[:CHUNK])] if rest else rest

    end = None if whole else start + len(buffer)
    taken = _pieces(sized, location, patience, take, start=start, end=end)
    if sum(map(len, taken)) != len(buffer):
        raise _of_another_size(location, total)


def _pieces(
    ask: Ask,
    location: str,
    patience: Patience,
    take: Callable[[ObjectReader, int], _Piece],
    *,
    start: int,
    end: int | None,
) -> Iterator[_Piece]:
    """What ``take`` takes from the answers that together hold the range, until it takes nothing."""
    offset, etag, broken = start, "", 0
    while True:
        reader = _of_version(etag, partial(ask, offset, end, etag, patience), location)
        began = offset
        try:
            etag = _same_object(reader, offset, end, etag, location)
            while piece := take(reader, offset):
                left = patience.left
                yield piece
                patience.left = left  # what the reader's caller does meanwhile is no fault of the store
                offset += len(piece)
                patience.moved(offset - start)
        except NoAnswerError as error:
            broken = 1 if offset - began >= CHUNK else broken + 1
            _log.info("the answer broke off after %d bytes: %s", offset, location)
            proven = etag or offset == start  # that the rest is of the same object
            if not proven or not patience.pause(min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(broken, _DOUBLINGS))):
                raise s3_error(error, "GetObject", location) from error
            note_retry(str(error))
        else:
            return
        finally:
            reader.close()


def _of_version(etag: str, ask: Callable[[], ObjectReader], location: str) -> ObjectReader:
    try:
        return ask()
    except StoreError as error:
        if etag and code_and_status(error.__cause__)[1] == HTTPStatus.PRECONDITION_FAILED:
            raise changed(location) from error
        raise


def _same_object(reader: ObjectReader, offset: int, end: int | None, etag: str, location: str) -> str:
    """The answer's ETag, once it is sure that it holds what was asked for: not every store keeps to it."""
    if etag and reader.etag != etag:
        raise changed(location)
    ranged = offset or end is not None
    if ranged and not reader.content_range.startswith(f"bytes {offset}-"):
        raise StoreError("the store ignores requests for a range", reason="failed", location=location)
    return reader.etag


def _goes_on(reader: ObjectReader, location: str) -> bool:
    """Whether more bytes come. If the answer breaks off here, asking for the rest would prove nothing."""
    try:
        return bool(reader.read(1))
    except NoAnswerError as error:
        raise s3_error(error, "GetObject", location) from error


def _of_another_size(location: str, total: int) -> BlobCorruptError:
    return BlobCorruptError(
        f"the store has a blob of another size than the {total} bytes of its ref", location=location
    )
