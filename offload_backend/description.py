"""What a value is, in a few words for people who look at its row. Never its content."""

from __future__ import annotations

from typing import Any

__all__ = ["described"]

_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
_LONGEST = 80


def described(value: Any) -> str:
    """Type, and length or shape: ``dict[3]``, ``ndarray[512,512] float32``, ``DataFrame[5000000,3]``."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(value, _SIZED):
        text = f"{kind}[{len(value)}]"
    elif isinstance(shape, tuple) and all(type(length) is int for length in shape):
        dtype = getattr(value, "dtype", None)
        text = f"{kind}[{','.join(map(str, shape))}]" + ("" if dtype is None else f" {dtype}")
    else:
        text = kind
    return text[:_LONGEST]
