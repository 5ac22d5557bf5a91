"""Why a value is not JSON, and where: element by element, so clarity goes before speed.

For errors of what can store nothing else, a class of one's own that holds rows; and for what is nested so deeply
that nothing faster is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from math import isfinite, isnan
from typing import Any

from offload_backend.errors import UnsupportedValueError

__all__ = ["MAX_DEPTH", "explain_refusal", "find_refusal"]

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
_Problem = tuple[str, str]


def explain_refusal(value: Any) -> UnsupportedValueError:
    """The error for the first element, in reading order, that JSON cannot hold exactly."""
    try:
        refusal = find_refusal(value)
    except RuntimeError:
        refusal = None  # a dict that changes while it is walked
    return refusal or UnsupportedValueError(
        "the value changed while it was being stored",
        path="value",
        hint="let other threads wait, or set a copy: copy.deepcopy(value)",
    )


def find_refusal(value: Any, depth: int = 0) -> UnsupportedValueError | None:
    """The same, or ``None`` if JSON holds all of it, ``depth`` levels below the value that is stored."""
    for path, element in _walk(value):
        problem = _problem(element, depth=depth + len(path) + 1)
        if problem:
            message, hint = problem
            return UnsupportedValueError(message, path=_show(path), hint=hint)
    return None


def _walk(value: Any) -> Iterator[tuple[_Path, Any]]:
    """Every element with its path; remembers only the way to it, however many there are."""
    yield (), value
    way: list[Any] = []
    levels = [_children(value)]
    while levels:
        for step, element in levels[-1]:
            yield (*way, step), element
            if type(element) in (dict, list):
                way.append(step)
                levels.append(_children(element))
                break
        else:
            levels.pop()
            del way[-1:]


def _children(element: Any) -> Iterator[tuple[Any, Any]]:
    if type(element) is dict:
        return iter(element.items())
    return enumerate(element) if type(element) is list else iter(())


def _problem(element: Any, depth: int) -> _Problem | None:
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels", "flatten the value; a cycle cannot be stored"
    return _CHECKS.get(type(element), _type_problem)(element)


def _no_problem(_: Any) -> None:
    return None


def _int_problem(number: int) -> _Problem | None:
    if -(2**63) <= number < 2**64:
        return None
    return "an int beyond 64 bits", "store text, str(value)"


def _float_problem(number: float) -> _Problem | None:
    if isfinite(number):
        return None
    name = "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return f"{name} is not JSON", "store None, or text, in its place"


def _dict_problem(entries: dict[Any, Any]) -> _Problem | None:
    return next(filter(None, map(_key_problem, entries)), None)


def _text_problem(text: str) -> _Problem | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate is not UTF-8", "encode the text with errors='replace' first"
    return None


def _key_problem(key: Any) -> _Problem | None:
    if type(key) is not str:
        return f"a dict key of type {type(key).__name__} is not JSON", "use str keys, str(key)"
    return _text_problem(key)


def _type_problem(element: Any) -> _Problem:
    kind = type(element)
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


_CHECKS: dict[type, Callable[[Any], _Problem | None]] = {
    str: _text_problem,
    int: _int_problem,
    float: _float_problem,
    dict: _dict_problem,
    list: _no_problem,
    bool: _no_problem,
    type(None): _no_problem,
}
