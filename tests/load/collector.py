"""``offload`` commands on one deployment, as cron or an operator would give them, and what they said."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCEPTED = ("min-age", "commit-window", "ratio", "no-roots")
"""What a test of seconds needs; in production nobody accepts these."""
COLLECTOR_SECONDS = 900


@dataclass
class Collector:
    """``offload`` commands on the deployment, and what they said."""

    env: dict[str, str]
    exits: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    purged: int = 0
    rescued: int = 0
    deaths: int = 0
    said: Counter[str] = field(default_factory=Counter)

    def command(self, *arguments: str) -> Any:
        """Its JSON, or ``None`` where it said none."""
        return self._finished(self._started(*arguments), " ".join(arguments[:2]))

    def run(self, *limits: str) -> Any:
        return self.command("gc", "run", "--delete", *_accept(), *limits)

    def loop(self, over: Path, killing: float, dice: random.Random) -> None:
        """Run after run; a share of them is killed on its way."""
        self.run()
        while not over.exists():
            if dice.random() >= killing:
                self.run()
                continue
            process = self._started("gc", "run", "--delete", *_accept())
            time.sleep(dice.uniform(0.5, 4.0))
            process.kill()
            process.communicate()
            self.deaths += process.returncode == -signal.SIGKILL

    def _started(self, *arguments: str) -> subprocess.Popen[str]:
        command = [Path(sys.executable).with_name("offload"), *arguments, "--output", "json"]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _finished(self, process: subprocess.Popen[str], verb: str) -> Any:
        output, errors = process.communicate(timeout=COLLECTOR_SECONDS)
        self.exits[f"{verb}: {process.returncode}"] += 1
        if process.returncode:
            self.said[errors.strip().splitlines()[0][:200] if errors.strip() else ""] += 1
        found = json.loads(output) if output.strip().startswith("{") else {}
        marked, purged = found.get("mark") or {}, found.get("purge") or {}
        self.refusals.update(refusal["rule"] for step in (marked, purged) for refusal in step.get("refusals", ()))
        self.purged += purged.get("deleted", {}).get("count", 0)
        self.rescued += marked.get("counts", {}).get("rescued", {}).get("count", 0)
        return found


def _accept() -> list[str]:
    return [option for rule in ACCEPTED for option in ("--accept", rule)]
