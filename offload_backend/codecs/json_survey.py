"""What elements are, found out before they become text: exact, with the work for each of them done in C.

orjson refuses most of what is not JSON, but tuples, members of enums, UUIDs and its own fragments it writes as
if they were, and NaN and infinity as ``null``. A survey finds those, and bounds the text that is to come. It
goes down level by level and looks at columns: what stands in the same place of containers that are alike is
mostly of one type.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import chain, islice
from math import hypot, isfinite
from operator import length_hint
from typing import Any

from offload_backend.codecs.refusal import MAX_DEPTH

__all__ = ["LONG_TEXT", "NotJsonError", "Survey", "glance", "survey"]

LONG_TEXT = 1024
"""Characters that make a text a long one."""

_CONTAINERS = frozenset({list, dict})
_SIZED = _CONTAINERS | {str}
_TYPES = _SIZED | {int, float, bool, type(None)}

_ELEMENT = 4
"""What an element weighs; a character weighs one."""

_FEW = 64
"""More elements than that are worth a short cut."""

_MANY = 256
"""So many containers are worth columns, and so many columns are the most."""

_GLANCED_LEVELS = 4
_GLANCED = 1024
"""Elements of a level."""


class NotJsonError(Exception):
    """Somewhere in the value is something that JSON does not hold exactly; ``explain_refusal`` finds out where."""


def glance(value: Any) -> None:
    """Raise :class:`NotJsonError` if the top of a heavy value shows it; what lies further down a survey will find.

    So a dict of arrays beside long lists is told before the lists are written.
    """
    level = [value]
    for _ in range(_GLANCED_LEVELS):
        held = (
            element.values() if type(element) is dict else element
            for element in level
            if type(element) in _CONTAINERS
        )
        level = list(islice(chain.from_iterable(islice(elements, _MANY) for elements in held), _GLANCED))
        if not set(map(type, level)) <= _TYPES:
            raise NotJsonError


def survey(elements: Sequence[Any], depth: int, limit: float) -> Survey | None:
    """What the elements are, ``depth`` levels below the value; ``None`` if they weigh more than ``limit``.

    Raises :class:`NotJsonError` for what JSON does not hold. What orjson refuses, it may leave to orjson.
    """
    found = Survey(limit)
    columns = [elements] if elements else []
    while columns:
        depth += 1
        found.levels += 1
        if depth > MAX_DEPTH:
            raise NotJsonError
        below: list[Sequence[Any]] = []
        for column in columns:
            below += found.add(column)
            if found.room < 0:
                return None
        columns = below
    return found


class Survey:
    """What was found so far.

    ``room`` is the weight that is left, below zero if there was too much. ``levels`` is how deep the elements go,
    they themselves being one. ``has_long_text`` tells of texts beyond ASCII; among many short ones it may overlook
    some.
    """

    def __init__(self, room: float) -> None:
        self.room = room
        self.levels = 0
        self.has_long_text = False
        self._families: list[tuple[Sequence[Any], list[Any]]] = []
        self._floats: list[Sequence[Any]] = []
        self._nones: list[Sequence[Any]] = []
        self._has_numbers = False

    def add(self, column: Sequence[Any]) -> list[Sequence[Any]]:
        """Look at one or more elements. Returns what they hold, in columns."""
        if len(column) > _FEW and self._is_plain(column):
            return []
        kinds = set(map(type, column))
        if not kinds <= _TYPES:
            raise NotJsonError
        if float in kinds:
            self._floats.append(column)
            self._has_numbers = True
        if type(None) in kinds:
            self._nones.append(column)
        if kinds.isdisjoint(_SIZED):
            return []
        length = sum(map(len if len(kinds) == 1 else length_hint, column))
        self._weigh(column, length)
        if kinds.isdisjoint(_CONTAINERS):
            return []
        if not kinds <= _CONTAINERS:
            column = [element for element in column if type(element) in _CONTAINERS]
            length = sum(map(len, column))
        return self._held(column, length)

    def check(self, text: bytes) -> None:
        """Raise :class:`NotJsonError` unless the text, made since, is that of what was found.

        Another thread may have changed a list or dict in between; and what is not finite is ``null`` in it.
        """
        for containers, held in self._families:
            if not _unchanged(containers, held):
                raise NotJsonError
        if self._floats and _has_null(text) and not all(map(_are_finite, self._floats)):
            raise NotJsonError

    def is_sure_of(self, text: bytes) -> bool:
        """Whether each ``null`` of the text that passed the check is a ``None``, and not a number of a moment.

        What another thread changes, and changes back to the very same object, looks unchanged.
        """
        if not self._has_numbers or not _has_null(text) or _is_undisturbed():
            return True
        return text.count(b"null") == sum(column.count(None) for column in self._nones)

    def _is_plain(self, column: Sequence[Any]) -> bool:
        """Whether a short cut tells that orjson either writes the column as it is, or refuses it.

        Only what refers to nothing gets as far as the short cuts, so no code of the value's own runs: an instance
        of a class written in Python, which members of enums are, refers to that class at least.
        """
        kind = type(column[0])
        if kind not in (str, float, int, type(None)) or _references(*column):
            return False
        try:
            if kind is type(None):
                self._nones.append(column)
                return column.count(None) == len(column)
            if kind is str:
                length = sum(map(len, column))
                if length > min(self.room, _FEW * len(column)):
                    return False
                "".join(column)  # takes nothing but texts
                self.room -= length
                return True
            self._has_numbers = True
            return isfinite(hypot(*column))  # takes nothing but numbers
        except Exception:  # noqa: BLE001 - what is neither may raise anything
            return False

    def _weigh(self, column: Sequence[Any], length: int) -> None:
        self.room -= length
        if length > _FEW * len(column) and not self.has_long_text:
            texts = [element for element in column if type(element) is str]
            if not all(map(str.isascii, texts)):
                self.has_long_text = any(len(text) >= LONG_TEXT and not text.isascii() for text in texts)

    def _held(self, containers: Sequence[Any], length: int) -> list[Sequence[Any]]:
        self.room -= (_ELEMENT - 1) * length
        if self.room < 0:
            return []
        if len(containers) <= _FEW:  # the keys of many are mostly short and alike, and take time to add up
            keys = list(chain.from_iterable([element for element in containers if type(element) is dict]))
            if not set(map(type, keys)) <= {str}:
                raise NotJsonError
            self.room -= sum(map(len, keys))
        held = _references(*containers)
        self._families.append((containers, held))
        if len(containers) < _MANY:
            return [held] if held else []
        return _columns(held, len(containers))


def _columns(held: list[Any], containers: int) -> list[Sequence[Any]]:
    width, rest = divmod(len(held), containers)
    if not held or rest or width > _MANY or len(set(map(type, held[:width]))) == 1:
        return [held] if held else []
    return [held[place::width] for place in range(width)]


def _has_null(text: bytes) -> bool:
    return b"n" in text and b"null" in text  # one letter is looked for ten times as fast, and numbers have none


def _unchanged(containers: Sequence[Any], held: list[Any]) -> bool:
    try:
        return _references(*containers) == held
    except Exception:  # noqa: BLE001 - what came in may raise anything when it is compared
        return False


def _is_undisturbed() -> bool:
    """Whether there is no thread but this one and those that store and read for us, which change no value."""
    ours = sum(thread.name.startswith("offload-") for thread in threading.enumerate())
    return len(sys._current_frames()) - ours <= 1  # noqa: SLF001 - documented, if for special purposes


def _are_finite(column: Sequence[Any]) -> bool:
    floats = [element for element in column if type(element) is float]
    return isfinite(sum(floats)) or all(map(isfinite, floats))


def _references_one_by_one(*elements: Any) -> list[Any]:
    found: list[Any] = []
    for element in elements:
        if type(element) is dict:
            found += element.values()
        elif type(element) is list:
            found += element
        elif type(element) not in _TYPES:
            found.append(type(element))
    return found


def _tells_all(references: Callable[..., list[Any]]) -> bool:
    """Whether it returns what lists and dicts hold, nothing for a text or number, and something for an instance."""
    held = {None, "a", 0.5, ()}
    found = references([None, "a"], 1, {"b": 0.5, "c": ()}, "d", 2.5)
    return set(found) == held and len(found) == len(held) and bool(references(NotJsonError()))


# The interpreter's own need only tell what matters to its garbage collector; so far that is all.
_references = gc.get_referents if _tells_all(gc.get_referents) else _references_one_by_one
