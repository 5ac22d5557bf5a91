"""From a stored frame to the stretch of the encoded value that it holds."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from offload_backend.blobfile.frames import CHUNK, digest_of, holds
from offload_backend.blobfile.seal import Place
from offload_backend.errors import BlobCorruptError

__all__ = ["Target", "decompress", "verify"]

Target = tuple[int, memoryview]
"""Where a stretch begins, and the memory that gets it."""


def verify(frame: memoryview, place: Place) -> None:
    """Raise :class:`BlobCorruptError` unless the frame is the one that the seal speaks of."""
    if digest_of((frame,)) != place.digest:
        raise BlobCorruptError(f"the {place.size} bytes from {place.start} are not those that were written")


def decompress(frame: memoryview, place: Place, pieces: Sequence[Target]) -> None:
    """Fill each piece, which begins so far into the frame's content."""
    whole = len(pieces) == 1 and len(pieces[0][1]) == place.raw
    content = pieces[0][1] if whole else memoryview(bytearray(place.raw))
    done = 0
    try:
        if holds(frame, place.raw):
            decompressor = zstandard.ZstdDecompressor(max_window_size=CHUNK)
            reader = decompressor.stream_reader(frame, read_size=len(frame))
            while done < place.raw and (got := reader.readinto(content[done:])):
                done += got
    except zstandard.ZstdError as error:
        raise BlobCorruptError(f"the frame at {place.start} does not decompress: {error}") from error
    if done != place.raw:
        raise BlobCorruptError(
            f"the frame at {place.start} does not hold the {place.raw} bytes that its seal states"
        )
    if not whole:
        for start, memory in pieces:
            memory[:] = content[start : start + len(memory)]
