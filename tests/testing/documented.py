"""The examples of docs/testing.md, each a test file as it stands."""

from __future__ import annotations

import re

from tests.test_docs import BLOCK, ROOT

TEXT = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)


def examples() -> dict[str, str]:
    """The code by the heading that it stands below."""
    found = {}
    for match in BLOCK.finditer(TEXT):
        heading = HEADING.findall(TEXT[: match.start()])[-1]
        assert heading not in found, f"two examples below {heading!r}"
        found[heading] = match[1]
    return found
