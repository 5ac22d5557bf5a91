"""The figures of a run, from the journals of all writers and from what was found at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.load.journal import lines_of, remembered

_SHOWN = 20


@dataclass
class Tally:
    """``cut_off`` are operations in whose middle a process was killed; ``lost`` tells of each loss."""

    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    keys_set: set[str] = field(default_factory=set)
    verified: int = 0
    cut_off: int = 0
    lost: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """One writer's journal."""
        for kind, *rest in lines_of(path):
            if kind == "got":
                self._timed("get", rest[-1])
                self.verified += rest[1] is not None
            elif kind == "end":
                self.done[rest[3]] += 1
                if rest[3] == "done":
                    self._timed(rest[0], rest[-1])
                    self.keys_set.add(rest[1])
            elif kind == "error":
                self.errors[f"{rest[0]}: {_gist(rest[-1])}"] += 1
            elif kind == "loss":
                self.lost.append(f"{path.stem}: {rest}")
        self.cut_off += remembered(path, ()).cut_off

    def as_json(self) -> dict[str, Any]:
        return {
            "operations": {verb: len(times) for verb, times in sorted(self.seconds.items())},
            "seconds": {verb: _quantiles(times) for verb, times in sorted(self.seconds.items())},
            "values verified": self.verified,
            "cut off by a kill": self.cut_off,
            "errors": dict(self.errors.most_common()),
            "losses": len(self.lost),
            "lost": self.lost[:_SHOWN],
        }

    def _timed(self, verb: str, seconds: float) -> None:
        self.seconds.setdefault(verb, []).append(seconds)


def tally_of(journals: Iterable[Path]) -> Tally:
    found = Tally()
    for path in journals:
        found.add(path)
    return found


def _gist(message: str) -> str:
    """Without what differs from one error to the next."""
    return re.sub(r"\d+", "…", message.partition(" [")[0][:120])


def _quantiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)
        for name, share in (("median", 0.5), ("99 %", 0.99), ("longest", 1.0))
    }
