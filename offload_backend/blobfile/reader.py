"""Reading a sealed blob: any stretch of the encoded value, each frame verified before it is used."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from offload_backend.blobfile.frames import CHUNK, ENCRYPTED, FORMAT, parse_header
from offload_backend.blobfile.seal import Place, Seal, most_sealed_bytes
from offload_backend.blobfile.unpack import Target, decompress, verify
from offload_backend.blobfile.writer import threads_for
from offload_backend.errors import BlobCorruptError
from offload_backend.memory import unset_memory

if TYPE_CHECKING:
    from offload_backend.blobfile.encrypted import Decryption, Keys

__all__ = ["SealedBlob", "Target"]

Fetch = Callable[[int, memoryview], None]
"""Fill memory with the stored bytes from a place on."""

Confirm = Callable[[dict[str, Any]], None]
"""Raise for a header that the blob cannot have."""

Stored = Callable[[int, int], memoryview]
"""So many stored bytes from a place on, until the thread asks for others."""

WHOLE = 32 * 1024 * 1024
"""A blob of at most so many bytes is fetched by one request."""

FETCH = 8 * 1024 * 1024 + 64 * 1024
"""Stored bytes that one request of several asks for: two frames that are stored as they are, and no third."""

_MOST_THREADS = 4
_LONGEST = 32 * 1024 * 1024
"""Bytes of a piece, at most; of one frame if that has more."""

_AHEAD = 4
"""Pieces that are read before they are asked for."""

_FEW = 1024 * 1024
"""So little is not worth a thread."""


class SealedBlob:
    """A blob that a ref describes; ``size`` is that of the encoded value.

    ``verified`` has the digest, the size and the start of each frame that was found to be what the seal says,
    by its start.

    ``fetch`` reads from the store and may be called from ``concurrency`` threads at once. What is read is
    verified by the seal, and the seal by the ref. With ``keys`` the blob has to be an encrypted one, of which
    every frame is what was encrypted with one of them. Raises :class:`BlobCorruptError` for whatever is not
    what the ref pins, here and in every method, and what ``fetch`` raises; for an encrypted blob also
    :class:`WrongKeyError`, and what ``keys`` raises. ``confirm`` gets the header whenever that is read, and may
    raise.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        size: int,
        raw: int,
        seal: int,
        blake3: str,
        blob_id: str,
        concurrency: int,
        keys: Keys | None = None,
        confirm: Confirm | None = None,
    ) -> None:
        self.size = raw
        self.verified: dict[int, tuple[bytes, int, int]] = {}
        self._blob_id, self._confirm = blob_id, confirm
        self._is_held = size <= WHOLE
        if not 0 < seal <= min(size, most_sealed_bytes(raw)):
            raise BlobCorruptError(f"a blob of {size} bytes has no seal of {seal}")
        if self._is_held:
            self._stored, self._threads = _held(fetch, size), threads_for(_MOST_THREADS)
        else:
            self._stored, self._threads = _fetched(fetch), concurrency
        self._decryption: Decryption | None = None
        if keys is None:
            self.seal = Seal.parse(bytes(self._stored(size - seal, seal)), size=size, raw=raw, blake3=blake3)
            self._header, *self._places = self.seal.places
        else:
            from offload_backend.blobfile.encrypted import MOST_CLOSING, open_closing

            above = min(size - seal, MOST_CLOSING)
            end = bytes(self._stored(size - seal - above, above + seal))
            self.seal = Seal.parse(end[above:], size=size, raw=raw, blake3=blake3, encrypted=True)
            self._header, *self._places, closing = self.seal.places
            frame = end[max(above - closing.size, 0) : above]
            verify(memoryview(frame), closing)
            self._decryption = open_closing(frame, self.seal.places[:-1], keys)
        self._raw_starts = [place.raw_start for place in self._places]

    def header(self) -> dict[str, Any]:
        """The header, which names the blob that the ref names."""
        return self._checked_header(self._stored(self._header.start, self._header.size))

    def read(self, start: int, length: int) -> bytearray:
        """``length`` bytes of the encoded value from ``start``; :class:`ValueError` if it has no such stretch."""
        self._require(start, length)
        data = unset_memory(length)
        self.fill([(start, memoryview(data))])
        return data

    def fill(self, targets: Iterable[Target]) -> None:
        """Fill each target; they must come in the order of their starts and not overlap.

        Whoever reads from the start on has the header checked as well. When this has raised, nothing writes
        to the targets any more, and what they hold is undefined.
        """
        wanted = [target for target in targets if len(target[1])]
        for start, memory in wanted:
            self._require(start, len(memory))
        jobs = list(self._jobs(wanted))
        if len(jobs) == 1 or sum(len(memory) for _, memory in wanted) <= _FEW:
            for job in jobs:
                self._run(job)
            return
        with ThreadPoolExecutor(min(self._threads, len(jobs)), "offload-read") as pool:
            try:
                for each in [pool.submit(copy_context().run, self._run, job) for job in jobs]:
                    each.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def pieces(self) -> Generator[bytearray, None, None]:
        """The encoded value from its start to its end, piece by piece; the header is checked with the first.

        Once the second is asked for, others are read ahead, beside whatever the caller does with those before.
        """
        stretches = self._stretches()
        yield self._piece(*next(stretches))
        # Whoever decodes a piece takes longer than one thread takes to verify and decompress the next.
        with ThreadPoolExecutor(1 if self._is_held else self._threads, "offload-read") as pool:
            waiting: deque[Future[bytearray]] = deque()
            try:
                for start, length in stretches:
                    waiting.append(pool.submit(copy_context().run, self._piece, start, length))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def close(self) -> None:
        """Give back the memory for what is stored. Nothing can be read afterwards."""
        self._stored = _closed

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Where the pieces begin, and how long they are: whole frames, as many as one request fetches well."""
        start = end = stored = 0
        for place in self._places:
            enough = self._is_held or start == 0 or end + place.raw - start > _LONGEST
            enough = enough or stored + place.size > FETCH
            if end > start and enough:
                yield start, end - start
                start, stored = end, 0
            end, stored = end + place.raw, stored + place.size
        yield start, end - start

    def _piece(self, start: int, length: int) -> bytearray:
        data = unset_memory(length)
        for job in self._jobs([(start, memoryview(data))]):
            self._run(job)
        return data

    def _require(self, start: int, length: int) -> None:
        if start < 0 or length < 0 or start + length > self.size:
            raise ValueError("the encoded value has no such stretch")

    def _jobs(self, targets: Sequence[Target]) -> Iterator[_Job]:
        """The frames that hold any of the targets, in runs that one request fetches."""
        job = _Job()
        if not self._places or (targets and targets[0][0] == 0):
            job.frames.append((self._header, []))
        for place, pieces in self._wanted(targets):
            if job.frames and (job.end != place.start or self._enough(job, place)):
                yield job
                job = _Job()
            job.frames.append((place, pieces))
        if job.frames:
            yield job

    def _enough(self, job: _Job, place: Place) -> bool:
        """Whether the frame is too much for the job: of stored bytes, or where those are here, of work."""
        if self._is_held:
            return job.raw + place.raw > CHUNK
        return job.size + place.size > FETCH

    def _wanted(self, targets: Sequence[Target]) -> Iterator[tuple[Place, list[Target]]]:
        """Each frame that is needed, with the targets' parts in it."""
        number, pieces = -1, list[Target]()
        for start, memory in targets:
            done = 0
            while done < len(memory):
                at = bisect_right(self._raw_starts, start + done) - 1
                place = self._places[at]
                length = min(place.raw_start + place.raw - start - done, len(memory) - done)
                if at != number and pieces:
                    yield self._places[number], pieces
                    pieces = []
                number = at
                pieces.append((start + done - place.raw_start, memory[done : done + length]))
                done += length
        if pieces:
            yield self._places[number], pieces

    def _run(self, job: _Job) -> None:
        stored = self._stored(job.start, job.size)
        for place, pieces in job.frames:
            at = place.start - job.start
            frame = stored[at : at + place.size]
            if place is self._header:
                self._checked_header(frame)
            else:
                verify(frame, place)
                self.verified[place.start] = (place.digest, place.size, place.start)
                decompress(self._decrypted(frame, place), place, pieces)

    def _decrypted(self, frame: memoryview, place: Place) -> memoryview:
        if self._decryption is None:
            return frame
        return self._decryption.frame(bisect_right(self._raw_starts, place.raw_start), frame)

    def _checked_header(self, frame: memoryview) -> dict[str, Any]:
        verify(frame, self._header)
        header = parse_header(bytes(frame), FORMAT if self._decryption is None else ENCRYPTED)
        if len(frame) != 8 + int.from_bytes(frame[4:8], "little"):
            raise BlobCorruptError("the header is not alone in its frame")
        if header.get("id") != self._blob_id:
            raise BlobCorruptError(f"the header names the blob {header.get('id')!r}, the ref {self._blob_id!r}")
        if self._confirm is not None:
            self._confirm(header)
        return header


class _Job:
    """Neighbouring frames, and what is wanted of each."""

    def __init__(self) -> None:
        self.frames: list[tuple[Place, list[Target]]] = []

    @property
    def start(self) -> int:
        return self.frames[0][0].start

    @property
    def end(self) -> int:
        last = self.frames[-1][0]
        return last.start + last.size

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def raw(self) -> int:
        return sum(place.raw for place, _ in self.frames)


def _closed(_start: int, _size: int) -> memoryview:
    raise ValueError("the blob was closed")


def _held(fetch: Fetch, size: int) -> Stored:
    """All that is stored, fetched by one request."""
    held = memoryview(unset_memory(size))
    fetch(0, held)
    return lambda start, length: held[start : start + length]


def _fetched(fetch: Fetch) -> Stored:
    """A request for each asking. A thread's memory is used again: fresh memory would cost more than its use."""
    kept = threading.local()

    def stored(start: int, size: int) -> memoryview:
        memory: bytearray | None = getattr(kept, "memory", None)
        if memory is None or len(memory) < size:
            memory = kept.memory = unset_memory(size)
        view = memoryview(memory)[:size]
        fetch(start, view)
        return view

    return stored
