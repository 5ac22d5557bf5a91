"""The JSON codec: exact, or it refuses.

orjson writes the text. It is strict about keys, subclasses, integers beyond 64 bits and lone
surrogates, but it writes tuples, enums and UUIDs as if they were JSON, and NaN as ``null``. So each
piece is surveyed first, level by level, with the work per element done in C. It also reads the text,
unless that is long: then msgspec does, which keeps no document beside the value.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from math import inf, isfinite
from typing import Any

import orjson

from offload_backend.codecs.refusal import MAX_DEPTH
from offload_backend.codecs.source import Source

__all__ = ["JsonCodec", "NotJsonError"]

PIECE = 1024 * 1024
"""Bytes of text a piece aims at; only one long text or a very deep value makes one of many times that."""

LONG = 1024 * 1024
"""Bytes of text from which reading it without a document is worth an import."""

_SPLIT_DEPTH = 8
_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_TYPES = frozenset({str, int, float, bool, type(None), list, dict})
_WEIGHTS: dict[type, int] = {str: 1, list: 8, dict: 32}
"""Rough bytes of text for each character, element and entry."""
_FEW = 64


class NotJsonError(Exception):
    """Somewhere in the value is something that JSON does not hold exactly; ``explain_refusal`` finds out where."""


class JsonCodec:
    """UTF-8 JSON (RFC 8259) without white space; the keys keep their order."""

    name = "json"
    extension = "json"

    def encode(self, value: Any) -> Iterator[bytes]:
        """The text in pieces of about a mebibyte; joined, they are one JSON document.

        Raises :class:`NotJsonError`, at the latest with the last piece, unless the value comes back type for type.
        """
        try:
            yield from _pieces(value, 0)
        except (KeyError, RuntimeError) as error:  # a dict that another thread changes meanwhile
            raise NotJsonError from error

    def decode(self, source: Source) -> Any:
        """The value; Python's cyclic garbage collector rests meanwhile, since JSON holds no cycles."""
        data = source if isinstance(source, (bytes, bytearray)) else source.read(0, source.size)
        with _collector_paused():
            return orjson.loads(data) if len(data) < LONG else _decode_long(data)


def _decode_long(data: bytes | bytearray) -> Any:
    """As orjson, without a document of several times the text beside the value."""
    import msgspec

    try:
        return msgspec.json.decode(data)
    except RecursionError:  # it counts with the caller's stack, orjson has a limit of its own
        return orjson.loads(data)


def _pieces(value: Any, depth: int) -> Iterator[bytes]:
    floats = _survey(value, depth, 4 * PIECE)
    if floats is not None or depth >= _SPLIT_DEPTH or type(value) not in (list, dict):
        yield _dumps(value, depth, floats)
    elif type(value) is list:
        yield from _list_pieces(value, depth)
    else:
        yield from _dict_pieces(value, depth)


