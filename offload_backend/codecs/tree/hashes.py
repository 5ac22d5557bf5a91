"""What hashing costs. Sets and dicts are quick for most elements, and for some that can be chosen they are not.

Numbers, and tuples of them, have the same hashes in every process, so that a few megabytes of elements with one
hash would keep a worker busy for hours. And the hash of a tuple that holds another one twice, which holds another
one twice and so on, takes twice as long for each; so does that of an instance with a hash of its fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["MOST_ALIKE", "Weights", "are_spread"]

MOST_ALIKE = 1000
"""So many elements of one hash take milliseconds."""

_RANDOM = frozenset({str, bytes})
"""Types whose hashes differ from process to process."""

_HEAVIEST = 10**9
"""Steps of all hashes of a value; some seconds."""

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class that was made by a ``class`` statement has it."""


def are_spread(elements: list[Any]) -> bool:
    """Whether no more than ``MOST_ALIKE`` of the elements have one hash. Raises what hashing them raises."""
    if len(elements) <= MOST_ALIKE or _RANDOM.issuperset(map(type, elements)):
        return True
    hashes = list(map(hash, elements))
    spare = len(hashes) - len(set(hashes))
    return spare < MOST_ALIKE or max(Counter(hashes).values()) <= MOST_ALIKE


class Weights:
    """How many steps hashes take, what elements are made of counted as often as a hash meets it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Any]] = {}
        self._is_shared = False
        self._spent = 0

    def note(self, value: Any) -> None:
        """To be called with every object that others may share, once it is made."""
        self._is_shared = self._is_shared or bool(_hashed_with(value))

    def check(self, elements: list[Any]) -> None:
        """Raise :class:`ValueError` where hashing these, and what was checked before, would take too long."""
        if not self._is_shared:
            return  # what nothing shares takes as many steps as it has bytes
        self._spent += sum(map(self._weight, elements))
        if self._spent > _HEAVIEST:
            raise ValueError("elements that hold the same ones too many times, and are to be hashed")

    def _weight(self, value: Any) -> int:
        """The steps of its hash. Not by recursion: such a value may be deep, and is known to be what it seems."""
        waiting: list[tuple[Any, Sequence[Any]]] = [(value, ())]
        while waiting:
            one, parts = waiting.pop()
            if parts:
                steps = 1 + sum(map(self._steps, parts))
                self._known[id(one)] = min(steps, _HEAVIEST + 1), one
            elif id(one) not in self._known and (parts := _hashed_with(one)):
                self._known[id(one)] = 1, one  # held, so that its id stays its own; and met again, it is in a cycle
                waiting.append((one, parts))
                waiting += [(part, ()) for part in parts]
        return self._steps(value)

    def _steps(self, value: Any) -> int:
        return self._known.get(id(value), (1, None))[0]


def _hashed_with(value: Any) -> Sequence[Any]:
    """What a hash of the value goes through and does not remember; of a class with its own hash, all it holds."""
    cls = type(value)
    if cls is slice:
        return value.start, value.stop, value.step
    if isinstance(value, tuple):
        return value
    own = getattr(cls, "__hash__", None)
    if not cls.__flags__ & _HEAP_TYPE or own is None or own is object.__hash__:
        return ()
    slots = {name for base in cls.__mro__ for name in _slots(base)}
    return *getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)


def _slots(cls: type) -> Iterable[str]:
    names = cls.__dict__.get("__slots__", ())
    return (names,) if isinstance(names, str) else names
