"""Why a value is not JSON, and where: for the error only, so clarity goes before speed."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from math import isfinite, isnan
from typing import Any

from offload_backend.errors import UnsupportedValueError

__all__ = ["MAX_DEPTH", "explain_refusal"]

MAX_DEPTH = 254
"""Deepest nesting, orjson's limit when writing (its limit when reading is 1024)."""

_HINTS = {
    "tuple": "store a list, list(value)",
    "set": "store a sorted list, sorted(value)",
    "frozenset": "store a sorted list, sorted(value)",
    "bytes": "store text, base64.b64encode(value).decode()",
    "bytearray": "store text, base64.b64encode(value).decode()",
    "datetime": "store text, value.isoformat()",
    "date": "store text, value.isoformat()",
    "Decimal": "store text, str(value)",
    "UUID": "store text, str(value)",
    "ndarray": "store a list, value.tolist()",
}
_Path = tuple[Any, ...]


def explain_refusal(value: Any) -> UnsupportedValueError:
    """The error for the first element, in reading order, that JSON cannot hold exactly."""
    for path, element in _walk(value):
        problem = _problem(element, depth=len(path) + 1)
        if problem:
            message, hint = problem
            return UnsupportedValueError(message, path=_show(path), hint=hint)
    return UnsupportedValueError("the value changed while it was being stored", path="value")


def _walk(value: Any) -> Iterator[tuple[_Path, Any]]:
    stack: list[tuple[_Path, Any]] = [((), value)]
    while stack:
        path, element = stack.pop()
        yield path, element
        if type(element) is dict:
            stack.extend(((*path, key), child) for key, child in reversed(element.items()))
        elif type(element) is list:
            last = len(element) - 1
            stack.extend(((*path, last - n), child) for n, child in enumerate(reversed(element)))


def _problem(element: Any, depth: int) -> tuple[str, str] | None:
    kind = type(element)
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels", "flatten the value; a cycle cannot be stored"
    if kind is str:
        return _text_problem(element)
    if kind is int and not -(2**63) <= element < 2**64:
        return "an int beyond 64 bits", "store text, str(value)"
    if kind is float and not isfinite(element):
        name = "NaN" if isnan(element) else "Infinity" if element > 0 else "-Infinity"
        return f"{name} is not JSON", "store None, or text, in its place"
    if kind is dict:
        return next(filter(None, map(_key_problem, element)), None)
    if kind in (int, float, bool, type(None), list):
        return None
    return _type_problem(kind)


def _text_problem(text: str) -> tuple[str, str] | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate is not UTF-8", "encode the text with errors='replace' first"
    return None


def _key_problem(key: Any) -> tuple[str, str] | None:
    if type(key) is not str:
        return f"a dict key of type {type(key).__name__} is not JSON", "use str keys, str(key)"
    return _text_problem(key)


def _type_problem(kind: type) -> tuple[str, str]:
    base = next((c for c in (bool, int, float, str, list, dict) if issubclass(kind, c)), None)
    if base is not None:
        message = f"a {kind.__name__}, a subclass of {base.__name__}, would come back as {base.__name__}"
        hint = f"store the plain {base.__name__}, {base.__name__}(value)"
    else:
        message = f"{kind.__name__} is not JSON"
        hint = _HINTS.get(kind.__name__, "store it as a dict, list, str, int, float or bool")
    return message, "store its value, value.value" if issubclass(kind, Enum) else hint


def _show(path: _Path) -> str:
    return "value" + "".join(f"[{step if type(step) is int else _quoted(step)}]" for step in path)


def _quoted(text: str) -> str:
    """The text as a Python literal in double quotes."""
    body = repr(text)[1:-1].replace('"', '\\"')
    return f'"{body}"'