def _list_pieces(items: list[Any], depth: int) -> Iterator[bytes]:
    mark = b"["
    start, count, length = 0, 1, len(items)
    while start < length:
        batch = items[start : min(start + count, length)]
        if not batch:
            raise NotJsonError
        floats = _survey(batch, depth, 4 * PIECE)
        if floats is None and count > 1:
            count = max(1, count // 4)
            continue
        if floats is None:
            yield mark
            yield from _pieces(batch[0], depth + 1)
        else:
            text = _dumps(batch, depth, floats)
            yield mark + text[1:-1]
            count = _next_count(count, len(text))
        start += len(batch)
        mark = b","
    if len(items) != length or not length:
        raise NotJsonError
    yield b"]"


def _dict_pieces(items: dict[Any, Any], depth: int) -> Iterator[bytes]:
    mark = b"{"
    keys = list(items)
    if set(map(type, keys)) != {str}:
        raise NotJsonError
    start, count = 0, 1
    while start < len(keys):
        batch = {key: items[key] for key in keys[start : start + count]}
        floats = _survey(batch, depth, 4 * PIECE)
        if floats is None and count > 1:
            count = max(1, count // 4)
            continue
        if floats is None:
            yield mark + _dumps(dict.fromkeys(batch), depth, [])[1 : -len(b"null}")]
            yield from _pieces(items[keys[start]], depth + 1)
        else:
            text = _dumps(batch, depth, floats)
            yield mark + text[1:-1]
            count = _next_count(count, len(text))
        start += len(batch)
        mark = b","
    if len(items) != len(keys):
        raise NotJsonError
    yield b"}"


def _next_count(count: int, size: int) -> int:
    """How many elements the next piece takes, from the ``size`` that ``count`` of them had."""
    return max(1, min(4 * count, count * PIECE // size))


def _dumps(value: Any, depth: int, floats: list[Sequence[Any]] | None) -> bytes:
    """The text of a value whose survey found ``floats``, or that is yet to be surveyed."""
    try:
        text = orjson.dumps(value, option=_STRICT)
    except orjson.JSONEncodeError:
        raise NotJsonError from None
    if floats is None:
        # After orjson, which ends a cycle before it branches: this has no limit but the value's size.
        floats = _survey(value, depth, inf) or []
    # orjson wrote what is not finite as null.
    if floats and b"null" in text and not all(map(_all_finite, floats)):
        raise NotJsonError
    return text


def _survey(value: Any, depth: int, limit: float) -> list[Sequence[Any]] | None:
    """The columns that hold floats, or ``None`` for a value heavier than ``limit``.

    A column is a run of elements of one level of nesting. Raises :class:`NotJsonError` for an element
    of a type that JSON does not hold.
    """
    floats: list[Sequence[Any]] = []
    level: list[Sequence[Any]] = [[value]]
    with _collector_paused():  # else the columns' own tuples have it walk the whole value, again and again
        while level:
            depth += 1
            lists: list[Any] = []
            dicts: list[Any] = []
            for column in level:
                kinds = set(map(type, column))
                if not kinds <= _TYPES or depth > MAX_DEPTH:
                    raise NotJsonError
                if float in kinds:
                    floats.append(column)
                for kind in kinds & _WEIGHTS.keys():
                    items = column if len(kinds) == 1 else [item for item in column if type(item) is kind]
                    limit -= _WEIGHTS[kind] * sum(map(len, items))
                    if kind is not str:
                        (lists if kind is list else dicts).append(items)
            for items in dicts:
                if len(items) <= _FEW:  # the keys of many dicts are mostly short and alike, and take time to add up
                    limit -= sum(len(key) for key in chain.from_iterable(items) if type(key) is str)
            if limit < 0:
                return None
            level = [column for column in _columns(lists, dicts) if column]
    return floats


def _columns(lists: list[Any], dicts: list[Any]) -> Iterator[Sequence[Any]]:
    """The next level: columns of one type each, as far as it costs nothing to have them so."""
    if lists:
        yield list(chain.from_iterable(chain.from_iterable(lists)))
    for items in dicts:
        if len(items) > _FEW and len(set(map(len, items))) == 1:
            yield from zip(*map(dict.values, items), strict=False)
        else:
            yield list(chain.from_iterable(map(dict.values, items)))


def _all_finite(elements: Sequence[Any]) -> bool:
    floats = [item for item in elements if type(item) is float]
    return isfinite(sum(floats)) or all(map(isfinite, floats))


_decoding: set[int] = set()


@contextmanager
def _collector_paused() -> Iterator[None]:
    if not gc.isenabled():
        yield
        return
    try:
        _decoding.add(threading.get_ident())
        gc.disable()
        yield
    finally:
        gc.enable()
        _decoding.discard(threading.get_ident())


def _resume_collector() -> None:
    """In a child that was forked while another thread was decoding: nobody else would."""
    if _decoding:
        _decoding.clear()
        gc.enable()


os.register_at_fork(after_in_child=_resume_collector)
