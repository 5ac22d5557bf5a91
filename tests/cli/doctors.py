"""Examining a deployment as ``offload doctor`` does, for tests of what it finds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from offload_backend.cli.main import app


@dataclass(frozen=True)
class Found:
    """What ``offload doctor --output json`` said, its exit code, and everything that it printed."""

    code: int
    document: dict[str, Any]
    printed: str

    def all(self, check: str) -> list[dict[str, Any]]:
        """The findings of a check; it was made, so there are some."""
        found = [each for each in self.document["checks"] if each["check"] == check]
        assert found, [each["check"] for each in self.document["checks"]]
        return found

    def statuses(self, check: str) -> list[str]:
        return [each["status"] for each in self.all(check)]

    def only(self, check: str, status: str) -> dict[str, Any]:
        """The one finding of the check, which has this status."""
        (found,) = self.all(check)
        assert found["status"] == status, found
        return found

    def with_status(self, status: str) -> set[str]:
        """The checks that have such a finding."""
        return {each["check"] for each in self.document["checks"] if each["status"] == status}

    def source(self, setting: str) -> str:
        (found,) = [each["source"] for each in self.document["settings"] if each["name"] == setting]
        return str(found)


def examined(*arguments: str) -> Found:
    """The command, in this process."""
    done = CliRunner().invoke(app, ["doctor", "--output", "json", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Found(done.exit_code, json.loads(done.stdout), done.output)
