"""From JSON text to the value; a long list while its text still comes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson

from offload_backend.codecs.garbage import collector_paused
from offload_backend.codecs.source import Source
from offload_backend.memory import unset_memory

__all__ = ["decode_text", "decoded"]

LONG = 1024 * 1024
"""Bytes of text from which reading it without a document is worth an import."""

SLICE = 128 * 1024
"""Bytes of a list's text that are read at a time."""

_MISTAKES = 3
"""After so many marks that stood elsewhere than between two elements, no more are looked for."""

_KEY_BEYOND_ASCII = rb'[\x80-\xff][^"\\]*":'
_SAMPLE = 4096
_OPEN, _CLOSE, _COMMA = b"[],"
_LIST_STARTS = re.compile(rb'\[((?:\{"[^"\\]*":|\[*"?))')


def decoded(source: Source) -> Any:
    """The value of the source's text, as :func:`decode_text`; of a long list, never there as a whole."""
    with closing(source.pieces()) as pieces:
        first = next(pieces)
        if len(first) < source.size and (mark := _mark_between(first)):
            with collector_paused():
                return _decode_list(first, pieces, mark)
    text = first
    if len(first) < source.size:
        text = unset_memory(source.size)
        text[: len(first)] = first
        source.fill([(len(first), memoryview(text)[len(first) :])])
    source.close()
    return decode_text(text)


def decode_text(data: bytes | bytearray) -> Any:
    """The value of a JSON text that :class:`JsonCodec` wrote; :class:`ValueError` for what is no JSON."""
    with collector_paused():
        # Of keys beyond ASCII orjson makes one text for all dicts, msgspec one for each.
        if len(data) < LONG or re.search(_KEY_BEYOND_ASCII, memoryview(data)[:_SAMPLE]):
            return orjson.loads(data)
        return _decode_long(data)


def _decode_list(text: bytearray, pieces: Iterator[bytearray], mark: bytes) -> Any:
    """The value of a list's text, which is cut behind elements, so that each part can be read as a list.

    JSON is read from left to right. So if the text up to a comma, closed there, is that of a list, this comma
    stands behind an element of the list and nowhere else: nothing is mistaken for what it is not. Text that is
    not to be cut so is read as a whole.
    """
    value: list[Any] = []
    mistakes = searched = 0
    for piece in _in_slices(pieces):
        at = text.rfind(mark, searched) if mistakes < _MISTAKES else 0
        if at > 0:
            text[at] = _CLOSE
            try:
                part = orjson.loads(memoryview(text)[: at + 1])
            except orjson.JSONDecodeError:
                text[at] = _COMMA
                mistakes += 1
            else:
                value += _some(part)
                text = text[at:]
                text[0] = _OPEN
            time.sleep(0)  # offers the interpreter's lock, for which the next piece would else wait 5 ms
        searched = max(0, len(text) - len(mark) + 1)  # an element may be as long as the whole text
        text += piece
    rest = decode_text(text)
    value += _some(rest) if value else rest
    return value


def _mark_between(text: bytearray) -> bytes:
    """What stands between two elements of a list if they are alike, and seldom elsewhere; empty for no list."""
    match = _LIST_STARTS.match(text)
    return b"," + match[1] if match else b""


def _in_slices(pieces: Iterator[bytearray]) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), SLICE):
            yield view[start : start + SLICE]


def _some(part: list[Any]) -> list[Any]:
    """Before a comma, and behind one, there is an element."""
    if not part:
        raise ValueError("a comma without an element")
    return part


def _decode_long(data: bytes | bytearray) -> Any:
    """As orjson, without a document of several times the text beside the value."""
    import msgspec

    try:
        return msgspec.json.decode(data)
    except RecursionError:  # it counts with the caller's stack, orjson has a limit of its own
        return orjson.loads(data)
