"""The JSON codec: exact, or it refuses.

orjson writes and reads the text. It is strict about keys, subclasses, integers beyond 64 bits and lone
surrogates, but it writes tuples, enums and UUIDs as if they were JSON, and NaN as ``null``. So each
piece is also checked by a breadth-first walk whose work per element is done in C.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from math import isfinite
from typing import Any

import orjson

from offload_backend.codecs.refusal import MAX_DEPTH, explain_refusal

__all__ = ["JsonCodec"]

PIECE = 1024 * 1024
"""Bytes of text a piece aims at."""

_SPLIT_DEPTH = 8
_LARGE = 8192
_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_TYPES = frozenset({str, int, float, bool, type(None), list, dict})
_HEAVY = frozenset({str, list, dict})


class _NotJsonError(Exception):
    """Somewhere in the value is something that is not JSON; ``explain_refusal`` finds out where."""


class JsonCodec:
    """UTF-8 JSON (RFC 8259) without white space; the keys keep their order."""

    name = "json"
    extension = "json"

    def encode(self, value: Any) -> Iterator[bytes]:
        """The text in pieces of about a mebibyte; joined, they are one JSON document."""
        try:
            yield from _pieces(value, 0)
        except _NotJsonError:
            raise explain_refusal(value) from None

    def decode(self, data: bytes | bytearray) -> Any:
        """The value; Python's cyclic garbage collector rests meanwhile, since JSON holds no cycles."""
        with _collector_paused():
            return orjson.loads(data)


def _pieces(value: Any, depth: int) -> Iterator[bytes]:
    if depth < _SPLIT_DEPTH and _is_large(value):
        if type(value) is list:
            yield from _list_pieces(value, depth)
            return
        if type(value) is dict:
            yield from _dict_pieces(value, depth)
            return
    yield _dumps(value, depth)


def _list_pieces(items: list[Any], depth: int) -> Iterator[bytes]:
    mark = b"["
    start, count = 0, 1
    while start < len(items):
        if count == 1 and _is_large(items[start]):
            yield mark
            yield from _pieces(items[start], depth + 1)
            start += 1
        else:
            text = _dumps(items[start : start + count], depth)
            yield mark + text[1:-1]
            start += count
            count = _next_count(count, len(text))
        mark = b","
    yield b"]"


def _dict_pieces(items: dict[Any, Any], depth: int) -> Iterator[bytes]:
    mark = b"{"
    rest = iter(items.items())
    count = 1
    while batch := dict(islice(rest, count)):
        if count == 1 and _is_large(item := next(iter(batch.values()))):
            yield mark + _dumps(dict.fromkeys(batch), depth)[1 : -len(b"null}")]
            yield from _pieces(item, depth + 1)
        else:
            text = _dumps(batch, depth)
            yield mark + text[1:-1]
            count = _next_count(count, len(text))
        mark = b","
    yield b"}"


def _next_count(count: int, size: int) -> int:
    """How many elements the next piece takes, from the ``size`` that ``count`` of them had."""
    return max(1, min(4 * count, count * PIECE // size))


def _is_large(value: Any) -> bool:
    """Whether the value is worth splitting: more than some thousand elements or kilobytes of text."""
    budget = _LARGE
    stack = [value]
    while stack and budget >= 0:
        item = stack.pop()
        if type(item) is str:
            budget -= len(item) >> 5
        elif type(item) is list:
            budget -= len(item)
            stack.extend(child for child in islice(item, _LARGE) if type(child) in _HEAVY)
        elif type(item) is dict:
            budget -= len(item)
            stack.extend(child for child in islice(item.values(), _LARGE) if type(child) in _HEAVY)
    return budget < 0


def _dumps(value: Any, depth: int) -> bytes:
    try:
        text = orjson.dumps(value, option=_STRICT)
    except orjson.JSONEncodeError:
        raise _NotJsonError from None
    if not _is_exact(value, depth, non_finite=b"null" in text):
        raise _NotJsonError
    return text


def _is_exact(value: Any, depth: int, *, non_finite: bool) -> bool:
    """Whether every element has a type that JSON holds, one level of nesting after the other.

    ``non_finite`` tells whether there may be NaN or infinity, that is, whether orjson wrote a null.
    """
    level: list[Any] = [value]
    while level:
        kinds = set(map(type, level))
        depth += 1
        if not kinds <= _TYPES or depth > MAX_DEPTH:
            return False
        if non_finite and float in kinds and not _all_finite(level):
            return False
        lists = dicts = level
        if len(kinds) > 1:
            lists = [item for item in level if type(item) is list] if list in kinds else []
            dicts = [item for item in level if type(item) is dict] if dict in kinds else []
        level = []
        if list in kinds:
            level.extend(chain.from_iterable(lists))
        if dict in kinds:
            level.extend(chain.from_iterable(map(dict.values, dicts)))
    return True


def _all_finite(elements: list[Any]) -> bool:
    floats = [item for item in elements if type(item) is float]
    return isfinite(sum(floats)) or all(map(isfinite, floats))


@contextmanager
def _collector_paused() -> Iterator[None]:
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
