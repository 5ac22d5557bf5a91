"""What a codec reads from: the encoded value, of which it may take all or only stretches."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Protocol

__all__ = ["HeldSource", "Source"]


class Source(Protocol):
    """The encoded value. Every byte that comes from it is verified; what is not raises an ``OffloadError``."""

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    def read(self, start: int, length: int) -> bytearray:
        """``length`` bytes from ``start``; :class:`ValueError` for a stretch that it does not have."""
        ...

    def fill(self, targets: Iterable[tuple[int, memoryview]]) -> None:
        """Fill each memory from the place beside it; in the order of the places, without overlap."""
        ...

    def pieces(self) -> Generator[bytearray, None, None]:
        """All of it in order, one piece at least. Others are made ahead once the second is asked for.

        The caller may keep and change them, and closes what it does not read to the end.
        """
        ...

    def close(self) -> None:
        """Give back its memory, before the value takes more. Nothing can be read afterwards."""
        ...


class HeldSource:
    """An encoded value that is in memory already."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """See :class:`Source`."""
        return len(self._data)

    def read(self, start: int, length: int) -> bytearray:
        """See :class:`Source`."""
        if start < 0 or length < 0 or start + length > len(self._data):
            raise ValueError("the encoded value has no such stretch")
        whole = length == len(self._data) and type(self._data) is bytearray
        return self._data if whole else bytearray(memoryview(self._data)[start : start + length])  # type: ignore[return-value]  # whole says so

    def fill(self, targets: Iterable[tuple[int, memoryview]]) -> None:
        """See :class:`Source`."""
        view = memoryview(self._data)
        for start, memory in targets:
            if start < 0 or start + len(memory) > len(view):
                raise ValueError("the encoded value has no such stretch")
            memory[:] = view[start : start + len(memory)]

    def pieces(self) -> Generator[bytearray, None, None]:
        """See :class:`Source`."""
        yield self.read(0, self.size)

    def close(self) -> None:
        """See :class:`Source`."""
        self._data = b""
