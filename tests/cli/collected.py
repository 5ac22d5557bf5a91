"""A deployment that commands are tried on: an embedded core store, and a folder of blobs made to look old."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from offload_backend import connect
from offload_backend.cli.main import app
from offload_backend.lifecycle.lines import read_lines, write_lines

DAYS = 86_400


class Site:
    """The deployment ``prod`` below ``folder``: 20 live values, and 2 blobs whose rows name others now."""

    def __init__(self, folder: Path, core_store: str = "") -> None:
        self.folder = folder
        self.database = folder / "state.db"
        self.core_store = core_store or f"sqlite:///{self.database}"

    @property
    def place(self) -> list[str]:
        """The options that lead to it."""
        where = (self.folder / "blobs").as_uri()
        return ["--path", where, "--core-store", self.core_store, "--deployment", "prod"]

    def stores(self) -> Any:
        settings = {"deployment": "prod", "reclaim": "never", "inline_limit": 100}
        return connect(self.folder / "blobs", f"sqlite:///{self.database}", **settings)

    def fill(self) -> Site:
        with self.stores() as stores:
            state = stores.task_store("etl", "run", "load")
            for number in range(20):
                state.set(f"k{number}", [number] * 100)
            for number in range(2):
                state.set(f"k{number}", ["again"] * 100)
        for blob in self.blobs():
            os.utime(blob, times=(blob.stat().st_mtime - 30 * DAYS,) * 2)
        return self

    def age_marks(self, days: float) -> None:
        """Let this time pass since all runs: their objects are older, and so is what manifests say."""
        control = {path for path in (self.folder / "blobs").rglob("*") if path.is_file() and "_gc" in path.parts}
        for path in control:
            before = path.stat().st_mtime
            if path.name == "manifest.jsonl.gz":
                header, *entries = (_earlier(line, days) for line in read_lines([path.read_bytes()]))
                path.write_bytes(b"".join(write_lines(header, entries)))
            os.utime(path, times=(before - days * DAYS,) * 2)

    def blobs(self) -> set[Path]:
        return {path for path in (self.folder / "blobs").rglob("*.json.zst") if "_gc" not in path.parts}

    def live(self) -> set[Path]:
        """The blobs that rows name."""
        with closing(sqlite3.connect(self.database)) as database:
            rows = "\n".join(text for (text,) in database.execute("SELECT value FROM offload_task_state"))
        return {path for path in self.blobs() if path.name in rows}

    def orphans(self) -> set[Path]:
        return self.blobs() - self.live()

    def run(self, *arguments: str) -> Result:
        """A command of ``offload`` on this deployment."""
        return CliRunner().invoke(app, [*arguments, *self.place])

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What the command printed as its one JSON document."""
        done = self.run(*arguments, "--output", "json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)


def _earlier(line: dict[str, Any], days: float) -> dict[str, Any]:
    times = {name: line[name] for name in ("t0", "first_marked") if name in line}
    shift = timedelta(days=days)
    return {**line, **{name: (datetime.fromisoformat(text) - shift).isoformat() for name, text in times.items()}}
