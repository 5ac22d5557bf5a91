"""The parent's side of :mod:`tests.drills.worker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parent.parent.parent


@dataclass
class Victim:
    """A process that does one verb."""

    victims: Victims
    pid: int
    report: Path

    def end(self) -> int:
        """Wait until it has ended: its exit code, below zero if by a signal."""
        return int(self.victims.ask("wait", pid=self.pid, stopped=False))

    def succeed(self) -> dict[str, Any]:
        """Wait for its end, which must be a good one: what it told."""
        code = self.end()
        assert code == 0, (code, self.told())
        return self.told()

    def stopped(self) -> Victim:
        """Wait until it is."""
        code = self.victims.ask("wait", pid=self.pid, stopped=True)
        assert code is None, f"it ended with {code}: {self.told()}"
        return self

    def go_on(self) -> Victim:
        """Let it."""
        os.kill(self.pid, signal.SIGCONT)
        return self

    def told(self) -> dict[str, Any]:
        """Result or error, and steps."""
        return json.loads(self.report.read_text()) if self.report.exists() else {}


class Victims:
    """Starts them, one at a time or several."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder, self._number = process, folder, 0

    def start(self, job: dict[str, Any], verb: str, arguments: dict[str, Any], **steps: Any) -> Victim:
        self._number += 1
        report = self._folder / f"{self._number}.json"
        steps["late"] = str(self.late)
        pid = self.ask("start", job=job, verb=verb, arguments=arguments, steps=steps, report=str(report))
        return Victim(self, pid, report)

    @property
    def late(self) -> Path:
        """Where a request is that was on its way when its sender was killed."""
        return self._folder / "late.json"

    def deliver(self) -> None:
        """Let it arrive."""
        kept = json.loads(self.late.read_text())
        self.late.unlink()
        url = urlsplit(kept["url"])
        connection = HTTPConnection(url.hostname, url.port, timeout=30)
        with closing(connection):
            query = f"?{url.query}" if url.query else ""
            headers = {name: value for name, value in kept["headers"].items() if name.lower() != "expect"}
            connection.request(kept["method"], f"{url.path}{query}", bytes.fromhex(kept["body"]), headers)
            answer = connection.getresponse()
            assert answer.status < 300, answer.read()

    def ask(self, command: str, **arguments: Any) -> Any:
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that starts the others is gone"
        return json.loads(line)


@contextmanager
def victims(folder: Path, settings: dict[str, Any]) -> Iterator[Victims]:
    """They are all gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.drills.worker"],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        found = Victims(process, folder)
        found.ask("prepare", settings=settings)
        yield found
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
