"""Runs the comparison against both backends and writes its table into ``docs/comparison.md`` (``make compare``)."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[2]
START, END = "<!-- peer table -->", "<!-- /peer table -->"


def outcomes(backend: str) -> dict[str, bool]:
    """Whether every case of a test passed; skipped ones are left out, expected failures are failures."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--tb=no", "tests/peer", f"--junitxml={report}"],
            cwd=ROOT,
            env={**os.environ, "STATE_BACKEND": backend},
            stdout=sys.stderr,
            check=False,
        )
        cases = ET.parse(report).getroot().iter("testcase")
        found: dict[str, bool] = {}
        for case in cases:
            skipped = case.find("skipped")
            if skipped is None or skipped.get("type") == "pytest.xfail":
                name = case.get("name", "").partition("[")[0]
                passed = not len(case)
                found[name] = found.get(name, True) and passed
    return found


def table(ours: dict[str, bool], theirs: dict[str, bool]) -> str:
    """One row a test, in the order of the file, named by its docstring."""
    from tests.peer import test_defects, test_strengths

    tests = [*inspect.getmembers(test_defects, inspect.isfunction)]
    tests += inspect.getmembers(test_strengths, inspect.isfunction)
    lines = ["| what a user would expect | offload-backend | common-io |", "| --- | --- | --- |"]
    for name, function in tests:
        if name.startswith("test_") and function.__doc__ and name in theirs:
            sentence = function.__doc__.strip().splitlines()[0]
            lines.append(f"| {sentence} | {_mark(ours[name])} | {_mark(theirs[name])} |")
    return "\n".join(lines)


def _mark(passed: bool) -> str:
    return "yes" if passed else "no"


def main() -> None:
    page = ROOT / "docs" / "comparison.md"
    before, _, rest = page.read_text().partition(START)
    after = rest.partition(END)[2]
    written = table(outcomes("ours"), outcomes("peer"))
    page.write_text(f"{before}{START}\n{written}\n{END}{after}")
    print(written)


if __name__ == "__main__":
    main()
