"""What the documents say of versions is what was run: ``make test-versions`` writes it."""

from __future__ import annotations

import json
import re

from tests.project.versions import DOCUMENT, RESULTS, ROOT, interpreter, written

RESULT = json.loads(RESULTS.read_text())


def test_the_document_shows_the_last_results() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert written(document) == document
    assert "<!-- versions -->" in document


def test_every_python_that_is_claimed_was_run() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    claimed = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert len(claimed) > 3
    assert {RESULT[f"Python {version}"]["python"].rpartition(".")[0] for version in claimed} == set(claimed)


def test_an_interpreter_is_one_of_the_version_that_was_asked_for(tmp_path) -> None:
    wrong = tmp_path / "python"
    wrong.write_text("#!/bin/sh\necho Python 3.1.2\n")
    wrong.chmod(0o755)
    assert interpreter("3.99", {"3.99": str(wrong)}) is None
    assert interpreter("3.1", {"3.1": str(wrong)}) == str(wrong)
