"""Memory that is filled as soon as it is there, and so need not be zeroed before."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["unset_bytes", "unset_memory"]

_WORTH_A_CALL = 256 * 1024


def unset_memory(size: int) -> bytearray:
    """A ``bytearray`` of which the caller fills every byte before anybody reads one.

    A large one comes from the system untouched: whoever fills it, in whatever thread, is the first to touch its
    pages, and what is never filled takes no memory. CPython would zero it first, in one thread, which takes as long
    as decompressing into it. This is how C makes one: ``PyByteArray_FromStringAndSize(NULL, size)``.
    """
    if size < _WORTH_A_CALL or sys.implementation.name != "cpython":
        return bytearray(size)
    made: bytearray = _made("PyByteArray_FromStringAndSize", size)
    return made


def unset_bytes(size: int) -> bytes:
    """A ``bytes`` object of two bytes and more, whose content the caller writes before anybody else sees it."""
    made: bytes = _made("PyBytes_FromStringAndSize", size)
    return made


def _made(function: str, size: int) -> Any:
    import ctypes

    # A function object of our own: what ctypes.pythonapi hands out is shared, and others set its types, too.
    prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)
    return prototype((function, ctypes.pythonapi))(None, size)
