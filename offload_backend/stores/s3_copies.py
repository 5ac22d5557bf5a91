"""Which bytes of a new blob S3 copies from an older one, and which have to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from offload_backend.blobstore import Buffer, Stretch
from offload_backend.stores.parts import part_length

__all__ = ["Piece", "pieces_of"]

SMALLEST = 5 * 1024 * 1024
"""Bytes of S3's smallest part, unless it is the last one."""
_COPIED_PARTS = 4


@dataclass
class Piece:
    """One part of an upload. ``offset`` is where the source has the same bytes; ``None``: they are sent."""

    offset: int | None = None
    buffers: list[Buffer] = field(default_factory=list)
    size: int = 0

    def add(self, buffers: Iterable[Buffer]) -> None:
        """Append the buffers, not copied."""
        for buffer in buffers:
            self.buffers.append(buffer)
            self.size += len(buffer)

    def cut(self, size: int) -> Piece:
        """Take that many bytes off the front."""
        front = Piece(self.offset)
        kept = Piece(None if self.offset is None else self.offset + size)
        for buffer in self.buffers:
            room = size - front.size
            if len(buffer) <= room:
                front.add((buffer,))
                continue
            view = memoryview(buffer)
            if room:
                front.add((view[:room],))
            kept.add((view[room:],))
        self.offset, self.buffers, self.size = kept.offset, kept.buffers, kept.size
        return front


def pieces_of(stretches: Iterable[Stretch], part_size: int) -> Iterator[Piece]:
    """The stretches as parts, which S3 takes in this order.

    All but the last have :data:`SMALLEST` bytes or more; for that, a sent piece may take bytes from the copied
    one behind it. All sizes grow with the number of parts, as :func:`part_length` says. No more than one piece
    of each kind is held.
    """
    return _Cutter(part_size).pieces(stretches)


class _Cutter:
    """``_sent`` are bytes to be sent, ``_copied`` those behind them that may be copied."""

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size
        self._number = 1
        self._sent = Piece()
        self._copied = Piece(0)

    def pieces(self, stretches: Iterable[Stretch]) -> Iterator[Piece]:
        for stretch in stretches:
            copied = self._copied
            end = None if copied.offset is None else copied.offset + copied.size
            if stretch.offset is None or stretch.offset != end:
                yield from self._end_copied()
                self._copied = Piece(stretch.offset)
            if stretch.offset is None:
                self._sent.add(stretch.buffers)
                yield from self._full()
            else:
                self._copied.add(stretch.buffers)
                yield from self._long()
        yield from self._end_copied()
        length = part_length(self._number, self._part_size)
        if self._sent.size > length:
            yield self._sent.cut(length)
        if self._sent.size:
            yield self._sent

    def _full(self) -> Iterator[Piece]:
        """What is to be sent, while enough for another part stays behind."""
        while self._sent.size >= self._length() + self._smallest():
            yield self._counted(self._sent.cut(self._length()))

    def _long(self) -> Iterator[Piece]:
        """What is to be copied, likewise."""
        while self._copied.size >= _COPIED_PARTS * self._length() + 2 * self._smallest():
            yield from self._before_copied()
            yield self._counted(self._copied.cut(_COPIED_PARTS * self._length()))

    def _end_copied(self) -> Iterator[Piece]:
        """No more bytes follow in the source: copy, if that is possible."""
        short = max(0, self._smallest() - self._sent.size) if self._sent.size else 0
        if self._copied.size - short >= self._smallest():
            yield from self._before_copied()
            yield self._counted(self._copied)
        else:
            self._sent.add(self._copied.buffers)
            yield from self._full()
        self._copied = Piece()

    def _before_copied(self) -> Iterator[Piece]:
        """What is to be sent before that, made long enough with bytes that could have been copied."""
        if self._sent.size:
            short = self._smallest() - self._sent.size
            if short > 0:
                self._sent.add(self._copied.cut(short).buffers)
            yield self._counted(self._sent)
            self._sent = Piece()

    def _counted(self, piece: Piece) -> Piece:
        self._number += 1
        return piece

    def _length(self) -> int:
        return part_length(self._number, self._part_size)

    def _smallest(self) -> int:
        return part_length(self._number, SMALLEST)
