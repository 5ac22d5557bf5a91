"""The file around a tree: safetensors. The first tensor, ``tree``, is the structure; the others are the buffers.

Buffers are numbered in the order of the header. They lie in another one: those first whose size is
divisible by the largest power of two, so that each begins at a multiple of its elements' size. There are
no gaps, as safetensors wants it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import orjson

from offload_backend.codecs.source import Source
from offload_backend.codecs.tree.facts import exactly
from offload_backend.codecs.tree.kinds import Buffer, Pieces
from offload_backend.errors import UnreadableBlobError

__all__ = ["Layout", "Tensor", "pieces_of", "read_layout"]

_WORDS_BY_BITS = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
    16: "U16 I16 F16 BF16",
    32: "U32 I32 F32",
    64: "U64 I64 F64 C64",
}
BITS = {word: bits for bits, words in _WORDS_BY_BITS.items() for word in words.split()}
"""The words of safetensors for what a tensor's elements are, and how many bits each takes."""

FORMAT, VERSION = "offload-tree", 1
LONGEST_HEADER = 100_000_000
"""Bytes; the limit that safetensors' own readers have."""

_ALIGNED = 64
_FIRST_READ = 64 * 1024
_MOST_DIMENSIONS = 64
_PREFIX = 8


@dataclass(frozen=True)
class Tensor:
    """One buffer on its way to the wire."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Buffer | Pieces

    @property
    def size(self) -> int:
        """Its bytes."""
        return size_of(self.data)

    def pieces(self) -> Iterator[Buffer]:
        """Its bytes as buffers; :class:`RuntimeError` if they are fewer or more, for all else would be shifted."""
        left = self.size
        for piece in self.data.make() if isinstance(self.data, Pieces) else (self.data,):
            left -= size_of(piece)
            yield piece
        if left:
            raise RuntimeError(f"the buffer {self.name!r} changed while it was being stored")


@dataclass(frozen=True)
class Layout:
    """Where things are in a file that was opened: the structure's text, and for each buffer its place and facts."""

    text: bytearray
    names: list[str]
    places: list[tuple[int, int]]
    """Begin and end, from the beginning of the file."""


def size_of(data: Buffer | Pieces) -> int:
    """How many bytes the data has."""
    if isinstance(data, Pieces):
        return data.size
    return data.nbytes if isinstance(data, memoryview) else len(data)


def pieces_of(text: bytes, tensors: list[Tensor]) -> Iterator[Buffer]:
    """The file, piece by piece: header and structure, then every buffer as it is."""
    text += b" " * (-len(text) % _ALIGNED)
    order = sorted(range(len(tensors)), key=lambda number: -_divisor(tensors[number].size))
    yield _header(len(text), tensors, order) + text
    for number in order:
        yield from tensors[number].pieces()


def _header(tree_size: int, tensors: list[Tensor], order: list[int]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": FORMAT, "version": str(VERSION)}}
    entries["tree"] = {"dtype": "U8", "shape": [tree_size], "data_offsets": [0, tree_size]}
    begins, end = {}, tree_size
    for number in order:
        begins[number], end = end, end + tensors[number].size
    for number, tensor in enumerate(tensors):
        offsets = [begins[number], begins[number] + tensor.size]
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
    text = orjson.dumps(entries)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _divisor(size: int) -> int:
    return min(size & -size, _ALIGNED) if size else _ALIGNED


def read_layout(source: Source) -> Layout:
    """What the header says, checked against itself and against the file's size.

    Raises :class:`ValueError` for what :func:`pieces_of` cannot have written, and
    :class:`~offload_backend.errors.UnreadableBlobError` for what a newer version wrote.
    """
    start = bytes(source.read(0, min(source.size, _FIRST_READ)))
    length = int.from_bytes(start[:8], "little")
    if len(start) < _PREFIX or length > min(LONGEST_HEADER, source.size - 8):
        raise ValueError("no header of a tree")
    entries = exactly(orjson.loads(_read(source, start, 8, 8 + length)), dict)
    _check_format(entries.pop("__metadata__", None))
    base = 8 + length
    places = [_place(base, entry) for entry in entries.values()]
    _check_no_gaps(places, base, source.size)
    if next(iter(entries), None) != "tree" or places[0][0] != base:
        raise ValueError("the tree is not the first tensor")
    return Layout(bytearray(_read(source, start, *places[0])), list(entries)[1:], places[1:])


def _read(source: Source, start: bytes, begin: int, end: int) -> bytes | bytearray:
    return start[begin:end] if end <= len(start) else source.read(begin, end - begin)


def _check_format(metadata: object) -> None:
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError("a safetensors file, but not one with a tree")
    if metadata.get("version") != str(VERSION):
        raise UnreadableBlobError(
            "the value is a tree of a version that this installation does not know",
            hint="upgrade offload-backend where the value is read",
        )


def _place(base: int, entry: object) -> tuple[int, int]:
    """Begin and end of a tensor, if they fit its shape."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            known = dtype in BITS and len(shape) <= _MOST_DIMENSIONS and are_naturals([begin, end, *shape])
            if known and prod(shape) * BITS[dtype] == 8 * (end - begin):
                return base + begin, base + end
    raise ValueError("the header describes an impossible tensor")


def are_naturals(numbers: Iterable[object]) -> bool:
    """Whether all are whole numbers, not negative, that fit 63 bits."""
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def _check_no_gaps(places: list[tuple[int, int]], base: int, size: int) -> None:
    at = base
    for begin, end in sorted(places):
        if begin != at:
            raise ValueError("the tensors overlap, or leave gaps")
        at = end
    if at != size:
        raise ValueError("the tensors are not all of the file")
