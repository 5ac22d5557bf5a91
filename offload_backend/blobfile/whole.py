"""Reading blob format 1, ``frames=zstd``: the ref holds the SHA-256 of all that is stored.

::

    skippable frame 0x184D2A50   JSON header: format version, id, whose state, key, codec, created
    zstd frame                   up to 4 MiB of encoded value, with content size and checksum
    zstd frame …
    skippable frame 0x184D2A5E   seek table of the Zstandard seekable format, all frames above in it

Nothing writes it any more. Blobs of it are read for ever.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any

import zstandard

from offload_backend.blobfile.frames import CHUNK, HEADER_MAGIC, MAX_HEADER, parse_header
from offload_backend.errors import BlobCorruptError, UnreadableBlobError

__all__ = ["read_whole"]

_MAX_WINDOW = 128 * 1024 * 1024
_READ = 1024 * 1024


def read_whole(chunks: Iterable[bytes], *, size: int, raw: int, sha256: str, blob_id: str) -> bytearray:
    """The encoded value inside a stored blob, verified against what its ref says.

    Raises :class:`BlobCorruptError` unless exactly ``size`` bytes come, with this digest, that
    decompress to exactly ``raw`` bytes under a header with this id. Memory grows with the bytes that
    really come, at most to ``raw``, whatever the ref claims.
    """
    source = _Measured(chunks, size)
    value = bytearray()
    try:
        header = _header(source)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        reader = decompressor.stream_reader(source, read_size=_READ, read_across_frames=True)  # type: ignore[arg-type]  # it calls read() alone
        with reader as frames:
            while piece := frames.read(_READ):
                value += piece
                if len(value) > raw:
                    raise BlobCorruptError(f"expected {raw} bytes after decompression, got more")
    except UnreadableBlobError:
        source.verify(sha256)  # a flipped bit is not a newer format
        raise
    except zstandard.ZstdError as error:
        source.verify(sha256)
        raise BlobCorruptError(f"frame {len(value) // CHUNK} does not decompress: {error}") from error
    source.verify(sha256)
    if len(value) != raw:
        raise BlobCorruptError(f"expected {raw} bytes after decompression, got {len(value)}")
    if header.get("id") != blob_id:
        raise BlobCorruptError(f"the header names the blob {header.get('id')!r}, the ref {blob_id!r}")
    return value


def _header(source: _Measured) -> dict[str, Any]:
    start = source.exactly(8)
    magic, length = struct.unpack("<II", start)
    plausible = magic == HEADER_MAGIC and 8 + length <= MAX_HEADER
    return parse_header(start + source.exactly(length if plausible else 0), newest=1)


class _Measured:
    """Stored bytes as a readable source that counts and digests all that pass."""

    def __init__(self, chunks: Iterable[bytes], size: int) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self._size = size
        self._got = 0
        self._sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        if not self._rest:
            self._rest = memoryview(self._next())
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    def exactly(self, size: int) -> bytes:
        """``size`` bytes, or :class:`BlobCorruptError` for a source that ends before."""
        parts = b""
        while len(parts) < size:
            piece = self.read(size - len(parts))
            if not piece:
                raise BlobCorruptError(f"expected {self._size} bytes, got {self._got}, an incomplete header")
            parts += piece
        return parts

    def verify(self, sha256: str) -> None:
        """Pass all that is left; raise :class:`BlobCorruptError` unless the bytes are the expected ones."""
        while self._next():
            continue
        if self._got != self._size:
            raise BlobCorruptError(f"expected {self._size} bytes, got {self._got}")
        if self._sha256.hexdigest() != sha256:
            raise BlobCorruptError(f"expected sha256 {sha256}, got {self._sha256.hexdigest()}")

    def _next(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                self._got += len(chunk)
                if self._got > self._size:
                    raise BlobCorruptError(f"expected {self._size} bytes, got more")
                self._sha256.update(chunk)
                return chunk
        return b""
