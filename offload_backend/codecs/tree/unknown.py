"""Why a value is of no kind, and what to store instead: for the error only."""

from __future__ import annotations

import io
import types
from collections.abc import Iterator
from typing import Any

__all__ = ["why_unknown"]

_BASES = (bool, int, float, complex, str, bytes, bytearray, list, dict, tuple, set, frozenset)
_HINTS: tuple[tuple[Any, str], ...] = (
    (type, "store its name, or an object of it"),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType), "store its name, or what it returns"),
    (types.ModuleType, "store its name"),
    (BaseException, "store its text, str(error), or traceback.format_exception(error)"),
    (io.IOBase, "store what is in it, file.read(), or its path"),
    (Iterator, "store what it yields, list(value)"),
)
_OTHERWISE = "store what it is made of, as a dict or a dataclass, or register a kind for it (docs/types.md)"


def why_unknown(value: object) -> tuple[str, str]:
    """The message and the hint for a value that no kind accepts."""
    cls = type(value)
    base = next((base for base in _BASES if issubclass(cls, base)), None)
    if base is not None:
        name = base.__name__
        message = f"a {cls.__name__}, a subclass of {name}, would come back as {name}"
        return message, f"store the plain {name}, {name}(value), or register a kind for it (docs/types.md)"
    hint = next((hint for kinds, hint in _HINTS if isinstance(value, kinds)), _OTHERWISE)
    return f"{cls.__module__}.{cls.__qualname__} is not a type that can be stored".replace("builtins.", ""), hint
