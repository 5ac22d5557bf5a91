"""What a value is made of, from its structure alone: keys, kinds and shapes, never what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from offload_backend.codecs.tree.view import OBJECTS
from offload_backend.codecs.view import View

__all__ = ["Part", "outline"]

LEVELS, CHILDREN, PARTS = 4, 12, 120
LONGEST_KEY = 64
ELEMENTS = 100_000
"""So many are told apart before what holds more of them is told as a whole."""


@dataclass(frozen=True)
class Part:
    """A part of a value: the way to it as a Python expression, what it is; or how many more there are inside."""

    path: str
    what: str
    left: int = 0


def outline(view: View) -> list[Part]:
    """The first parts, a few levels deep; of a value that holds itself, too.

    Raises an ``OffloadError`` for a structure that cannot be had verified.
    """
    return list(islice(_Outline().parts(view, "value", LEVELS), PARTS))


class _Outline:
    def __init__(self) -> None:
        self._left = ELEMENTS

    def parts(self, view: View, path: str, levels: int) -> Iterator[Part]:
        """The view's own part, and those below it."""
        inside = self._inside(view)
        yield Part(path, _what(view, len(inside)))
        if not levels:
            return
        for key in inside[:CHILDREN]:
            yield from self.parts(view[key], f"{path}[{_shown(key)}]", levels - 1)
        if len(inside) > CHILDREN:
            yield Part(path, "", left=len(inside) - CHILDREN)

    def _inside(self, view: View) -> list[Any]:
        """One long list may be held in many places, and each time takes as long as it is."""
        if view.is_whole or view.shape is not None or self._left <= 0:
            return []
        inside = view.keys()
        self._left -= len(inside)
        return inside


def _what(view: View, length: int) -> str:
    facts: Any = getattr(view, "facts", None)
    kind = "dict" if view.kind == "object" else view.kind
    if view.kind in OBJECTS:
        return f"{kind} {facts[0]}"[:LONGEST_KEY]
    if view.shape is not None:
        dtype = f" {facts['dtype']}" if isinstance(facts, dict) and "dtype" in facts else ""
        return f"{kind}[{','.join(map(str, view.shape))}]{dtype}"[:LONGEST_KEY]
    return f"{kind}[{length}]" if length else kind


def _shown(key: object) -> str:
    try:
        text = repr(key)
    except ValueError:  # Python writes no integer of thousands of digits
        text = type(key).__name__
    return text if len(text) <= LONGEST_KEY else f"{text[:LONGEST_KEY]}…"
