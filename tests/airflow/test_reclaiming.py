"""Space is given back while a task runs and when it ends: real supervisor, API server, S3 over HTTP."""

from __future__ import annotations

import json
import signal
import uuid
from typing import TYPE_CHECKING

import pytest

from demo.processes import wait_until
from tests.airflow.harness import Airflow
from tests.s3 import S3

if TYPE_CHECKING:
    from pathlib import Path

HANDFUL = 12
CLEAR = {"AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS": "True"}


class Bucket:
    """A prefix of its own in the bucket, and the settings that point a task at it."""

    def __init__(self, s3: S3, **env: str) -> None:
        self.s3, self.prefix = s3, f"reclaiming-{uuid.uuid4().hex[:8]}"
        self.env = {
            "AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://lab@{s3.bucket}/{self.prefix}",
            "AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "0",
            "AIRFLOW__OFFLOAD_BACKEND__GIVE_UP_AFTER": "60s",
            "AIRFLOW_CONN_LAB": json.dumps(s3.connection()),
            **env,
        }

    def names(self) -> list[str]:
        found = self.s3.client.list_objects_v2(Bucket=self.s3.bucket, Prefix=f"{self.prefix}/")
        return [entry["Key"] for entry in found.get("Contents", ())]

    def operations(self) -> list[str]:
        """What was asked of the prefix, batch deletes of the whole bucket included, looking left out."""
        return [r.operation for r in self.s3.requests if self.prefix in r.path or r.operation == "DeleteObjects"]


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    s3.requests.clear()
    s3.faults.clear()
    return Bucket(s3)


COUNT = """
import boto3
client = boto3.client("s3", endpoint_url=conf["endpoint"], aws_access_key_id="testing",
                      aws_secret_access_key="testing-secret", region_name="us-east-1")
def blobs():
    return client.list_objects_v2(Bucket=conf["bucket"], Prefix=conf["prefix"] + "/").get("KeyCount", 0)
"""


def conf_of(bucket: Bucket, code: str, **more: object) -> dict[str, object]:
    where = {"endpoint": bucket.s3.endpoint, "bucket": bucket.s3.bucket, "prefix": bucket.prefix}
    return {"code": COUNT + code, **where, **more}


def test_a_task_that_overwrites_one_key_leaves_a_handful_while_it_runs_and_one_when_it_ends(
    airflow: Airflow, bucket: Bucket
) -> None:
    code = """
most = 0
for n in range(300):
    store.set("k", [n])
    if n % 7 == 0:
        most = max(most, blobs())
result = most
"""
    run = airflow.run("probe", "sync", conf=conf_of(bucket, code), env=bucket.env, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert 3 <= run.result("sync") <= HANDFUL
    assert len(bucket.names()) == 1, run.log
    assert bucket.operations().count("PutObject") == 300
    assert bucket.operations().count("DeleteObjects") <= 300 / 8 + 1


def test_an_async_task_leaves_one_blob_of_each_key(airflow: Airflow, bucket: Bucket) -> None:
    code = """
for n in range(40):
    await assets[A].aset("k", [n])
    store.set("k", [n])
"""
    run = airflow.run("probe", "on_a_loop", conf={"code": code}, env=bucket.env, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert len(bucket.names()) == 2, run.log


def test_threads_that_write_one_key_leave_its_value_and_little_else(airflow: Airflow, bucket: Bucket) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
def work(m):
    for n in range(40):
        store.set("k", [m, n])
        store.get("k")
with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(4)))
result = store.get("k")
"""
    run = airflow.run("probe", "sync", conf={"code": code}, env=bucket.env, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert run.result("sync")[1] == 39
    assert 1 <= len(bucket.names()) <= 4, run.log
    assert_every_row_resolves(airflow, bucket, run.run_id)


def assert_every_row_resolves(airflow: Airflow, bucket: Bucket, run_id: str) -> None:
    names = bucket.names()
    refs = [row.ref for row in airflow.rows().task if row.run_id == run_id]
    assert refs
    for ref in refs:
        assert ref is not None
        assert any(ref.startswith(f"s3://{bucket.s3.bucket}/{name}#") for name in names), (ref, names)


END_EARLY = {
    "failure": "raise AirflowFailException",
    "skip": "raise AirflowSkipException",
    "deferral": "from datetime import timedelta\n"
    "from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger\n"
    "raise TaskDeferred(trigger=TimeDeltaTrigger(timedelta(days=1)), method_name='execute_complete')",
    "reschedule": "from airflow.sdk import timezone\nfrom datetime import timedelta\n"
    "raise AirflowRescheduleException(timezone.utcnow() + timedelta(days=1))",
}
STATES = {"failure": "failed", "skip": "skipped", "deferral": "deferred"}


@pytest.mark.parametrize("end", END_EARLY)
def test_however_a_task_ends_one_blob_is_left_and_its_row_resolves(
    airflow: Airflow, bucket: Bucket, end: str
) -> None:
    code = """
