"""A look at a stored value: its structure first, and of the rest what is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

__all__ = ["HeldView", "View"]


class View(Protocol):
    """One value, or one inside it. ``view[key]`` is a view of what a container holds there.

    Of a NumPy array, ``view[10:20]`` are these rows. Raises :class:`KeyError` or :class:`IndexError` for what
    is not there, and an ``OffloadError`` for what cannot be had verified.
    """

    @property
    def kind(self) -> str:
        """What the value is: ``dict``, ``numpy.ndarray``."""
        ...

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of an array."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether its parts are had by reading all of them, or all of them have been read."""
        ...

    def value(self) -> Any:
        """The value, read whole."""
        ...

    def keys(self) -> list[Any]:
        """What leads on from here: keys, positions, or names of fields."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, key: Any) -> Any: ...


class HeldView:
    """A value that was read whole, because its codec has no parts."""

    is_whole = True

    def __init__(self, value: Any) -> None:
        self._value = value
        self.kind = type(value).__name__
        self.shape: tuple[int, ...] | None = getattr(value, "shape", None)

    def value(self) -> Any:
        """See :class:`View`."""
        return self._value

    def keys(self) -> list[Any]:
        """See :class:`View`."""
        if isinstance(self._value, dict):
            return list(self._value)
        return list(range(len(self._value))) if isinstance(self._value, (list, tuple, deque)) else []

    def __len__(self) -> int:
        return len(self._value) if self.shape else len(self.keys())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __getitem__(self, key: Any) -> Any:
        if isinstance(self._value, (dict, list, tuple, deque)) and not isinstance(key, slice):
            return HeldView(self._value[key])
        return self._value[key]

    def __repr__(self) -> str:
        return f"HeldView({self.kind})"
