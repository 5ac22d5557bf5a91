"""The parts of a value that JSON holds exactly are not walked in Python, but written at once, and read at once.

A part of a few kilobytes stands in the structure as it is. A longer one is the text in a buffer,
``{"$": ["json", 1, number]}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

import orjson

from offload_backend.codecs.json import JsonCodec, NotJsonError
from offload_backend.codecs.refusal import MAX_DEPTH
from offload_backend.codecs.source import HeldSource
from offload_backend.codecs.tree.facts import exactly
from offload_backend.codecs.tree.kinds import Json, Pieces, Reader, Writer

if TYPE_CHECKING:
    from offload_backend.codecs.tree.writing import TreeWriter

__all__ = ["JSON_TEXT", "node_of_json", "text_or_buffer", "value_of_text"]

LONG_TEXT = 4096
"""Bytes of text that go into a buffer."""

_FEW = 8
_DEEPEST = 8
_TYPES = frozenset({str, int, float, bool, type(None), list, dict})
_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


class JsonText:
    """A list or dict as the JSON text that is in a buffer. It holds no nodes."""

    tag = "json"
    version = 1
    module = ""
    needs = ""

    def accepts(self, value: object) -> bool:  # only node_of_json knows
        return False

    def encode(self, value: Any, writer: Writer) -> Json:
        raise NotImplementedError

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        value = value_of_text(facts, reader)
        if type(value) not in (list, dict):
            raise ValueError("a JSON text that is neither a list nor a dict")
        return value

    def empty(self, facts: Json, version: int, reader: Reader) -> Any:
        return self.decode(facts, version, reader)

    def fill(self, value: Any, facts: Json, version: int, reader: Reader) -> None:
        """Nothing: no part of it can refer to the whole."""


JSON_TEXT = JsonText()


def node_of_json(value: Any, writer: TreeWriter) -> Json:
    """The node of a list or dict that is JSON through and through and shares nothing; else ``None``."""
    depth = len(writer.path)
    if depth > _DEEPEST or (depth > 1 and len(value) < _FEW):
        return None  # the walk comes to its parts, or is as fast
    surveyed = _survey(value, MAX_DEPTH - depth)
    if surveyed is None or not writer.are_new(surveyed.containers):
        return None
    try:
        short = surveyed.weight < LONG_TEXT
        if short and surveyed.has_mark:
            return None  # as it is, it would be taken for a node
        pieces = [orjson.dumps(value, option=_STRICT)] if short else list(JsonCodec().encode(value))
    except (orjson.JSONEncodeError, NotJsonError):  # a lone surrogate
        return None
    writer.meet(surveyed.containers, value)
    if short:
        return cast("Json", orjson.Fragment(pieces[0]))
    size = sum(map(len, pieces))
    return {"$": [JSON_TEXT.tag, JSON_TEXT.version, writer.buffer(Pieces(size, lambda: pieces))]}


def text_or_buffer(facts: list[Any], writer: Writer) -> Json:
    """Facts of many values: as they are, or if they are long, the number of the buffer with their text."""
    text = orjson.dumps(facts)
    return facts if len(text) < LONG_TEXT else writer.buffer(text)


def value_of_text(facts: Json, reader: Reader) -> Any:
    """What the JSON text in the buffer of this number says."""
    return JsonCodec().decode(HeldSource(bytearray(reader.buffer(exactly(facts, int)))))


class _Survey:
    """What was found: the ids of all lists and dicts below the first, a rough size, whether a key is ``$``."""

    def __init__(self) -> None:
        self.containers: set[int] = set()
        self.weight = 0
        self.has_mark = False


def _survey(value: Any, levels: int) -> _Survey | None:
    """Level by level, the work for each element done in C; ``None`` at the first that is not JSON or too deep."""
    found = _Survey()
    level: list[Sequence[Any]] = list(
        _below(found, [value] if type(value) is list else [], [value] if type(value) is dict else [])
    )
    if found.weight < 0:
        return None
    while level:
        levels -= 1
        deeper: list[Sequence[Any]] = []
        for column in level:
            kinds = set(map(type, column))
            if not kinds <= _TYPES or not _are_exact(column, kinds):
                return None
            found.weight += 4 * len(column)
            if str in kinds:
                found.weight += sum(map(len, _of(str, column, kinds)))
            lists, dicts = _of(list, column, kinds), _of(dict, column, kinds)
            deep = levels <= 0 and (lists or dicts)
            if deep or not _are_new(found, lists) or not _are_new(found, dicts):
                return None
            deeper += _below(found, lists, dicts)
            if found.weight < 0:
                return None
        level = deeper
    return found


def _of(kind: type, column: Sequence[Any], kinds: set[type]) -> Sequence[Any]:
    if kind not in kinds:
        return ()
    return column if len(kinds) == 1 else [item for item in column if type(item) is kind]


def _are_exact(column: Sequence[Any], kinds: set[type]) -> bool:
    if float in kinds:
        floats = _of(float, column, kinds)
        if not isfinite(sum(floats)) and not all(map(isfinite, floats)):
            return False
    if int in kinds:
        ints = _of(int, column, kinds)
        return bool(min(ints) >= -(2**63) and max(ints) < 2**64)
    return True


def _are_new(found: _Survey, containers: Sequence[Any]) -> bool:
    identities = set(map(id, containers))
    if len(identities) != len(containers) or not identities.isdisjoint(found.containers):
        return False
    found.containers |= identities
    return True


def _below(found: _Survey, lists: Sequence[Any], dicts: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The columns of the next level; a negative weight says that a key is not a text."""
    if lists:
        column = list(chain.from_iterable(lists))
        if column:
            yield column
    if dicts:
        keys = list(chain.from_iterable(dicts))
        if not set(map(type, keys)) <= {str}:
            found.weight = -(2**62)
            return
        if keys:
            distinct = set(keys)
            found.has_mark = found.has_mark or "$" in distinct
            found.weight += 4 * len(keys) + sum(map(len, distinct))
            yield list(chain.from_iterable(map(dict.values, dicts)))
