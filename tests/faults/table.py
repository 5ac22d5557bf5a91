"""The tables in ``docs/faults.md``: what each fault looks like to who calls."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.kinds import FAULTS
from tests.faults.matrix import Cell, Cells, Row

__all__ = ["DOCUMENT", "known", "write"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
Tables = dict[str, Cells]
"""By operation."""

_NONE = "—"
_HEAD = Path(__file__).with_name("head.md")
_NAMES = [fault.name for fault in FAULTS]


def known(document: Path = DOCUMENT) -> Tables:
    """What the document says now."""
    tables: Tables = {}
    reasons: dict[str, str] = {}
    for line in document.read_text(encoding="utf-8").splitlines() if document.exists() else []:
        if reason := re.match(rf"- ({_NONE}\w): (.+)$", line):
            reasons[reason[1]] = reason[2]
        elif line.startswith("## "):
            tables[line.removeprefix("## ")] = {}
        elif tables and (found := re.match(r"\| (\w+) `(.+?)` \| (.+) \|$", line)):
            row = found[1], found[2]
            texts = found[3].split(" | ")
            *_, cells = tables.values()
            cells.update({(row, name): _parsed(text, reasons) for name, text in zip(_NAMES, texts, strict=True)})
    return tables


def write(tables: Tables, document: Path = DOCUMENT) -> None:
    """The document anew."""
    reasons = {cell.reason for cells in tables.values() for cell in cells.values() if cell.reason}
    letters = {reason: "abcdefghijklmnopqrstuvwxyz"[number] for number, reason in enumerate(sorted(reasons))}
    lines = [
        _HEAD.read_text(encoding="utf-8"),
        *(f"- {_NONE}{letter}: {reason}" for reason, letter in letters.items()),
    ]
    for operation, cells in tables.items():
        lines += ["", f"## {operation}", "", f"| step | {' | '.join(_NAMES)} |", f"|{' --- |' * (len(_NAMES) + 1)}"]
        for row in dict.fromkeys(row for row, _ in cells):
            lines.append(_line(row, [cells[row, name] for name in _NAMES], letters))
    document.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(row: Row, cells: list[Cell], letters: dict[str, str]) -> str:
    texts = [f"{_NONE}{letters[cell.reason]}" if cell.reason else _text(cell) for cell in cells]
    return f"| {row[0]} `{row[1]}` | {' | '.join(texts)} |"


def _text(cell: Cell) -> str:
    first, second = (" or ".join(sorted(seen)) for seen in cell.seen)
    return first if first == second else f"{first} · {second}"


def _parsed(text: str, reasons: dict[str, str]) -> Cell:
    if text in reasons:
        return Cell(reason=reasons[text])
    first, _, second = text.partition(" · ")
    return Cell((set(first.split(" or ")), set((second or first).split(" or "))))
