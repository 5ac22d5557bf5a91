"""Where contestants meet: servers, buckets, and what every file of results says about its run."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import processes, servers

__all__ = ["NO_GO", "Arena", "enter"]

NO_GO = """
################################################################################
There is no Go here to build the S3 server with (`make bench` installs one), so
this run uses moto. ITS TIMES SAY NOTHING about either backend; requests, stored
bytes and memory are right. The README is left alone.
################################################################################
"""
_LONGEST = 200
MOTO = "This run uses moto and tiny values to see that everything works. Its times say nothing."


@dataclass
class Arena:
    """``kind`` of the servers, by ``loopback`` and ``shaped``; ``quick`` where times mean nothing."""

    kind: str
    quick: bool
    servers: dict[str, servers.Server]
    failures: list[str] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)
    _load: float = field(default_factory=lambda: os.getloadavg()[0])
    _highest: float = 0

    @contextlib.contextmanager
    def bucket(self, server: str) -> Iterator[tuple[servers.Server, str]]:
        """A server and a bucket of it that is gone after the block."""
        running, name = self.servers[server], f"bench-{time.monotonic_ns()}"
        running.make_bucket(name)
        try:
            yield running, name
        finally:
            running.drop_bucket(name)

    @contextlib.contextmanager
    def surviving(self, what: str) -> Iterator[None]:
        """A case that fails is told and kept for the results; the others go on."""
        try:
            yield
        except processes.CaseFailedError as error:
            print(f"FAILED: {what}\n{error}", flush=True)
            said = [line for line in str(error).strip().splitlines() if not line.startswith("Hint:")]
            self.failures.append(f"{what}: {said[-1][:_LONGEST]}")

    def load(self) -> float:
        """The machine's load average now."""
        now = os.getloadavg()[0]
        self._highest = max(self._highest, now)
        return now

    def results(self, command: str, measurements: list[dict[str, Any]]) -> dict[str, Any]:
        """The measurements, with what made them."""
        from benchmarks.machine import describe

        return {
            "format": 2,
            "command": command,
            "made": datetime.now(tz=timezone.utc).isoformat(timespec="seconds"),
            "minutes": round((time.monotonic() - self._begun) / 60, 1),
            "server": self.kind,
            "quick": self.quick,
            "load": {"before": self._load, "highest": self._highest},
            "machine": describe(),
            "failures": self.failures,
            "measurements": measurements,
        }


@contextlib.contextmanager
def enter(*, quick: bool) -> Iterator[Arena]:
    """Servers until the block ends: s3bench, or moto for a quick run and where there is no Go."""
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        processes.prepare(home)
        go = None if quick else servers.find_go()
        if go is None:
            print(MOTO if quick else NO_GO, flush=True)
            server = stack.enter_context(servers.moto())
            yield Arena("moto", quick, {"loopback": server, "shaped": server})
            return
        plain = stack.enter_context(servers.s3bench(go, Path(home)))
        shaped = stack.enter_context(servers.s3bench(go, Path(home), *servers.SHAPED))
        yield Arena("s3bench", quick, {"loopback": plain, "shaped": shaped})
