"""The JSON codec: exact, or it refuses.

orjson writes the text, piece by piece; a survey of what becomes a piece finds what orjson would write wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson

from offload_backend.codecs.json_reading import decoded
from offload_backend.codecs.json_survey import LONG_TEXT, NotJsonError, Survey, glance, survey
from offload_backend.codecs.refusal import find_refusal
from offload_backend.codecs.source import Source

__all__ = ["JsonCodec", "NotJsonError"]

PIECE = 120 * 1024
"""Bytes of text a piece aims at, few enough for caches and malloc, and for orjson's buffer, which doubles at powers
of two; a very deep value makes longer ones."""

_MOST = 2
"""Times a piece that what becomes one may weigh: of values alike, each weighs at most twice its text."""

_SPLIT_DEPTH = 8

_SOUND = 8
"""Levels that orjson is given at most. Releases of it (3.11.9, 3.12.0 to 3.13.0) write beyond their own memory for
lists in lists in lists, the first seen from ten levels on."""

_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_MADE_OF_TEXTS = frozenset({str, list, dict})


class JsonCodec:
    """UTF-8 JSON (RFC 8259) without white space; the keys keep their order."""

    name = "json"
    extension = "json"

    def encode(self, value: Any) -> Iterator[bytes]:
        """The text in pieces of about 120 KiB; joined, they are one JSON document.

        Raises :class:`NotJsonError`, at the latest with the last piece, unless the value comes back type for type.
        """
        try:
            yield from _pieces(value, ())
        except RuntimeError as error:  # a dict that another thread changes meanwhile
            raise NotJsonError from error

    def decode(self, source: Source) -> Any:
        """The value; Python's cyclic garbage collector rests meanwhile, since JSON holds no cycles."""
        return decoded(source)


def _pieces(value: Any, above: tuple[Any, ...]) -> Iterator[bytes]:
    """The pieces of what lies in all that is ``above``, the outermost first."""
    found = survey((value,), len(above), _MOST * PIECE)
    if found is not None:
        yield _text(value, found, len(above))
    else:
        if not above:
            glance(value)
        yield from _parts(value, above)


def _parts(value: Any, above: tuple[Any, ...]) -> Iterator[bytes]:
    """The pieces of what is too heavy for one."""
    if type(value) is str:
        yield from _pieces_of_text(value)
    elif any(value is one for one in above):  # a cycle, which would be written once for each level
        raise NotJsonError
    elif len(above) >= _SPLIT_DEPTH:
        yield _deep_text(value, len(above))
    elif type(value) is list:
        yield from _pieces_of_list(value, (*above, value))
    else:
        yield from _pieces_of_dict(value, (*above, value))


def _pieces_of_text(text: str) -> Iterator[bytes]:
    yield b'"'
    for start in range(0, len(text), PIECE):
        yield _dumps(text[start : start + PIECE])[1:-1]
    yield b'"'


def _pieces_of_list(items: list[Any], within: tuple[Any, ...]) -> Iterator[bytes]:
    mark = b"["
    start, count, length = 0, 1, len(items)
    while start < length:
        batch = items[start : min(start + count, length)]
        if not batch:
            raise NotJsonError
        found = survey(batch, len(within), _MOST * PIECE)
        if found is None and count > 1:
            count = max(1, count // 4)
            continue
        if found is None:
            yield mark
            yield from _parts(batch[0], within)
        else:
            text = _text(batch, found, len(within) - 1)
            yield b"".join((mark, memoryview(text)[1:-1]))
            count = _next_count(count, len(text))
        start += len(batch)
        mark = b","
    if len(items) != length or not length:
        raise NotJsonError
    yield b"]"


def _pieces_of_dict(items: dict[Any, Any], within: tuple[Any, ...]) -> Iterator[bytes]:
    mark = b"{"
    keys, values = list(items), list(items.values())
    if set(map(type, keys)) != {str} or len(keys) != len(values):
        raise NotJsonError
    start, count = 0, 1
    while start < len(keys):
        chosen = slice(start, start + count)
        batch = dict(zip(keys[chosen], values[chosen], strict=True))
        found = survey((batch,), len(within) - 1, _MOST * PIECE)
        if found is None and count > 1:
            count = max(1, count // 4)
            continue
        if found is None:
            yield mark + _dumps(dict.fromkeys(batch))[1 : -len(b"null}")]
            yield from _pieces(values[start], within)
        else:
            text = _text(batch, found, len(within) - 1)
            yield b"".join((mark, memoryview(text)[1:-1]))
            count = _next_count(count, len(text))
        start += len(batch)
        mark = b","
    if len(items) != len(keys):
        raise NotJsonError
    yield b"}"


def _next_count(count: int, size: int) -> int:
    """How many elements the next piece takes, from the ``size`` that ``count`` of them had."""
    return max(1, min(4 * count, count * PIECE // size))


def _text(value: Any, found: Survey, depth: int) -> bytes:
    if found.levels > _SOUND:
        return _deep_text(value, depth)
    if found.has_long_text:
        with suppress(RuntimeError):  # if the stack is full, or another thread changes a dict; see check
            value = _renewed(value)
    text = _dumps(value)
    found.check(text)
    if not found.is_sure_of(text) and orjson.loads(text) != value:
        raise NotJsonError
    return text


def _deep_text(value: Any, depth: int) -> bytes:
    """The text of a value of any weight and depth, looked at element by element; ``depth`` levels lie above it."""
    try:
        text = _deep_dumps(value)
        # Afterwards, and compared, so that what another thread changes meanwhile is noticed.
        if find_refusal(value, depth) is not None or json.loads(text) != value:
            raise NotJsonError
        return text.encode()
    except (RecursionError, TypeError, ValueError):
        raise NotJsonError from None


def _deep_dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=_STRICT)
    except orjson.JSONEncodeError:
        raise NotJsonError from None


def _renewed(value: Any) -> Any:
    """The same, with copies of the long texts beyond ASCII: orjson leaves its UTF-8 in a text while that lives."""
    if type(value) is str:
        return value if len(value) < LONG_TEXT or value.isascii() else "".join((value, ""))
    if type(value) is dict:
        return {key: _renewed(held) if type(held) in _MADE_OF_TEXTS else held for key, held in value.items()}
    if type(value) is list:
        return [_renewed(held) if type(held) in _MADE_OF_TEXTS else held for held in value]
    return value
