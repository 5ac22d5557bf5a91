"""A deployment on disk for tests of the verbs: an embedded core store and a directory of blobs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from offload_backend.address import StateAddress, TaskAddress
from offload_backend.cli.main import app
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.offloader import Offloader
from offload_backend.row import row_text
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

PAST = datetime.now(timezone.utc) - timedelta(days=1)
TASK = TaskAddress("etl", "run", "load")


@dataclass(frozen=True)
class OnDisk:
    """Rows in ``state.db`` and blobs in ``blobs``."""

    directory: Path

    @property
    def core_store(self) -> str:
        return f"sqlite:///{self.directory}/state.db"

    @property
    def path(self) -> str:
        return f"file://{self.directory}/blobs"

    def adopted(self) -> OnDisk:
        """The same, once its database has adopted its blobs."""
        rows = SqlCoreStore(self.core_store)
        list(rows.rows())
        rows.close()
        assert self.offload("gc", "adopt").exit_code == 0
        return self

    def set(self, key: str, address: StateAddress = TASK, expires_at: datetime | None = None) -> str:
        """A row and its blob; the ref."""
        settings = Settings.load({"path": self.path, "inline_limit": 0})
        ref = Offloader(settings, lambda path: open_store(path, settings)).offload("x" * 100, address, key)
        rows = SqlCoreStore(self.core_store)
        rows.set(address, key, row_text(ref), expires_at=expires_at)
        rows.close()
        return ref

    def keys(self) -> set[str]:
        rows = SqlCoreStore(self.core_store)
        keys = {row.key for row in rows.rows()}
        rows.close()
        return keys

    def blobs(self) -> list[Path]:
        files = (path for path in (self.directory / "blobs").rglob("*") if path.is_file())
        return sorted(path for path in files if "_gc" not in path.parts)

    def make_old(self, age: timedelta = timedelta(days=2)) -> None:
        """Blobs that were written this long ago."""
        then = (datetime.now(timezone.utc) - age).timestamp()
        for blob in self.blobs():
            os.utime(blob, (then, then))

    def offload(self, *arguments: str) -> Result:
        """The command, on this deployment."""
        places = ["--path", self.path, "--core-store", self.core_store]
        return CliRunner().invoke(app, [*arguments, *places[: 2 if "--core-store" in arguments else 4]])

    def as_json(self, *arguments: str) -> Any:
        done = self.offload(*arguments, "--output", "json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)
