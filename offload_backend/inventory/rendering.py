"""A tree as plain JSON for people: what JSON holds as it is, all else as an object that says so."""

from __future__ import annotations

from math import isfinite
from typing import Any

from offload_backend.codecs.tree.containers import CONTAINERS
from offload_backend.codecs.tree.leaves import LEAVES
from offload_backend.codecs.tree.view import MAPPINGS, OBJECTS
from offload_backend.codecs.view import HeldView, View
from offload_backend.errors import UnreadableBlobError

__all__ = ["rendering"]

MOST_PARTS, DEEPEST = 200_000, 200
MOST_HEX = 64
MOST_BITS = 2048
"""Of an integer that is written in decimal: of longer ones Python may refuse to, and so may those who read it."""
_TAGS: dict[type, str] = {cls: kind.tag for cls, kind in (*CONTAINERS.items(), *LEAVES.items())}
_SCALARS = ("str", "int", "float", "bool", "NoneType")
_BYTES = ("bytes", "bytearray")
_READ = {*_SCALARS, *(kind.tag for kind in LEAVES.values()), "set", "frozenset", "collections.defaultdict"}
"""Kinds that are not taken apart, and hold no more than a structure does."""


def rendering(view: View) -> Any:
    """The value as JSON can hold it. ``{"$": kind, …}`` stands for what is not JSON.

    Arrays, tables and long bytes are told by kind, type and shape, and not read. Not the way back: only ``get``
    gives the value. Raises :class:`~offload_backend.errors.UnreadableBlobError` for a value of more parts than
    anybody reads, or one that holds itself.
    """
    return _Rendering().part(view, DEEPEST)


class _Rendering:
    def __init__(self) -> None:
        self._left = MOST_PARTS

    def part(self, view: View, levels: int) -> Any:
        """What a view shows."""
        if isinstance(view, HeldView) or view.is_whole or view.kind in _READ:
            return self.value(view.value(), levels)
        self._count(levels)
        facts = getattr(view, "facts", None)
        if view.shape is not None:
            return {"$": view.kind, "dtype": facts.get("dtype") if facts else None, "shape": list(view.shape)}
        if view.kind in _BYTES:
            return self.value(view.value(), levels) if isinstance(facts, str) else {"$": view.kind}
        keys = view.keys()
        return self._taken_apart(view.kind, facts, keys, [self.part(view[key], levels - 1) for key in keys], levels)

    def _taken_apart(self, kind: str, facts: Any, keys: list[Any], parts: list[Any], levels: int) -> Any:
        if kind == "list":
            return parts
        if kind in ("object", *MAPPINGS):
            return self._mapping("dict" if kind == "object" else kind, keys, parts, levels)
        if kind in OBJECTS:
            return {"$": kind, "class": str(facts[0]), "fields": dict(zip(keys, parts, strict=True))}
        return {"$": kind, "items": parts} if keys or kind == "tuple" else {"$": kind}

    def value(self, value: Any, levels: int) -> Any:
        """What a value in memory is."""
        self._count(levels)
        kind = _TAGS.get(type(value), type(value).__name__)
        if value is None or type(value) in (bool, str) or _is_number(value):
            return value
        if isinstance(value, dict):
            parts = [self.value(part, levels - 1) for part in value.values()]
            return self._mapping(kind, list(value), parts, levels)
        if isinstance(value, (list, tuple, set, frozenset)):
            items = [self.value(part, levels - 1) for part in value]
            return items if type(value) is list else {"$": kind, "items": items}
        return {"$": kind, **_facts_of(value)}

    def _mapping(self, kind: str, keys: list[Any], parts: list[Any], levels: int) -> Any:
        if kind == "dict" and all(type(key) is str and key != "$" for key in keys):
            return dict(zip(keys, parts, strict=True))
        pairs = zip(keys, parts, strict=True)
        return {"$": kind, "items": [[self.value(key, levels - 1), part] for key, part in pairs]}

    def _count(self, levels: int) -> None:
        self._left -= 1
        if self._left < 0 or levels < 0:
            why = "holds itself, or is very deep" if levels < 0 else f"has more than {MOST_PARTS:,} parts"
            raise UnreadableBlobError(
                f"the value {why}: it is not shown as JSON",
                hint="take what is stored, offload cat --raw …, or parts of it, offload_backend.open_value(ref)",
            )


def _is_number(value: Any) -> bool:
    """Whether JSON can hold it so that all can read it."""
    if type(value) is int:
        return value.bit_length() <= MOST_BITS
    return type(value) is float and isfinite(value)


def _facts_of(value: Any) -> dict[str, Any]:
    if isinstance(value, (bytes, bytearray)):
        return {"hex": value.hex()} if len(value) <= MOST_HEX else {"length": len(value)}
    if type(value) is int:
        return {"hex": hex(value)}
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return {"dtype": str(getattr(value, "dtype", "")), "shape": [int(each) for each in shape]}
    try:
        return {"text": str(value)} if type(value) in LEAVES else {}
    except ValueError:  # a fraction of integers that Python does not write in decimal
        return {}