from airflow.sdk.exceptions import *
for n in range(5):
    store.set("k", [n])
"""
    run = airflow.run("probe", "sync", conf={"code": code + END_EARLY[end]}, env=bucket.env, tries=1)
    assert run.attempts[0].state == STATES.get(end, "up_for_reschedule"), run.log
    assert len(bucket.names()) == 1, run.log
    assert_every_row_resolves(airflow, bucket, run.run_id)


def test_a_task_that_is_tried_again_leaves_a_handful_and_resumes(airflow: Airflow, bucket: Bucket) -> None:
    """Airflow replaces the attempt before it tells anybody that there will be another."""
    code = """
before = store.get("k", [-1])
for n in range(before[0] + 1, before[0] + 31):
    store.set("k", [n])
if ti.try_number == 1:
    raise ValueError("try again")
result = before
"""
    run = airflow.run("probe", "sync", conf={"code": code}, env=bucket.env)
    assert [attempt.state for attempt in run.attempts] == ["up_for_retry", "success"], run.log
    assert run.result("sync") == [29]
    assert 1 <= len(bucket.names()) <= HANDFUL
    assert_every_row_resolves(airflow, bucket, run.run_id)


def test_a_killed_task_leaves_a_handful_and_the_next_try_resumes(airflow: Airflow, bucket: Bucket) -> None:
    code = """
import os, signal
before = store.get("k", [-1])
for n in range(before[0] + 1, 60):
    if n == 37 and ti.try_number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    store.set("k", [n])
result = before
"""
    run = airflow.run("probe", "sync", conf={"code": code}, env=bucket.env)
    assert [attempt.exit_code for attempt in run.attempts] == [-signal.SIGKILL, 0], run.log
    assert run.result("sync") == [36]
    assert 1 <= len(bucket.names()) <= HANDFUL
    assert_every_row_resolves(airflow, bucket, run.run_id)


def test_a_cleared_task_leaves_no_blob(airflow: Airflow, bucket: Bucket) -> None:
    code = 'for n in range(5):\n    store.set("k", [n])\nstore.set("other", [5])'
    run = airflow.run("probe", "sync", conf={"code": code}, env={**bucket.env, **CLEAR}, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert bucket.names() == [], run.log


DIE = """
import os, signal
from airflow.sdk.execution_time.comms import CommsDecoder
send = CommsDecoder.send
def dies(self, msg):
    if type(msg).__name__ == "SucceedTask":
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, msg)
if ti.try_number == 1:
    CommsDecoder.send = dies
before = store.get("k")
if before is None:
    for n in range(5):
        store.set("k", [n])
result = before
"""


def test_a_crash_between_clear_and_the_report_of_success_resumes(airflow: Airflow, bucket: Bucket) -> None:
    run = airflow.run("probe", "sync", conf={"code": DIE}, env={**bucket.env, **CLEAR})
    assert [attempt.exit_code for attempt in run.attempts] == [-signal.SIGKILL, 0], run.log
    assert "Clearing task state from custom backend" in run.attempts[0].log
    assert run.result("sync") == [4]
    assert_no_row_is_left(airflow, run.run_id)


def assert_no_row_is_left(airflow: Airflow, run_id: str) -> None:
    assert [row for row in airflow.rows().task if row.run_id == run_id] == []


def test_an_attempt_that_was_superseded_takes_nothing_from_the_next(
    airflow: Airflow, bucket: Bucket, tmp_path: Path
) -> None:
    """The first falls silent, is replaced, then writes, clears and reports a success that nobody accepts."""
    code = """
import pathlib, time
if ti.try_number == 1:
    for n in range(3):
        store.set("k", [n])
    while not pathlib.Path(conf["go"]).exists():
        time.sleep(0.05)
    refused = 0
    for n in range(30):
        try:
            store.set("k", ["zombie", n])
        except Exception:
            refused += 1
    assert refused == 30
