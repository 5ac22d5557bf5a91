"""A user's hooks in a worker: told what happened, unable to fail a task, and free where there are none."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from offload_backend.address import TaskAddress
from offload_backend.airflow import worker as worker_module
from offload_backend.lifecycle.hooks import Hooks
from tests.airflow.running import running_task
from tests.inner.stores import Stores

HOME = "s3://bucket/state"
told: list[tuple[Any, ...]] = []


class Recording(Hooks):
    def on_offloaded(self, address, key, ref):
        told.append(("offloaded", address, key, ref))

    def on_resolved(self, ref):
        told.append(("resolved", ref))

    def on_reclaimed(self, refs):
        told.append(("reclaimed", *refs))


class Raising(Hooks):
    def on_offloaded(self, address, key, ref):
        raise RuntimeError("secret")

    on_resolved = on_reclaimed = on_offloaded


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    stores = Stores()
    told.clear()
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", HOME)
    monkeypatch.setattr(worker_module, "open_store", lambda path, settings: stores.open(path))
    return stores


def hooks(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__HOOKS", f"{kind.__module__}.{kind.__name__}")


BIG = ["x" * 100_000]


def test_hooks_are_told_of_blobs_and_only_of_blobs(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks(monkeypatch, Recording)
    with running_task() as task:
        task.task().set("k", BIG)
        first = task.supervisor.ref("k")
        task.task().set("small", 1)
        assert task.task().get("small") == 1
        assert task.task().get("k") == BIG
        task.task().set("k", [BIG])
        task.end()
    address = TaskAddress("d", "r", "t")
    assert told == [
        ("offloaded", address, "k", first),
        ("resolved", first),
        ("offloaded", address, "k", task.supervisor.ref("k")),
        ("reclaimed", first),
    ]


def test_only_what_is_really_gone_is_told_as_reclaimed(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks(monkeypatch, Recording)
    with running_task() as task:
        for _ in range(4):
            task.task().set("k", BIG)
        stores.at[HOME].fails = {"some deletes"}
        task.end()
    (reclaimed,) = [each for each in told if each[0] == "reclaimed"]
    assert len(reclaimed) == 2
    assert len(stores.at[HOME].names()) == 3


def test_a_hook_that_raises_is_logged_and_fails_nothing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hooks(monkeypatch, Raising)
    with running_task() as task, caplog.at_level(logging.WARNING):
        for _ in range(3):
            task.task().set("k", BIG)
        assert task.task().get("k") == BIG
        task.end()
    assert "the hook on_offloaded raised RuntimeError" in caplog.text
    assert "the hook on_reclaimed raised" in caplog.text
    assert len(stores.at[HOME].names()) == 1


def test_hooks_that_cannot_be_made_are_logged_once_and_fail_nothing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__HOOKS", "no.such.Hooks")
    with running_task() as task, caplog.at_level(logging.WARNING):
        for _ in range(3):
            task.task().set("k", BIG)
        assert task.task().get("k") == BIG
    assert caplog.text.count("no.such.Hooks") == 1


def test_without_hooks_their_module_is_not_imported() -> None:
    script = (
        "import os, sys, tempfile; os.environ['AIRFLOW__OFFLOAD_BACKEND__PATH'] = 'file://' + tempfile.mkdtemp();"
        "from airflow.sdk.state import TaskScope; from offload_backend.airflow import OffloadStateBackend as B;"
        "ref = B().serialize_task_state_store_to_ref(value='x' * 99999, key='k', scope=TaskScope('d', 'r', 't'));"
        "print(ref[:4], any(name.startswith('offload_backend.lifecycle') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split()[-2:] == ["file", "False"], done.stderr
