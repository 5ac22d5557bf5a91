"""Files of the collector that hold many entries: a header, one entry a line, a footer that proves it complete.

::

    {"offload_manifest":1,…}                     the header: which format, and what the file is about
    {"id":…}                                     one entry a line
    {"count":2,"sha256":"…"}                     the footer: how many, and the digest of all lines above it

All of it ASCII JSON in one gzip member. Written and read in a stream, in flat memory.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from offload_backend.errors import CollectorError

__all__ = ["read_header", "read_lines", "write_lines"]

_GZIP = 31
_MAX_LINE = 1024 * 1024
_PIECE = 256 * 1024


def write_lines(header: dict[str, Any], entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The file's bytes, in chunks."""
    packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    digest = hashlib.sha256()
    pending = bytearray()
    count = -1  # the header is a line, but no entry
    for entry in _chained(header, entries):
        line = _line(entry)
        digest.update(line)
        pending += packer.compress(line)
        count += 1
        if len(pending) >= _PIECE:
            yield bytes(pending)
            pending.clear()
    pending += packer.compress(_line({"count": count, "sha256": digest.hexdigest()}))
    yield bytes(pending + packer.flush())


def read_header(chunks: Iterable[bytes]) -> dict[str, Any]:
    """The header alone; what follows is neither read nor verified."""
    for line in _lines_of(chunks):
        return _object(line)
    raise _incomplete("it is empty")


def read_lines(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The header, then every entry.

    Raises :class:`CollectorError` unless the file is complete: what was yielded counts only when the iteration has
    ended without one.
    """
    digest = hashlib.sha256()
    count, waiting = -1, b""
    for line in _lines_of(chunks):
        if waiting:
            digest.update(waiting)
            count += 1
            yield _object(waiting)
        waiting = line
    footer = _object(waiting) if waiting else {}
    if footer != {"count": count, "sha256": digest.hexdigest()} or count < 0:
        raise _incomplete("its footer does not match its lines")


def _chained(header: dict[str, Any], entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield header
    yield from entries


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Each line with its line feed."""
    rest = b""
    for data in _unpacked(chunks):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > _MAX_LINE:
            raise _incomplete("a line is too long")
    if rest:
        raise _incomplete("its last line has no end")


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        for chunk in chunks:
            data = unpacker.decompress(chunk, _PIECE)
            while data:
                yield data
                data = unpacker.decompress(unpacker.unconsumed_tail, _PIECE)
    except zlib.error as error:
        raise _incomplete("it is no gzip file") from error
    if not unpacker.eof or unpacker.unused_data:
        raise _incomplete("its gzip member does not end where the file ends")


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _incomplete("a line is not JSON") from error
    if not isinstance(found, dict):
        raise _incomplete("a line is not a JSON object")
    return found


def _incomplete(why: str) -> CollectorError:
    return CollectorError(
        f"a file of the collector is not complete: {why}",
        hint="run offload gc mark again; it writes a new one",
    )
