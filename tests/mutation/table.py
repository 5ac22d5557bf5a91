"""The table of all mutants, in ``docs/mutants.md``."""

from __future__ import annotations

import re
from pathlib import Path

from tests.mutation.mutants import EQUIVALENT, MUTANTS, Mutant
from tests.mutation.mutate import NOT_RUN, ROOT, SURVIVED

__all__ = ["DOCUMENT", "known", "write"]

DOCUMENT = ROOT / "docs" / "mutants.md"
_ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<killer>.+?) \|$")
_HEAD = """# Mutants

Each row is a defect that was put into a copy of the code, one at a time: a reason to keep a blob, to refuse a run,
to call a reading incomplete or not to believe what is read, taken away. The test beside it then failed; without the
defect it passes.

    python -m tests.mutation                        # run all of them and write this table; some twenty minutes
    python -m tests.mutation lifecycle/purge.py     # those in one file

A test of the normal run holds that every mutant can still be made and that it is listed here.
"""


def known(document: Path = DOCUMENT) -> dict[tuple[str, str], str]:
    """What the table says now: file and defect, and which test fails."""
    found: dict[tuple[str, str], str] = {}
    file = ""
    for line in document.read_text(encoding="utf-8").splitlines() if document.exists() else []:
        if line.startswith("## `"):
            file = line.removeprefix("## `").removesuffix("`")
        elif (row := _ROW.match(line)) and row["what"] not in ("defect", "---"):
            found[file, row["what"]] = row["killer"].strip("`")
    return found


def write(killers: dict[tuple[str, str], str], document: Path = DOCUMENT) -> None:
    """The table anew."""
    rows = {key: killers.get(key, NOT_RUN) for key in map(key_of, MUTANTS)}
    killed = [key for key, killer in rows.items() if not killer.startswith((SURVIVED, NOT_RUN))]
    lines = [_HEAD, f"{len(rows)} mutants; {len(killed)} are killed."]
    for file in dict.fromkeys(mutant.file for mutant in MUTANTS):
        lines += ["", f"## `{file}`", "", "| defect | killed by |", "| --- | --- |"]
        lines += [
            f"| {what} | {_cell((file, what), killer)} |" for (of, what), killer in rows.items() if of == file
        ]
    document.write_text("\n".join(lines) + "\n", encoding="utf-8")


def key_of(mutant: Mutant) -> tuple[str, str]:
    """By what a row is found again."""
    return mutant.file, mutant.what


def _cell(key: tuple[str, str], killer: str) -> str:
    if not killer.startswith(SURVIVED):
        return f"`{killer}`"
    return f"{SURVIVED}: {EQUIVALENT.get(key, 'a test is missing')}"
