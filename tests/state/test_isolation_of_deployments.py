"""Two deployments, or two teams of one Airflow, on one bucket: neither reads nor deletes what is the other's."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from moto.s3.models import s3_backends
from typer.testing import CliRunner

from offload_backend import connect
from offload_backend.address import TaskAddress
from offload_backend.cli.main import app
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import ForeignRefError
from tests.s3 import KEY, S3, SECRET, serve
from tests.state.conftest import BIG

PAST = datetime.now(timezone.utc) - timedelta(days=1)
OLD = timedelta(days=30)


@pytest.fixture(scope="module")
def recorder():
    with serve() as recorder:
        yield recorder


@pytest.fixture
def s3(recorder, monkeypatch):
    server = S3(recorder.endpoint, f"shared-{uuid.uuid4().hex}")
    recorder.servers[server.bucket] = server
    server.client.create_bucket(Bucket=server.bucket)
    options = {"endpoint_url": server.endpoint, "key": KEY, "secret": SECRET, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__STORAGE_OPTIONS", json.dumps(options))
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT", "200")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GC_MAX_RATIO", "1")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GC_QUARANTINE", "0s")
    return server


class Deployment:
    """One of those that share the bucket: a name, a prefix and a database of its own."""

    def __init__(self, s3: S3, folder: Any, name: str, prefix: str) -> None:
        self.s3, self.prefix, self.name = s3, prefix, name
        self.path, self.core_store = f"s3://{s3.bucket}/{prefix}", f"sqlite:///{folder}/{name}-{prefix[-1]}.db"

    @property
    def below(self) -> str:
        return f"{self.prefix}/v1/{self.name}/"

    def open(self, **options: Any) -> Any:
        return connect(self.path, self.core_store, deployment=self.name, **options)

    def fill(self) -> Deployment:
        """Rows that live, rows that are past their retention, and orphans, all of them old."""
        with self.open(reclaim="never") as stores:
            task = stores.task_store("etl", "run", "load")
            task.set("live", [BIG, self.below])
            task.set("expired", [BIG], retention=timedelta(seconds=-1))
            task.set("orphaned", [BIG])
            task.set("orphaned", 1)
            stores.asset_store(name="orders").set("live", [BIG, self.below])
            stores.task_store("meant", "run", "load").set("k", [BIG])
        return self

    def offload(self, *arguments: str) -> None:
        place = ["--path", self.path, "--core-store", self.core_store, "--deployment", self.name]
        done = CliRunner().invoke(app, [*arguments, *place])
        assert done.exit_code == 0, (arguments, done.output, done.exception)

    def row(self, key: str, text: str | None = None, *, dag: str = "etl") -> str:
        """The row's text; ``text`` is what somebody writes who can, and is past its retention."""
        rows = SqlCoreStore(self.core_store)
        address = TaskAddress(dag, "run", "load")
        try:
            if text is not None:
                rows.set(address, key, text, expires_at=PAST)
            return str(rows.get(address, key).text)
        finally:
            rows.close()

    def objects(self) -> dict[str, str]:
        return objects(self.s3, self.below)

    def is_whole(self) -> bool:
        with self.open() as stores:
            task, asset = stores.task_store("etl", "run", "load"), stores.asset_store(name="orders")
            return task.get("live") == asset.get("live") == [BIG, self.below]


def objects(s3: S3, prefix: str) -> dict[str, str]:
    """Everything below the prefix, with its digest."""
    listed = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=prefix).get("Contents", ())
    return {entry["Key"]: entry["ETag"] for entry in listed}


def make_old(s3: S3) -> None:
    for entry in s3_backends["123456789012"]["aws"].buckets[s3.bucket].keys.values():
        if "/_gc/" not in entry.name:
            entry.last_modified -= OLD


PLACES = {
    "one prefix, two names": (("a", "state"), ("b", "state")),
    "a name that begins like the other": (("a", "state"), ("ab", "state")),
    "two prefixes, one name": (("a", "state-a"), ("a", "state-b")),
    "a prefix below the other": (("a", "state"), ("a", "state/teams/b")),
}


@pytest.fixture(params=PLACES.values(), ids=PLACES.keys())
def both(request, s3, tmp_path):
    found = [Deployment(s3, tmp_path, *place).fill() for place in request.param]
    make_old(s3)
    return found


def test_every_act_of_one_deployment_leaves_the_other_as_it_was(both, s3):
    ours, theirs = both
    before, asked = theirs.objects(), len(s3.requests)
    assert before
    orphans = len(ours.objects())
    for act in (("gc", "adopt"), ("expire", "--delete"), ("gc", "run", "--delete"), ("gc", "run", "--delete")):
        ours.offload(*act)
    ours.offload("verify", "--contents")
    ours.offload("erase", "--dag", "meant", "--delete")
    with ours.open() as stores:
        task = stores.task_store("etl", "run", "load")
        task.set("live", [BIG])
        task.delete("live")
        stores.task_store("etl", "run", "load").clear()
        stores.asset_store(name="orders").clear()
    left = {name for name in ours.objects() if "/_gc/" not in name and "_owner" not in name}
    assert left == set(), orphans
    assert theirs.objects() == before
    named = [request for request in s3.requests[asked:] if theirs.below in request.path]
    assert named == []
    assert theirs.is_whole()


def test_a_row_that_names_the_others_blob_neither_reads_nor_deletes_it(both):
    ours, theirs = both
    before, forged = theirs.objects(), theirs.row("live")
    ours.offload("gc", "adopt")
    for act in (refused, delete, overwrite, clear, expire):
        ours.row("forged", forged)
        with ours.open(isolation="deployment") as stores:
            act(ours, stores.task_store("etl", "run", "load"))
    ours.offload("erase", "--dag", "etl", "--delete", "--accept", "running")
    ours.offload("gc", "run", "--delete")
    assert theirs.objects() == before
    assert theirs.is_whole()


@pytest.mark.parametrize("verb", [("expire",), ("erase", "--dag", "mallory"), ("gc", "run")], ids=" ".join)
def test_no_verb_deletes_what_a_row_of_another_task_names(s3, tmp_path, verb):
    ours = Deployment(s3, tmp_path, "a", "state").fill()
    make_old(s3)
    ours.offload("gc", "adopt")
    ours.row("forged", ours.row("live"), dag="mallory")
    ours.offload(*verb, "--delete")
    ours.offload(*verb, "--delete")
    assert ours.is_whole()


def refused(_: Deployment, task: Any) -> None:
    with pytest.raises(ForeignRefError):
        task.get("forged")


def delete(_: Deployment, task: Any) -> None:
    task.delete("forged")


def overwrite(_: Deployment, task: Any) -> None:
    task.set("forged", [BIG])


def clear(_: Deployment, task: Any) -> None:
    task.clear()


def expire(deployment: Deployment, _: Any) -> None:
    deployment.offload("expire", "--delete")
