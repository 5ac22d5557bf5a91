"""Files that somebody may overwrite while they are read, as the peer overwrites a key's with every set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from offload_backend.address import parse_blob_name
from offload_backend.errors import StoreError

__all__ = ["changed", "is_written_once", "read_twice", "read_unchanged"]


def is_written_once(name: str) -> bool:
    """Whether it names a blob, which nobody writes again: there is nothing to compare, and its ref has digests."""
    return parse_blob_name(name) is not None


def read_unchanged(
    read: Callable[[], Iterable[bytes]], version: Callable[[], object | None], location: str
) -> Iterator[bytes]:
    """The chunks of one reading, and then a retryable :class:`StoreError` if the file has another version by now.

    Where ``version`` tells none, it is read as :func:`read_twice` does.
    """
    before = version()
    if before is None:
        yield from read_twice(read, location)
        return
    yield from read()
    if version() != before:
        raise changed(location)


def read_twice(read: Callable[[], Iterable[bytes]], location: str) -> Iterator[bytes]:
    """The chunks of one reading, and then a retryable :class:`StoreError` unless a second one finds the same."""
    first, second = hashlib.blake2b(), hashlib.blake2b()
    for chunk in read():
        first.update(chunk)
        yield chunk
    for chunk in read():
        second.update(chunk)
    if first.digest() != second.digest():
        raise changed(location)


def changed(location: str) -> StoreError:
    """The error for a file that is another than the one whose beginning was read."""
    return StoreError(
        "the blob changed while it was read",
        reason="failed",
        retryable=True,
        location=location,
        hint="get the key again; should it happen often, see that [workers] state_store_backend is this backend "
        "wherever the key is set: it overwrites nothing",
    )
