"""The measurements of one run, by what they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

__all__ = ["Measured", "Measurement"]

Measurement = dict[str, Any]
_RIVALS = ("peer", "transport")
Field = str | Callable[[Measurement], float]


class Measured:
    """Every query gives values in the order of the plan and of the repetitions."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._all = list(measurements)

    def works(self, server: str, operation: str) -> list[str]:
        """In the order of the plan."""
        return list(dict.fromkeys(m["work"] for m in self.of(server=server, operation=operation)))

    def rival(self, work: str) -> str:
        """Whom ours is compared with: common-io, or its transport where it refuses the value."""
        return next((each for each in _RIVALS if self.of(work=work, contestant=each)), _RIVALS[0])

    def series(self, field: Field, **about: str) -> list[float]:
        """One figure of every repetition."""
        read = field if callable(field) else lambda m: m[field]
        return [read(m) for m in sorted(self.of(**about), key=lambda m: int(m["repeat"]))]

    def middle(self, field: Field, **about: str) -> float | None:
        """The median of all repetitions, or ``None`` if there is none."""
        found = self.series(field, **about)
        return median(found) if found else None

    def one(self, **about: str) -> Measurement | None:
        """The last repetition, for what every repetition has alike."""
        found = self.of(**about)
        return found[-1] if found else None

    def of(self, **about: str) -> list[Measurement]:
        """Every measurement that has all of these."""
        return [m for m in self._all if all(m[name] == value for name, value in about.items())]
