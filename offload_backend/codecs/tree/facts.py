"""Facts of a hostile blob, looked at before they are used."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["exactly", "fields"]

_T = TypeVar("_T")


def exactly(facts: object, kind: type[_T]) -> _T:
    """The facts, which are of this type; :class:`ValueError` otherwise."""
    if type(facts) is not kind:
        raise ValueError(f"facts of type {type(facts).__name__} where a {kind.__name__} belongs")
    return facts


def fields(facts: object, count: int) -> list[Any]:
    """The facts, a list of so many; :class:`ValueError` otherwise."""
    found = exactly(facts, list)
    if len(found) != count:
        raise ValueError(f"{len(found)} facts where {count} belong")
    return found
