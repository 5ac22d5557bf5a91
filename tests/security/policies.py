"""The policies of docs/permissions.md, so that what is documented is what is tested."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "permissions.md"
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Policy = dict[str, Any]


def documented() -> dict[str, Policy]:
    """The policies by the heading they stand under."""
    sections = _SECTION.findall(PAGE.read_text(encoding="utf-8"))
    return {heading: json.loads(block) for heading, text in sections for block in _BLOCK.findall(text)}


def rights_of(policy: Policy) -> list[str]:
    return [right for statement in policy["Statement"] for right in statement["Action"]]


def on(policy: Policy, bucket: str) -> Policy:
    """The policy for another bucket than the page's."""
    return json.loads(json.dumps(policy).replace("my-bucket", bucket))


def without(policy: Policy, right: str) -> Policy:
    """The policy with one right less."""
    less = copy.deepcopy(policy)
    for statement in less["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != right]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    return less