else:
    result = store.get("k")
    if ti.try_number == 2:
        raise ValueError("not yet")
"""
    go = tmp_path / "go"
    env = {**bucket.env, **CLEAR}
    run = airflow.trigger("probe", {"code": code, "go": str(go)})
    assert ("sync", -1) in run.ready()
    zombie = run.start("sync", env={**env, "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "600"})
    wait_until(lambda: len(bucket.names()) == 3, "three sets", 30)
    wait_until(lambda: any(row.run_id == run.run_id for row in airflow.rows().task), "the row", 30)
    zombie.give_up()
    assert run.attempt("sync", env=env).state == "up_for_retry", run.log
    go.touch()
    assert "Clearing task state from custom backend" in zombie.wait().log
    assert_every_row_resolves(airflow, bucket, run.run_id)
    assert ("sync", -1) in run.ready()
    assert run.attempt("sync", env=env).state == "success", run.log
    assert run.result("sync") == [2]


FAILS_LAST = """
import json, pathlib
from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowRescheduleException
from airflow.sdk.execution_time.comms import CommsDecoder
late = pathlib.Path(conf["late"])
if not late.exists():
    for n in range(3):
        store.set("k", [n])
    send = CommsDecoder.send
    def fails(self, msg):
        if type(msg).__name__ == "SetTaskStateStore":
            late.write_text(json.dumps(msg.value))
            raise RuntimeError("the row was not written, or was it?")
        return send(self, msg)
    CommsDecoder.send = fails
    try:
        store.set("k", ["late"])
    except RuntimeError:
        raise AirflowRescheduleException(timezone.utcnow())
result = store.get("k")
"""


@pytest.mark.parametrize("is_applied_late", [True, False])
def test_a_row_write_that_failed_may_be_applied_late(
    airflow: Airflow, bucket: Bucket, tmp_path: Path, is_applied_late: bool
) -> None:
    late = tmp_path / "late"
    run = airflow.trigger("probe", {"code": FAILS_LAST, "late": str(late)})
    assert ("sync", -1) in run.ready()
    assert run.attempt("sync", env=bucket.env).state == "up_for_reschedule", run.log
    assert len(bucket.names()) == 2
    if is_applied_late:
        statement = "UPDATE task_state_store SET value = :value WHERE run_id = :run_id"
        airflow.sql(statement, value=late.read_text(), run_id=run.run_id)
    assert ("sync", -1) in run.ready()
    assert run.attempt("sync", env=bucket.env).state == "success", run.log
    assert run.result("sync") == (["late"] if is_applied_late else [2])


OVERTAKEN = """
from airflow.sdk.execution_time.comms import CommsDecoder
store.set("k", [0])
(old,) = client.list_objects_v2(Bucket=conf["bucket"], Prefix=conf["prefix"] + "/")["Contents"]
send, due = CommsDecoder.send, [True]
def overtaken(self, msg):
    answer = send(self, msg)
    if type(msg).__name__ == "GetTaskStateStore" and due and due.pop():
        store.set("k", [1])
        client.delete_object(Bucket=conf["bucket"], Key=old["Key"])
    return answer
