"""Reading an object, across connections that break half way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from offload_backend.errors import StoreError
from offload_backend.stores.s3_errors import s3_error

__all__ = ["read_object"]

CHUNK = 1024 * 1024
_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_log = logging.getLogger(__name__)


def read_object(
    request: Callable[..., Any], location: str, *, attempts: int, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The object's bytes from ``start`` up to ``end``, which is not included, in chunks.

    ``request`` sends one GetObject with the parameters it is given. There is one request, unless its
    answer breaks off: then the rest of the same object is asked for, until ``attempts`` answers in a row
    have brought less than a chunk.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    offset, etag, broken = start, "", 0
    while True:
        answer = request(**_parameters(offset, end, etag))
        etag = _same_object(answer, offset, end, etag, location)
        body, began = answer["Body"], offset
        try:
            while chunk := body.read(CHUNK):
                yield chunk
                offset += len(chunk)
        except (HTTPClientError, IncompleteReadError, OSError) as error:
            broken = 1 if offset - began >= CHUNK else broken + 1
            if broken >= attempts:
                raise s3_error(error, "GetObject", location) from error
            _log.info("the answer broke off after %d bytes, asking for the rest: %s", offset, location)
            time.sleep(min(_LONGEST_PAUSE, _PAUSE * 2**broken))
        else:
            return
        finally:
            body.close()


def _parameters(offset: int, end: int | None, etag: str) -> dict[str, str]:
    parameters = {"IfMatch": etag} if etag else {}
    if offset or end is not None:
        parameters["Range"] = f"bytes={offset}-{'' if end is None else end - 1}"
    return parameters


def _same_object(answer: Any, offset: int, end: int | None, etag: str, location: str) -> str:
    """The answer's ETag, once it is sure that it holds what was asked for: not every store keeps to it."""
    answered = str(answer.get("ETag", ""))
    if etag and answered != etag:
        raise StoreError("the blob changed while it was read", reason="failed", location=location)
    ranged = offset or end is not None
    if ranged and not str(answer.get("ContentRange", "")).startswith(f"bytes {offset}-"):
        raise StoreError("the store ignores requests for a range", reason="failed", location=location)
    return answered
