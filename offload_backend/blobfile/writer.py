"""Writing a blob: cut, compress and digest, in threads beside the encoder."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

import zstandard

from offload_backend.blobfile.frames import (
    CHUNK,
    ENCRYPTED,
    FLOW,
    FORMAT,
    OWN_FRAME,
    Frame,
    digest_of,
    header_frame,
    raw_frame,
)
from offload_backend.blobfile.seal import seal_of
from offload_backend.blobstore import Buffer
from offload_backend.errors import UnsupportedValueError

if TYPE_CHECKING:
    from offload_backend.blobfile.encrypted import Encryption
    from offload_backend.crypto.source import Secret

__all__ = ["BlobFile"]

_WORTH = 0.87
"""A chunk that does not get smaller than this share of itself is stored as it is."""

_PROBED = 256 * 1024
_SAMPLE = 8 * 1024
_TASTE = 4 * 1024
_LETTERS = 7 / 8
"""The share of a chunk's middle that are no digits, if it is prose."""

_TUNED = 1
"""The level that has parameters of ours: at others, one compressor serves every chunk."""

_PROSE = {"min_match": 5, "hash_log": 14}
_FIGURES = {"min_match": 6, "hash_log": 13}
"""What Zstandard's level 1 (7 bytes, 14 bits) gains by: words repeat in shorter matches, digits in hardly any."""

_MOST_THREADS = 4
_ZLEVEL_OFF = 0


class BlobFile:
    """The bytes of a new blob, made while they are iterated, once.

    ``size`` (bytes stored), ``raw`` (bytes before compression), ``seal`` (its length), ``blake3`` (its
    digest) and ``places`` (digest, size and start of each frame) are right when the iteration is over. Holds a
    few chunks in memory, and up to four threads while there are several. Buffers may be views of the value's
    own memory.

    Raises :class:`UnsupportedValueError` when the value is larger than ``max_raw`` bytes, and
    :class:`InvalidKeyError` for names so long that no reader would accept the header. ``level`` is
    Zstandard's; with 0 nothing is compressed. With a ``secret`` the blob is encrypted.
    """

    def __init__(
        self,
        header: dict[str, Any],
        pieces: Iterable[Buffer],
        *,
        level: int,
        max_raw: int,
        secret: Secret | None = None,
    ) -> None:
        self.size = 0
        self.raw = 0
        self.seal = 0
        self.blake3 = ""
        self.places: list[tuple[bytes, int, int]] = []
        self._header = header
        self._pieces = pieces
        self._level = level
        self._max_raw = max_raw
        self._secret = secret
        self._shared: list[Frame] = []

    def __iter__(self) -> Generator[Buffer, None, None]:
        for frame in self.frames():
            yield from frame.buffers

    def frames(self) -> Generator[Frame, None, None]:
        """The same bytes frame by frame: the header, the encoded value, the seal."""
        facts: list[tuple[int, int, bytes]] = []
        for frame in self._sealed(facts):
            facts.append((frame.size, frame.raw, frame.digest))
            self.places.append((frame.digest, frame.size, self.size))
            self.size += frame.size
            yield frame
        data = seal_of(facts)
        digest = digest_of((data,))
        self.size, self.seal, self.blake3 = self.size + len(data), len(data), digest.hex()
        yield Frame((data,), len(data), 0, digest)

    def _sealed(self, facts: list[tuple[int, int, bytes]]) -> Iterator[Frame]:
        """Every frame above the seal; when one is asked for, ``facts`` holds those of all before it."""
        header = header_frame(self._header, FORMAT if self._secret is None else ENCRYPTED)
        yield header
        if self._secret is None:
            for frame in self._compressed(_cut(self._counted())):
                if any(_may_change(buffer) for buffer in frame.buffers):
                    self._shared.append(frame)
                yield frame
            return
        from offload_backend.blobfile.encrypted import Encryption

        encryption = Encryption(self._secret, header.digest)
        yield from self._compressed(_cut(self._counted()), encryption)
        yield encryption.closing(facts)

    def check_unchanged(self) -> None:
        """Raise :class:`UnsupportedValueError` if memory that was stored as it is has changed since.

        To be called when the blob is stored: an array that another thread writes to meanwhile makes a blob
        that does not fit its own seal.
        """
        if any(digest_of(frame.buffers) != frame.digest for frame in self._shared):
            raise UnsupportedValueError(
                "the value changed while it was being stored",
                path="value",
                hint="let other threads wait, or set a copy: copy.deepcopy(value)",
            )

    def _counted(self) -> Iterator[Buffer]:
        for piece in self._pieces:
            self.raw += len(piece)
            if self.raw > self._max_raw:
                raise UnsupportedValueError(
                    f"larger than {self._max_raw} bytes",
                    path="value",
                    hint="raise [offload_backend] max_value_bytes, or store the value in parts",
                )
            yield piece

    def _compressed(self, chunks: Iterator[Buffer], encryption: Encryption | None = None) -> Iterator[Frame]:
        """Each chunk's frame, in order. Where there are several, threads make some while the next is cut."""
        make = _FrameMaker(self._level, encryption)
        first, second = next(chunks, b""), next(chunks, b"")
        if not second:
            if first:
                yield make(1, first)
            return
        early = iter((first, second))
        del first, second  # held by nothing but what still needs them
        threads = threads_for(_MOST_THREADS)
        with ThreadPoolExecutor(threads, "offload-compress") as pool:
            waiting: deque[Future[Frame]] = deque()
            for number, chunk in enumerate(chain(early, chunks), start=1):
                waiting.append(pool.submit(make, number, chunk))
                if len(waiting) >= threads:  # as many work already, and the encoder would only get in their way
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def threads_for(most: int) -> int:
    """How many threads of pure work this machine has a use for."""
    try:
        return min(most, len(os.sched_getaffinity(0)))
    except AttributeError:  # not everywhere
        return min(most, os.cpu_count() or 1)


