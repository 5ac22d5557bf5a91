"""One worker's view of either backend, over S3: ours by default, Airflow's with STATE_BACKEND=peer."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import s3, seam

BACKEND = os.environ.get("STATE_BACKEND", "ours")


@dataclass
class Worker:
    """The accessors, the rows and the bucket; ``configure`` is what an operator does between two workers."""

    seam: seam.Seam
    s3: s3.S3
    monkeypatch: pytest.MonkeyPatch
    backend: str

    def configure(self, path: str = "", compression: str = "", moved_from: str = "") -> None:
        """Point whichever backend runs at a path, and start a fresh worker."""
        path = path or f"s3://lab@{self.s3.bucket}/state"
        if self.backend == seam.PEER:
            self.monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", path)
            self.monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_COMPRESSION", compression)
        else:
            self.monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", path)
            self.monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__READ_PATHS", moved_from)
            self.monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT", "0")
            self.monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GIVE_UP_AFTER", "60s")
        self.seam.restart()


@pytest.fixture(scope="session")
def recorder() -> Iterator[s3._Recorder]:
    with s3.serve() as running:
        yield running


@pytest.fixture
def worker(recorder: s3._Recorder, monkeypatch: pytest.MonkeyPatch) -> Worker:
    bucket = f"b{uuid.uuid4().hex[:12]}"
    server = s3.S3(recorder.endpoint, bucket)
    server.client.create_bucket(Bucket=bucket)
    recorder.servers[bucket] = server
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps(server.connection()))
    backend = seam.PEER if BACKEND == "peer" else seam.OURS
    worker = Worker(seam.start(monkeypatch, backend), server, monkeypatch, backend)
    worker.configure()
    return worker
