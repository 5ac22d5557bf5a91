"""Cutting a stream of chunks into the parts of a multipart upload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from offload_backend.blobstore import Buffer

__all__ = ["part_length", "parts_of", "size_of"]

_EVEN_PARTS = 4_800
_STEP = 500
_LARGEST = 5 * 1024**3
_SMALL = 32 * 1024


def part_length(number: int, part_size: int) -> int:
    """Bytes of part ``number``, counted from 1, of a blob whose length is not known beforehand.

    The first 4,800 parts are equal, as some S3-compatible stores want them; then they double every
    500, so that S3's limit of 10,000 parts is reached only beyond its largest object of 5 TiB.
    """
    doublings = max(0, (number - 1 - _EVEN_PARTS) // _STEP + 1)
    return min(part_size << doublings, _LARGEST)


def parts_of(chunks: Iterable[Buffer], part_size: int) -> Iterator[list[Buffer]]:
    """The same bytes in parts of :func:`part_length`, the last one shorter; none for no bytes.

    A part is a list of buffers: views of large chunks, and small chunks copied together, so that a part
    never consists of very many.
    """
    number, part = 1, _Part()
    for chunk in chunks:
        view = memoryview(chunk)
        while part.size + len(view) >= (length := part_length(number, part_size)):
            missing = length - part.size
            part.add(view[:missing])
            view = view[missing:]
            yield part.buffers
            number, part = number + 1, _Part()
        part.add(view)
    if part.size:
        yield part.buffers


def size_of(part: Iterable[Buffer]) -> int:
    """Bytes in all."""
    return sum(map(len, part))


class _Part:
    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.size = 0

    def add(self, view: memoryview) -> None:
        self.size += len(view)
        last = self.buffers[-1] if self.buffers else None
        if len(view) > _SMALL:
            self.buffers.append(view)
        elif isinstance(last, bytearray):
            last += view
        elif len(view):
            self.buffers.append(bytearray(view))