class _FrameMaker:
    """Makes frames of chunks, in any thread. ``number`` is the frame's in the blob, whose header is number 0."""

    def __init__(self, level: int, encryption: Encryption | None) -> None:
        self._level = level
        self._encryption = encryption
        self._threads = threading.local()

    def __call__(self, number: int, chunk: Buffer) -> Frame:
        buffers = self._compress(chunk) or raw_frame(memoryview(chunk))
        if self._encryption is not None:
            buffers = self._encryption.frame(number, buffers)
        return Frame(buffers, sum(map(len, buffers)), len(chunk), digest_of(buffers))

    def _compress(self, chunk: Buffer) -> tuple[Buffer, ...]:
        """The chunk in a compressed frame, or nothing if that is not worth it."""
        if self._level == _ZLEVEL_OFF:
            return ()
        compressor = self._compressor(self._level == _TUNED and _is_prose(chunk))
        if len(chunk) >= _PROBED and not self._paid() and not _pays(compressor, chunk):
            return ()
        # Of memory that changes meanwhile, the compressor might make a frame that nothing reads.
        data = compressor.compress(bytes(chunk) if _may_change(chunk) else chunk)
        self._threads.paid = len(data) < len(chunk) * _WORTH
        return (data,) if self._threads.paid else ()

    def _paid(self) -> bool:
        """Whether compressing did pay the last time: then it mostly does again, and asking takes time, too."""
        return getattr(self._threads, "paid", False)

    def _compressor(self, prose: bool) -> zstandard.ZstdCompressor:
        name = "prose" if prose else "figures"
        found: zstandard.ZstdCompressor | None = getattr(self._threads, name, None)
        if found is None:
            found = _new_compressor(self._level, _PROSE if prose else _FIGURES)
            setattr(self._threads, name, found)
        return found


def _pays(compressor: zstandard.ZstdCompressor, chunk: Buffer) -> bool:
    """Whether samples from begin, middle and end of the chunk promise that compressing does."""
    view = memoryview(chunk)
    starts = (0, (len(view) - _SAMPLE) // 2, len(view) - _SAMPLE)
    samples = b"".join(view[start : start + _SAMPLE] for start in starts)
    return len(compressor.compress(samples)) < len(samples) * _WORTH


def _is_prose(chunk: Buffer) -> bool:
    """Whether there are few digits about the middle. The chunk alone decides, so equal chunks make equal frames."""
    middle = len(chunk) // 2
    taste = bytes(memoryview(chunk)[max(0, middle - _TASTE // 2) : middle + _TASTE // 2])
    return len(taste.translate(None, b"0123456789")) > len(taste) * _LETTERS


def _new_compressor(level: int, tuned: dict[str, int]) -> zstandard.ZstdCompressor:
    if level != _TUNED:  # then Zstandard's own parameters, which fit the size of each chunk
        return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, write_checksum=True, write_content_size=True, **tuned
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _may_change(buffer: Buffer) -> bool:
    return type(buffer) is not bytes and not (type(buffer) is memoryview and type(buffer.obj) is bytes)


def _cut(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same bytes in chunks: of ``CHUNK`` where a piece is so large, of ``FLOW`` where small ones come."""
    waiting: list[Buffer] = []
    held = 0
    for piece in pieces:
        if len(piece) >= (OWN_FRAME if type(piece) is memoryview else CHUNK) and type(piece) is not bytearray:
            if held:
                yield _joined(waiting)
                held = 0
            view = memoryview(piece)
            for start in range(0, len(view), CHUNK):
                yield view[start : start + CHUNK]
            continue
        # What a producer yields it may use again; bytes it cannot, and a large view is of the value's own memory.
        part: Buffer = piece if type(piece) is bytes else bytes(piece)
        while held + len(part) >= FLOW:
            view, missing = memoryview(part), FLOW - held
            waiting.append(view[:missing])
            held, part = 0, view[missing:]
            yield _joined(waiting)
        if part:
            waiting.append(part)
            held += len(part)
    if held:
        yield _joined(waiting)


def _joined(parts: list[Buffer]) -> bytes:
    """The bytes of all parts, of which the list then holds none: who waits for the next chunk holds none either."""
    data = b"".join(parts)
    parts.clear()
    return data