CommsDecoder.send = overtaken
result = store.get("k")
"""


@pytest.mark.parametrize("status", [404, 403])
def test_a_reader_that_is_overtaken_reads_the_value_that_replaced_its_own_though_workers_may_not_delete(
    airflow: Airflow, bucket: Bucket, status: int
) -> None:
    """As when another worker, or ``offload expire``, deletes; 403 is S3's answer without s3:ListBucket."""
    if status == 403:
        bucket.s3.fail("GetObject", 403, "AccessDenied", times=1)
    env = {**bucket.env, "AIRFLOW__OFFLOAD_BACKEND__RECLAIM": "never"}
    run = airflow.run("probe", "sync", conf=conf_of(bucket, OVERTAKEN), env=env, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert run.result("sync") == [1]
    assert bucket.operations().count("GetObject") == 2


TIMES_OUT = """
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.comms import CommsDecoder
for n in range(3):
    store.set("k", [n])
receive, due = CommsDecoder._get_response, [True]
def interrupted(self):
    if due and due.pop():
        raise AirflowTaskTimeout("in the middle of a call")
    return receive(self)
CommsDecoder._get_response = interrupted
try:
    store.get("k")
except AirflowTaskTimeout:
    pass
for n in range(10, 40):
    store.set("k", [n])
"""


def test_a_time_out_that_a_task_catches_costs_no_value(airflow: Airflow, bucket: Bucket) -> None:
    """Airflow takes each answer for the next question's from then on."""
    run = airflow.run("probe", "sync", conf={"code": TIMES_OUT}, env=bucket.env, tries=1)
    assert_every_row_resolves(airflow, bucket, run.run_id)
    assert len(bucket.names()) > 1, "nothing was in doubt"


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (503, "SlowDown"), (200, "AccessDenied")])
def test_deletes_that_the_store_refuses_fail_no_task_and_are_told_once(
    airflow: Airflow, bucket: Bucket, status: int, code: str
) -> None:
    bucket.s3.fail("DeleteObjects", status, code)
    bucket.s3.fail("DeleteObject", 503 if status == 503 else 403, code)
    probe = 'for n in range(40):\n    store.set("k", [n])'
    run = airflow.run("probe", "sync", conf={"code": probe}, env={**bucket.env, **CLEAR}, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert len(bucket.names()) == 40
    assert run.log.count("dead blobs were left behind") == 1, run.log


def test_two_tasks_that_write_one_asset_do_not_disturb_each_other(airflow: Airflow, bucket: Bucket) -> None:
    code = """
for n in range(60):
    assets[A].set("k", [ti.run_id, n])
    assert assets[A].get("k")[1] >= 0
"""
    runs = [airflow.trigger("probe", {"code": code}) for _ in range(2)]
    assert all(("sync", -1) in run.ready() for run in runs)
    for attempt in [run.start("sync", env=bucket.env) for run in runs]:
        assert attempt.wait().state == "success", attempt.log()
    [row] = [row for row in airflow.rows().asset if row.name == "probe_a" and row.key == "k"]
    names = bucket.names()
    assert row.ref is not None
    assert any(f"/{name}#" in row.ref for name in names)
    assert len(names) <= 4


def test_a_task_without_state_neither_imports_nor_sends_anything(airflow: Airflow, bucket: Bucket) -> None:
    code = """
import sys
from airflow.sdk.listener import get_listener_manager
result = ["offload_backend.airflow.backend" in sys.modules, get_listener_manager().has_listeners]
"""
    run = airflow.run("probe", "sync", conf={"code": code}, env=bucket.env, tries=1)
    assert run.result("sync") == [False, False]
    assert bucket.operations() == []


def test_a_cleared_task_without_state_sends_nothing(airflow: Airflow, bucket: Bucket) -> None:
    run = airflow.run("probe", "sync", conf={"code": ""}, env={**bucket.env, **CLEAR}, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert bucket.operations() == []


def test_reclaim_never_leaves_every_blob(airflow: Airflow, bucket: Bucket) -> None:
    env = {**bucket.env, **CLEAR, "AIRFLOW__OFFLOAD_BACKEND__RECLAIM": "never"}
    code = 'for n in range(20):\n    store.set("k", [n])\nstore.delete("k")'
    run = airflow.run("probe", "sync", conf={"code": code}, env=env, tries=1)
    assert run.attempts[0].state == "success", run.log
    assert len(bucket.names()) == 20


def test_a_process_that_the_task_forks_gives_back_nothing(airflow: Airflow, bucket: Bucket) -> None:
    code = """
import multiprocessing
for n in range(3):
    store.set("k", [n])
def child():
    from airflow.sdk.listener import get_listener_manager
    get_listener_manager().hook.before_stopping(component=None)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
result = [process.exitcode, blobs()]
"""
    run = airflow.run("probe", "sync", conf=conf_of(bucket, code), env=bucket.env, tries=1)
    assert run.result("sync") == [0, 3], run.log
    assert len(bucket.names()) == 1


def test_a_dag_that_is_tried_out_in_one_process_leaves_one_blob(airflow: Airflow, bucket: Bucket) -> None:
    """`airflow dags test`: no supervisor, no process for a task, and the same accessors."""
    conf = json.dumps({"steps": 20, "bytes_per_step": 100})
    done = airflow.cli("dags", "test", "checkpoint_resume", "--conf", conf, env=bucket.env)
    assert done.returncode == 0, done.stderr
    assert bucket.operations().count("PutObject") == 20
    assert len(bucket.names()) == 1, done.stdout
