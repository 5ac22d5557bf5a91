from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from offload_backend import connect
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.sql import SqlCoreStore
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]

BIG = {"rows": [{"id": number, "name": f"näme {number}"} for number in range(300)]}
"""A value above the inline limit of these tests."""


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch, tmp_path):
    """Neither this machine's airflow.cfg nor its environment count."""
    for name in os.environ:
        if name.startswith("AIRFLOW"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))


@dataclass
class Places:
    """Where one test's rows and blobs are; ``open`` connects to them as another process would."""

    path: str
    core_store: Any

    def open(self, **options: Any) -> Any:
        return connect(self.path, self.core_store, **{"inline_limit": 200, **options})

    def blobs(self) -> list[Path]:
        return [file for file in Path(self.path).rglob("*") if file.is_file()]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def places(request, tmp_path):
    """Rows in each kind of core store, blobs in a directory."""
    if request.param == "memory":
        core_store = MemoryCoreStore()
    elif request.param == "sqlite":
        core_store = SqlCoreStore(f"sqlite:///{tmp_path}/state.db")
    else:
        core_store = SqlCoreStore(request.getfixturevalue("postgres_url"))
    yield Places(str(tmp_path / "blobs"), core_store)
    core_store.close()


@pytest.fixture
def local(tmp_path):
    """Rows in memory, blobs in a directory."""
    return Places(str(tmp_path / "blobs"), MemoryCoreStore())


@pytest.fixture
def stores(local):
    return local.open()


@pytest.fixture
def task_store(stores):
    return stores.task_store("dag", "run", "task")


@pytest.fixture
def unique():
    return uuid.uuid4().hex
