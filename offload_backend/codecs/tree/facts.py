"""Facts of a hostile blob, looked at before they are used."""

from __future__ import annotations

import re
from typing import Any, TypeVar

__all__ = ["exactly", "fields", "shown", "unshared"]

_T = TypeVar("_T")
_NAME = re.compile(r"[A-Za-z0-9_.:+/-]{1,200}", re.ASCII)


def exactly(facts: object, kind: type[_T]) -> _T:
    """The facts, which are of this type; :class:`ValueError` otherwise."""
    if type(facts) is not kind:
        raise ValueError(f"facts of type {type(facts).__name__} where a {kind.__name__} belongs")
    return facts


def unshared(node: Any) -> Any:
    """The node, of a part that is copied when its whole is built. :class:`ValueError` for a reference.

    Writers have none there; with it, a few bytes would ask for a copy of much memory, and so would the next few.
    """
    if isinstance(node, dict) and isinstance(node.get("$"), list) and node["$"][:1] == ["ref"]:
        raise ValueError("a reference where none belongs")
    return node


def shown(name: str) -> str:
    """The name as a message may show it: what looks like no name of a kind or a class is left out."""
    return name if _NAME.fullmatch(name) else "part with a name that is none"


def fields(facts: object, count: int) -> list[Any]:
    """The facts, a list of so many; :class:`ValueError` otherwise."""
    found = exactly(facts, list)
    if len(found) != count:
        raise ValueError(f"{len(found)} facts where {count} belong")
    return found
