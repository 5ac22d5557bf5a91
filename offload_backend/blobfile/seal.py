"""The seal: the last bytes of a blob, which say where each frame is and what its digest is.

::

    skippable frame 0x184D2A51   the index: BLAKE3 of the header and of every frame, in order
    skippable frame 0x184D2A5E   seek table of the Zstandard seekable format 0.1.0, all frames above in it

A ref states the seal's length and BLAKE3, and so pins every byte of the blob.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from offload_backend.blobfile.frames import CHUNK, MAX_HEADER, OWN_FRAME, digest_of, skippable
from offload_backend.errors import BlobCorruptError

__all__ = ["Place", "Seal", "entries_of", "most_raw_bytes", "most_sealed_bytes", "most_stored_bytes", "seal_of"]

_INDEX_MAGIC = 0x184D2A51
_SEEK_TABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1
_BLOCK = 128 * 1024
_DIGEST = 32
_ENTRY = 8
_AROUND = 8 + 8 + 9 + _ENTRY
"""Bytes of a seal beside an index entry and a seek table entry for each frame above it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame is stored, what it decompresses to, and the digest of its stored bytes."""

    start: int
    size: int
    raw_start: int
    raw: int
    digest: bytes


@dataclass(frozen=True)
class Seal:
    """``places[0]`` is the header's; the others are the frames of the encoded value, in order.

    Of an encrypted blob, the last one is its closing frame, which holds nothing of the value.
    """

    places: tuple[Place, ...]

    @classmethod
    def parse(cls, data: bytes, *, size: int, raw: int, blake3: str, encrypted: bool = False) -> Seal:
        """The seal, which must fit a blob of ``size`` bytes that holds ``raw``, or :class:`BlobCorruptError`.

        What is consistent in itself and with its ref may still be forged, together with it: so nothing
        here makes a reader allocate more than a ref within its limits may ask for.
        """
        if (found := digest_of((data,)).hex()) != blake3:
            raise BlobCorruptError(f"expected a seal with blake3 {blake3}, got {found}")
        entries, digests = _tables(data)
        sizes, raws = [entry[0] for entry in entries], [entry[1] for entry in entries]
        if sum(sizes) != size - len(data) or sum(raws) != raw:
            raise BlobCorruptError("the seal does not fit the sizes that the ref states")
        held = raws[1:-1] if encrypted else raws[1:]
        if encrypted and (len(raws) == 1 or raws[-1]):
            raise BlobCorruptError("the seal is not that of an encrypted blob")
        if raws[0] or sizes[0] > MAX_HEADER or not all(0 < size <= CHUNK for size in held):
            raise BlobCorruptError("the seal holds an impossible frame")
        if any(most_stored_bytes(most) < stored for stored, most in entries):
            raise BlobCorruptError("the seal holds an impossible frame")
        starts = accumulate(sizes, initial=0)
        raw_starts = accumulate(raws, initial=0)
        return cls(tuple(map(Place, starts, sizes, raw_starts, raws, digests)))


def seal_of(frames: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The seal of frames, the header first: stored bytes, decompressed bytes and digest of each."""
    index = skippable(_INDEX_MAGIC, b"".join(digest for _, _, digest in frames))
    table = entries_of(frames) + struct.pack("<II", len(index), 0)
    footer = struct.pack("<IBI", len(frames) + 1, 0, _SEEKABLE_MAGIC)
    return index + skippable(_SEEK_TABLE_MAGIC, table + footer)


def entries_of(frames: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The seek table's entries for these frames."""
    return b"".join(struct.pack("<II", size, raw) for size, raw, _ in frames)


def most_stored_bytes(raw: int) -> int:
    """A size that no blob of ``raw`` bytes exceeds, however badly they compress."""
    return raw + raw // 128 + 2 * MAX_HEADER + most_sealed_bytes(raw)


def most_raw_bytes(size: int) -> int:
    """A size that nothing exceeds which so many stored bytes decompress to: 128 KiB take four at least."""
    return size // 4 * _BLOCK


def most_sealed_bytes(raw: int) -> int:
    """A size that no seal of a blob of ``raw`` bytes exceeds.

    Two frames for each mebibyte, be it a view with one of its own and what stands before the next, or small
    pieces; two for what is left; the header's, and the one that closes an encrypted blob.
    """
    return _AROUND + (_DIGEST + _ENTRY) * (2 * (raw // OWN_FRAME + 1) + 2)


def _tables(data: bytes) -> tuple[list[tuple[int, int]], list[bytes]]:
    """The entries of the seek table without the index's own, and as many digests."""
    broken = BlobCorruptError("the seal is not one that this backend wrote")
    if len(data) < _AROUND + _DIGEST + _ENTRY:
        raise broken
    count, flags, magic = struct.unpack("<IBI", data[-9:])
    above = count - 1
    if magic != _SEEKABLE_MAGIC or flags or len(data) != _AROUND + (_DIGEST + _ENTRY) * above:
        raise broken
    index = data[: 8 + _DIGEST * above]
    table = data[len(index) + 8 : -9]
    heads = struct.pack("<II", _INDEX_MAGIC, _DIGEST * above), struct.pack("<II", _SEEK_TABLE_MAGIC, len(table) + 9)
    entries = list(struct.iter_unpack("<II", table))
    if (index[:8], data[len(index) : len(index) + 8]) != heads or entries.pop() != (len(index), 0):
        raise broken
    return entries, [index[at : at + _DIGEST] for at in range(8, len(index), _DIGEST)]
