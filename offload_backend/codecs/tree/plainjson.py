"""The parts of a value that JSON holds exactly are not walked in Python, but written at once, and read at once.

A part of a few kilobytes stands in the structure as it is. A longer one is the text in a buffer,
``{"$": ["json", 1, number]}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

import msgspec
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
_MANY = 256
_DEEPEST = 8
_SOUND_DEPTH = 6
"""orjson 3.12.0 to 3.13.0 write beyond their own memory from nine levels of lists on; what is deeper is walked."""
_CONTAINERS = frozenset({list, dict})
_TYPES = _CONTAINERS | {str, int, float, bool, type(None)}
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
    if depth > _DEEPEST or (depth and len(value) < _FEW):
        return None  # the walk comes to its parts, or is as fast
    surveyed = _survey(value, min(_SOUND_DEPTH, MAX_DEPTH - depth))
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
        return cast("Json", msgspec.Raw(pieces[0]))
    size = sum(map(len, pieces))
    return {"$": [JSON_TEXT.tag, JSON_TEXT.version, writer.buffer(Pieces(size, lambda: pieces))]}


def text_or_buffer(facts: list[Any], writer: Writer) -> Json:
    """Facts of many values: as they are, or if they are long, the number of the buffer with their text."""
    text = msgspec.json.encode(facts)
    return facts if len(text) < LONG_TEXT else writer.buffer(text)


def value_of_text(facts: Json, reader: Reader) -> Any:
    """What the JSON text in the buffer of this number says."""
    return JsonCodec().decode(HeldSource(bytearray(reader.buffer(exactly(facts, int)))))


class _Survey:
    """What was found: the ids of all lists and dicts below the first, a rough size, whether a key may be ``$``."""

    def __init__(self) -> None:
        self.containers: set[int] = set()
        self.weight = 0
        self.has_mark = False


def _survey(value: Any, levels: int) -> _Survey | None:
    """Level by level, the work for each element done in C; ``None`` at the first that is not JSON or too deep.

    What it may overlook, orjson or :class:`JsonCodec` refuses: it is to tell early, and what is shared.
    """
    found = _Survey()
    columns = _held(found, [value], type(value))
    while columns:
        levels -= 1
        below: list[Sequence[Any]] = []
        for column in columns:
            kinds = set(map(type, column))
            if not kinds <= _TYPES or (float in kinds and not _are_finite(_of(float, column, kinds))):
                return None
            found.weight += 4 * len(column)
            if str in kinds and found.weight < LONG_TEXT:
                found.weight += sum(map(len, _of(str, column, kinds)))
            for kind in kinds & _CONTAINERS:
                containers = _of(kind, column, kinds)
                if levels <= 0 or not _are_new(found, containers):
                    return None
                below += _held(found, containers, kind)
        columns = below
    return found


def _of(kind: type, column: Sequence[Any], kinds: set[type]) -> Sequence[Any]:
    return column if len(kinds) == 1 else [held for held in column if type(held) is kind]


def _are_new(found: _Survey, containers: Sequence[Any]) -> bool:
    identities = set(map(id, containers))
    before = len(found.containers)
    found.containers |= identities
    return len(found.containers) == before + len(containers)


def _held(found: _Survey, containers: Sequence[Any], kind: type) -> list[Sequence[Any]]:
    """What they hold. What stands in the same place of many dicts that are alike is mostly of one type: a column.

    Keys are looked at only where few dicts are; elsewhere :class:`JsonCodec` does.
    """
    if kind is list:
        held = list(chain.from_iterable(containers))
        return [held] if held else []
    if found.weight < LONG_TEXT:
        keys = list(chain.from_iterable(containers))
        found.has_mark = found.has_mark or "$" in keys
        found.weight += sum(len(key) + 3 if type(key) is str else 3 for key in keys)
    held = list(chain.from_iterable(map(dict.values, containers)))
    width, rest = divmod(len(held), len(containers))
    if len(containers) < _MANY or rest or width > _MANY:
        return [held] if held else []
    return [held[place::width] for place in range(width)]


def _are_finite(floats: Sequence[float]) -> bool:
    return isfinite(sum(floats)) or all(map(isfinite, floats))
