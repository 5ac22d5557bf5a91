"""Cutting a stream of chunks into the parts of a multipart upload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["part_length", "parts_of"]

_EVEN_PARTS = 4_800
_STEP = 500
_LARGEST = 5 * 1024**3


def part_length(number: int, part_size: int) -> int:
    """Bytes of part ``number``, counted from 1, of a blob whose length is not known beforehand.

    The first 4,800 parts are equal, as some S3-compatible stores want them; then they double every
    500, so that S3's limit of 10,000 parts is reached only beyond its largest object of 5 TiB.
    """
    doublings = max(0, (number - 1 - _EVEN_PARTS) // _STEP + 1)
    return min(part_size << doublings, _LARGEST)


def parts_of(chunks: Iterable[bytes], part_size: int) -> Iterator[bytearray]:
    """The same bytes in parts of :func:`part_length`, the last one shorter; none for no bytes."""
    number, part = 1, bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while len(part) + len(view) >= (length := part_length(number, part_size)):
            missing = length - len(part)
            part += view[:missing]
            view = view[missing:]
            yield part
            number, part = number + 1, bytearray()
        part += view
    if part:
        yield part
