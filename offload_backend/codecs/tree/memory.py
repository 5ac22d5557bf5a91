"""Memory for a buffer that is read: allocated before its bytes come, and then the value's own."""

from __future__ import annotations

import ctypes
import sys

from offload_backend.memory import unset_bytes, unset_memory

__all__ = ["Memory", "NewBytes", "memory_for"]

_SMALLEST = 2
"""Shorter ``bytes`` are objects that the whole interpreter shares."""


class _Window(ctypes.c_char * (2**62)):  # type: ignore[misc]  # one type for all sizes; only a part of it is ever used
    """Memory that belongs to ``owner``, which therefore lives as long as any view of it."""

    owner: bytes


class NewBytes:
    """A ``bytes`` object that is filled in place, so that a value of a gigabyte takes one.

    This is how C makes one: ``PyBytes_FromStringAndSize(NULL, size)``, then its bytes are written, then
    others may see it. Until :meth:`finish` nobody else does, so nobody has hashed or interned it.
    """

    def __init__(self, size: int) -> None:
        self._value = unset_bytes(size)
        window = _Window.from_address(id(self._value) + bytes.__basicsize__ - 1)
        window.owner = self._value
        with memoryview(window) as everything:
            self.view = everything[:size].cast("B")

    def finish(self) -> bytes:
        """The object. The view is released, so that nothing can write to it any more."""
        value = self._value
        self.view.release()
        del self._value
        return value


class Memory:
    """A ``bytearray``, or for what cannot be done without it a ``bytes`` that is copied at last."""

    def __init__(self, size: int) -> None:
        self.array = unset_memory(size)
        self.view = memoryview(self.array)

    def finish(self) -> bytes:
        """The bytes as an object that cannot be written to."""
        return bytes(self.array)


def memory_for(size: int, *, frozen: bool) -> Memory | NewBytes:
    """Memory of ``size`` bytes: for a ``bytes`` object if ``frozen``, else for any writable view."""
    in_place = frozen and size >= _SMALLEST and sys.implementation.name == "cpython"
    return NewBytes(size) if in_place else Memory(size)
