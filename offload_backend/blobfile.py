"""Blob format v1: an ordinary Zstandard file (``docs/formats.md`` has it byte by byte).

::

    skippable frame 0x184D2A50   JSON header: format version, id, whose state, key, codec, created
    zstd frame                   up to 4 MiB of encoded value, with content size and checksum
    zstd frame …
    skippable frame 0x184D2A5E   seek table of the Zstandard seekable format, all frames above in it

``zstd -d`` opens it. Frames are independent, so they can be read apart; equal chunks make equal frames.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import zstandard

from offload_backend.errors import BlobCorruptError, InvalidKeyError, UnreadableBlobError, UnsupportedValueError

__all__ = [
    "CHUNK",
    "FORMAT",
    "MAX_HEADER",
    "BlobFile",
    "header_at_start",
    "most_stored_bytes",
    "read_blob",
    "read_header",
]

FORMAT = 1
CHUNK = 4 * 1024 * 1024
"""Encoded bytes of a frame; every frame but the last holds exactly so many."""

_HEADER_MAGIC = 0x184D2A50
_SEEK_TABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1
_MAX_HEADER = 64 * 1024
MAX_HEADER = 8 + _MAX_HEADER
"""So many bytes from a blob's start hold its header whole."""
_MAX_WINDOW = 128 * 1024 * 1024
_READ = 1024 * 1024
_AHEAD = 1
"""Chunks that wait for the compressing thread while the next one is made."""


class BlobFile:
    """The bytes of a new blob, made while they are iterated, once.

    ``size`` and ``sha256`` (of the stored bytes) and ``raw`` (bytes before compression) are right
    when the iteration is over. Holds a few chunks in memory, and a thread while there are several.

    Raises :class:`UnsupportedValueError` when the value is larger than ``max_raw`` bytes, and
    :class:`InvalidKeyError` for names so long that no reader would accept the header.
    """

    def __init__(self, header: dict[str, Any], chunks: Iterable[bytes], *, level: int, max_raw: int) -> None:
        self.size = 0
        self.raw = 0
        self._sha256 = hashlib.sha256()
        self._header = header
        self._chunks = chunks
        self._level = level
        self._max_raw = max_raw

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes yielded so far."""
        return self._sha256.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        for frame in self._frames():
            self.size += len(frame)
            self._sha256.update(frame)
            yield frame

    def _frames(self) -> Iterator[bytes]:
        header = json.dumps({"offload": FORMAT, **self._header}, separators=(",", ":")).encode()
        if len(header) > _MAX_HEADER:
            raise InvalidKeyError(
                f"the key and its address take {len(header)} bytes, more than the {_MAX_HEADER} of a header",
                hint="choose shorter names",
            )
        first = _skippable(_HEADER_MAGIC, header)
        entries = [(len(first), 0)]
        yield first
        compressor = zstandard.ZstdCompressor(level=self._level, write_checksum=True, write_content_size=True)
        for length, frame in _compressed(self._counted(_rechunk(self._chunks)), compressor):
            entries.append((len(frame), length))
            yield frame
        yield _seek_table(entries)

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.raw += len(chunk)
            if self.raw > self._max_raw:
                raise UnsupportedValueError(
                    f"larger than {self._max_raw} bytes",
                    path="value",
                    hint="raise [offload_backend] max_value_bytes, or store the value in parts",
                )
            yield chunk


def most_stored_bytes(raw: int) -> int:
    """A size that no blob of ``raw`` bytes exceeds, however badly they compress."""
    return raw + raw // 128 + 2 * _MAX_HEADER


def read_blob(chunks: Iterable[bytes], *, size: int, raw: int, sha256: str, blob_id: str) -> bytearray:
    """The encoded value inside a stored blob, verified against what its ref says.

    Raises :class:`BlobCorruptError` unless exactly ``size`` bytes come, with this digest, that
    decompress to exactly ``raw`` bytes under a header with this id. Memory grows with the bytes that
    really come, at most to ``raw``, whatever the ref claims.
    """
    source = _Measured(chunks, size)
    value = bytearray()
    try:
        header = read_header(source)
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


def read_header(source: _Measured) -> dict[str, Any]:
    """The JSON header at the start of a blob."""
    magic, length = struct.unpack("<II", source.exactly(8))
    if magic != _HEADER_MAGIC or length > _MAX_HEADER:
        raise BlobCorruptError("the file does not begin with the header of a blob")
    try:
        header = json.loads(source.exactly(length))
    except (ValueError, RecursionError) as error:
        raise BlobCorruptError("the header is not JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get("offload"), int):
        raise BlobCorruptError("the header is not that of a blob")
    if header["offload"] > FORMAT:
        raise UnreadableBlobError(
            f"blob format {header['offload']} is newer than {FORMAT}, the newest this version reads",
            hint="upgrade offload-backend where the value is read",
        )
    return header


def header_at_start(start: bytes) -> dict[str, Any]:
    """The header of the blob that begins with these bytes, ``MAX_HEADER`` of them or all. Raises as read_header."""
    return read_header(_Measured([start], len(start)))


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


def _rechunk(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of exactly ``CHUNK``, the last one shorter."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK:
            yield bytes(memoryview(waiting)[:CHUNK])
            del waiting[:CHUNK]
    if waiting:
        yield bytes(waiting)


def _compressed(chunks: Iterator[bytes], compressor: zstandard.ZstdCompressor) -> Iterator[tuple[int, bytes]]:
    """Each chunk's length and frame. Where there are several, a thread compresses one while the next is made."""
    first, second = next(chunks, b""), next(chunks, b"")
    if not second:
        if first:
            yield len(first), compressor.compress(first)
        return
    with ThreadPoolExecutor(1, "offload-compress") as thread:
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        for chunk in chain((first, second), chunks):
            waiting.append((len(chunk), thread.submit(compressor.compress, chunk)))
            if len(waiting) > _AHEAD:
                length, frame = waiting.popleft()
                yield length, frame.result()
        for length, frame in waiting:
            yield length, frame.result()


def _skippable(magic: int, content: bytes) -> bytes:
    return struct.pack("<II", magic, len(content)) + content


def _seek_table(entries: list[tuple[int, int]]) -> bytes:
    """Zstandard seekable format 0.1.0: (compressed, decompressed) sizes per frame, then the footer."""
    table = b"".join(struct.pack("<II", *entry) for entry in entries)
    return _skippable(_SEEK_TABLE_MAGIC, table + struct.pack("<IBI", len(entries), 0, _SEEKABLE_MAGIC))
