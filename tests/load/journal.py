"""What a writer was about to do, and what became of it: a file that outlives a killed process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Count = int | None
"""Which of a writer's values a key holds; ``None`` where it holds none."""


class Journal:
    """One writer's lines, each written at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


@dataclass
class Expected:
    """What one key of a single writer may hold.

    ``ghosts`` are those of a process that was killed or of a commit without an answer: the database may carry them
    out yet, until the next set has waited for it.
    """

    told: Count = None
    ghosts: set[Count] = field(default_factory=set)

    def may_be(self, count: Count) -> bool:
        return count == self.told or count in self.ghosts

    def done(self, count: Count) -> None:
        self.told = count
        if count is not None:
            self.ghosts.clear()

    def in_doubt(self, count: Count) -> None:
        self.ghosts.add(count)


@dataclass
class Memory:
    """All that a writer knows of its own keys, from its journal."""

    keys: dict[str, Expected]
    count: int = 0
    cut_off: int = 0

    def begins(self, verb: str, key: str, count: int) -> None:
        self.count = max(self.count, count)

    def ends(self, verb: str, key: str, count: int, how: str) -> None:
        """``how``: done; failed, which has changed nothing; or doubtful."""
        for each in self._concerned(verb, key):
            written = count if verb == "set" else None
            if how == "done":
                each.done(written)
            elif how == "doubtful":
                each.in_doubt(written)

    def _concerned(self, verb: str, key: str) -> list[Expected]:
        if verb == "clear":
            return list(self.keys.values())
        return [self.keys[key]] if key in self.keys and verb in ("set", "delete") else []


def remembered(path: Path, keys: Iterable[str]) -> Memory:
    """What the writer of this journal knows; what it was doing when it was killed is in doubt."""
    memory = Memory({key: Expected() for key in keys})
    pending: list[Any] = []
    for line in lines_of(path):
        if line[0] == "cleared":  # by somebody else, who does not know whether there was anything
            for each in memory.keys.values():
                each.in_doubt(None)
        if line[0] in ("begin", "end", "again") and pending:
            if line[0] != "end":
                memory.ends(*pending, "doubtful")
                memory.cut_off += 1
            pending = []
        if line[0] == "begin":
            pending = line[1:4]
            memory.begins(*pending)
        elif line[0] == "end":
            memory.ends(*line[1:5])
    if pending:
        memory.ends(*pending, "doubtful")
        memory.cut_off += 1
    return memory


def lines_of(path: Path) -> Iterator[list[Any]]:
    """The lines, without one that was not finished."""
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            yield json.loads(line)
