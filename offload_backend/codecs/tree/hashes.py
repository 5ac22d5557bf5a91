"""What hashing costs. Sets and dicts are quick for most elements, and for some that can be chosen they are not.

Numbers, and tuples of them, have the same hashes in every process, so that a few megabytes of elements with one
hash would keep a worker busy for hours. And the hash of a tuple that holds another one twice, which holds another
one twice and so on, takes twice as long for each.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["MOST_ALIKE", "Weights", "are_spread"]

MOST_ALIKE = 1000
"""So many elements of one hash take milliseconds."""

_RANDOM = frozenset({str, bytes})
"""Types whose hashes differ from process to process."""

_HEAVIEST = 10**9
"""Steps of all hashes of a value; some seconds."""


def are_spread(elements: list[Any]) -> bool:
    """Whether no more than ``MOST_ALIKE`` of the elements have one hash. Raises what hashing them raises."""
    if len(elements) <= MOST_ALIKE or _RANDOM.issuperset(map(type, elements)):
        return True
    hashes = list(map(hash, elements))
    spare = len(hashes) - len(set(hashes))
    return spare < MOST_ALIKE or max(Counter(hashes).values()) <= MOST_ALIKE


class Weights:
    """How many steps the hashes of shared tuples take, those within them counted as often as they are met."""

    def __init__(self) -> None:
        self._noted: dict[int, int] = {}
        self._spent = 0

    def note(self, value: Any) -> None:
        """To be called with every shared object, once all that it holds were noted; they must stay alive."""
        if isinstance(value, tuple):
            self._noted[id(value)] = self._weight(value)

    def check(self, elements: list[Any]) -> None:
        """Raise :class:`ValueError` where hashing these, and what was checked before, would take too long."""
        if not self._noted:
            return  # what nothing shares takes as many steps as it has bytes
        self._spent += sum(self._weight(element) for element in elements if isinstance(element, tuple))
        if self._spent > _HEAVIEST:
            raise ValueError("tuples that hold the same ones too many times, and are to be hashed")

    def _weight(self, value: Any) -> int:
        noted = self._noted.get(id(value))
        if noted is not None:
            return noted
        if type(value) is slice:
            value = (value.start, value.stop, value.step)
        if not isinstance(value, tuple):
            return 1
        return len(value) + sum(self._weight(part) for part in value if isinstance(part, tuple | slice))
