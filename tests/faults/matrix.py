"""All trials of an operation at a place: each step that an undisturbed run takes, with each fault."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.faults.kinds import BY_NAME, FAULTS
from tests.faults.operations import OPERATIONS, Operation
from tests.faults.oracle import outcome, values
from tests.faults.steps import Aim, Step
from tests.faults.trial import Trial

Row = tuple[str, str]
"""The layer of a step, and what is done: all steps of a kind are one row."""


@dataclass
class Cell:
    """What was seen in each variant; or why there is no such thing."""

    seen: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    reason: str = ""


Cells = dict[tuple[Row, str], Cell]
"""By row and fault."""


class Matrix:
    """The rows of one operation at one place. Commits are those of the first place alone: they are the same."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        operation, place = trial.operation, trial.place
        self.layers = layers_of(operation, place.layer)
        self._steps = [step for step in trial.steps() if step.layer in self.layers]
        trial.begin()
        self._before = values(trial.deployment())

    @property
    def rows(self) -> list[Row]:
        """In the order in which they are first met."""
        return list(dict.fromkeys((step.layer, step.label) for step in self._steps))

    def reason(self, row: Row, fault: str) -> str:
        """Why there is no such thing, or empty."""
        if fault == "cancelled" and not self.trial.operation.verb:
            return "not a coroutine"
        return self.trial.place.reason_for_none(Aim(Step(*row), fault, ""))

    def aims(self) -> Iterator[Aim]:
        """The first and the last step of each kind, of a collector the last, with every fault, in both variants."""
        for row in self.rows:
            all_numbers = [step.number for step in self._steps if step[:2] == row]
            numbers = all_numbers[-1:] if self.trial.operation.collect else [all_numbers[0], all_numbers[-1]]
            for fault in FAULTS:
                if self.reason(row, fault.name):
                    continue
                for variant in fault.variants:
                    for number in dict.fromkeys(numbers):
                        yield Aim(Step(*row, number), fault.name, variant)

    def look(self, aim: Aim) -> str:
        """What is seen; raises for what must never be."""
        try:
            seen, steps = self.trial.run(aim)
            usual = sum(step[:2] == aim.step[:2] for step in self._steps)
            return outcome(self.trial, self._before, usual, seen, steps)
        except Exception as error:
            raise AssertionError(f"{self.trial.operation.name}: {aim}: {error}") from error


def layers_of(operation: Operation, place: str) -> set[str]:
    """Whose steps are struck at the place."""
    return {place, "rows"} if place == operation.places[0] else {place}


def is_chosen(operation: str, aim: Aim, share: int) -> bool:
    """Whether it is in the same one of so many parts of all, whenever it is asked."""
    return zlib.crc32(f"{operation} {aim}".encode()) % share == 0


def fill(matrix: Matrix, cells: Cells, wanted: Callable[[Aim], bool] = lambda _: True) -> int:
    """The matrix's trials, into its cells; how many there were."""
    count = 0
    for row in matrix.rows:
        for fault in FAULTS:
            cells[row, fault.name] = Cell(reason=matrix.reason(row, fault.name))
    for aim in filter(wanted, matrix.aims()):
        variant = BY_NAME[aim.fault].variants.index(aim.variant)
        cells[aim.step[:2], aim.fault].seen[variant].add(matrix.look(aim))
        count += 1
    return count


def cases() -> list[tuple[Operation, str]]:
    """Each operation at each of its places."""
    return [(operation, place) for operation in OPERATIONS for place in operation.places]
