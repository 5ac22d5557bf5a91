"""A real Airflow: supervisor, forked task processes, Execution API over HTTP, triggerer."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from demo.processes import wait_until
from tests.airflow.harness import Airflow, wait_for_event
from tests.s3 import KEY, S3
from tests.seam import PEER

if TYPE_CHECKING:
    from pathlib import Path

CLEAR = {"AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS": "True"}


def on_s3(s3: S3, prefix: str) -> dict[str, str]:
    """Settings that point tasks at the bucket, with credentials from an Airflow connection alone."""
    return {
        "AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://lab@{s3.bucket}/{prefix}",
        "AIRFLOW_CONN_LAB": json.dumps(s3.connection()),
        "AWS_ACCESS_KEY_ID": "somebody-else",
        "AWS_SECRET_ACCESS_KEY": "not-this-one",
    }


def test_a_task_killed_half_way_resumes_from_its_last_checkpoint(airflow: Airflow, s3: S3) -> None:
    conf = {"steps": 6, "kill_at": 4, "bytes_per_step": 40_000}
    run = airflow.run("checkpoint_resume", conf=conf, env=on_s3(s3, "resume"))
    first, second = run.attempts
    assert (first.exit_code, first.state) == (-signal.SIGKILL, "up_for_retry"), run.log
    assert (second.try_number, second.state, run.state) == (2, "success", "success"), run.log
    assert run.result("train") == {"started_at": 4, "ended_at": 6, "try": 2}
    (row,) = [row for row in airflow.rows().task if row.run_id == run.run_id]
    assert row.ref is not None
    assert row.ref.startswith(f"s3://{s3.bucket}/resume/")
    assert {request.signed_by for request in s3.requests if "/resume/" in request.path} == {KEY}


def test_a_second_run_finds_the_watermark_of_the_first(airflow: Airflow) -> None:
    assert airflow.run("asset_watermark", conf={"watermark": "x" * 70_000}).state == "success"
    second = airflow.run("asset_watermark", conf={"watermark": "tuesday"})
    assert second.result("load") == "x" * 70_000
    (row,) = [row for row in airflow.rows().asset if row.name == "orders"]
    assert (row.key, row.writer) == ("watermark", "task")


def test_mapped_tasks_keep_their_state_apart(airflow: Airflow) -> None:
    run = airflow.run("probe", "mapped", conf={"code": 'store.set("n", [number] * 30_000)'})
    assert {attempt.state for attempt in run.attempts} == {"success"}
    rows = [row for row in airflow.rows().task if row.run_id == run.run_id]
    assert [row.map_index for row in rows] == [0, 1, 2]
    assert len({row.ref for row in rows}) == 3


def test_clear_on_success_leaves_no_row(airflow: Airflow) -> None:
    code = 'store.set("n", [1] * 40_000)'
    kept = airflow.run("probe", "sync", conf={"code": code})
    cleared = airflow.run("probe", "sync", conf={"code": code}, env=CLEAR)
    assert cleared.attempts[0].state == "success", cleared.log
    with_rows = {row.run_id for row in airflow.rows().task}
    assert kept.run_id in with_rows
    assert cleared.run_id not in with_rows


def test_an_async_task_may_touch_assets_first_on_its_event_loop(airflow: Airflow, s3: S3) -> None:
    code = 'await assets[A].aset("big", ["y"] * 30_000)\nresult = len(await assets[A].aget("big"))'
    run = airflow.run("probe", "on_a_loop", conf={"code": code}, env=on_s3(s3, "async"))
    assert run.result("on_a_loop") == 30_000, run.log
    assert {request.signed_by for request in s3.requests if "/async/" in request.path} == {KEY}


def test_a_watcher_signs_with_its_connection_from_the_first_request(airflow: Airflow, s3: S3) -> None:
    env = {**on_s3(s3, "watcher"), "AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "0"}
    with airflow.triggerer(env) as triggerer:
        event = wait_for_event(airflow, "feed", triggerer)
    assert event["payload"] == {"before": "nothing", "after": {"seen": "y" * 1000}}
    assert {request.signed_by for request in s3.requests if "/watcher/" in request.path} == {KEY}
    assert [row.writer for row in airflow.rows().asset if row.name == "feed"] == ["watcher"]


def test_a_try_that_fell_silent_cannot_disturb_the_one_that_replaced_it(airflow: Airflow, tmp_path: Path) -> None:
    code = """
import pathlib, time
if ti.try_number == 1:
    while not pathlib.Path(conf["go"]).exists():
        time.sleep(0.05)
store.set("checkpoint", [ti.try_number] * 50_000)
"""
    go = tmp_path / "go"
    run = airflow.trigger("probe", {"code": code, "go": str(go)})
    assert ("sync", -1) in run.ready()
    zombie = run.start("sync", env={"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "600"})  # nobody tells it
    wait_until(lambda: run.states()["sync", -1] == "running", "the first try", 30)
    zombie.give_up()
    assert run.attempt("sync").state == "success", run.log
    (before,) = [row.value for row in airflow.rows().task if row.run_id == run.run_id]
    go.touch()
    assert "AirflowRuntimeError" in zombie.wait().log
    (after,) = [row.value for row in airflow.rows().task if row.run_id == run.run_id]
    assert after == before
    assert run.attempts[-1].try_number == 1


def test_the_peers_backend_runs_in_the_same_airflow(airflow: Airflow, tmp_path: Path) -> None:
    pytest.importorskip("airflow.providers.common.io.state_store")
    env = {
        "AIRFLOW__WORKERS__STATE_STORE_BACKEND": PEER,
        "AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH": tmp_path.as_uri(),
    }
    run = airflow.run("probe", "sync", conf={"code": 'store.set("k", {"a": 1})\nresult = store.get("k")'}, env=env)
    assert run.result("sync") == {"a": 1}, run.log
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["k"]
