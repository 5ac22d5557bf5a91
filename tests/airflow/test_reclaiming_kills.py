"""A task process that is killed while it deletes: what its rows name is there, whatever else has gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.airflow.test_reclaiming import Bucket, bucket

if TYPE_CHECKING:
    from tests.airflow.harness import Airflow

__all__ = ["bucket"]

KILL = """
import os, signal
from botocore.httpsession import URLLib3Session
send = URLLib3Session.send
def killed_at_its_first_delete(session, request):
    deletes = request.method == "POST" and request.url.endswith("?delete")
    if deletes and conf["when"] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(session, request)
    if deletes:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
URLLib3Session.send = killed_at_its_first_delete
for n in range(conf["sets"]):
    store.set("k", [n] * 50)
    assets[A].set("killed", [n] * 50)
"""
RESUME = """
found = store.get("k")
store.set("k", found + [1])
result = found[0]
"""
AT_THE_END, WHILE_IT_RUNS = 6, 40


def values(airflow: Airflow, bucket: Bucket, run_id: str) -> list[Any]:
    """The value of the task's row and of the asset's: a ref that dangles raises."""
    options = json.dumps({**bucket.s3.connection()["extra"], **_KEYS})
    settings = Settings.load({"path": f"s3://{bucket.s3.bucket}/{bucket.prefix}", "storage_options": options})
    offloader = Offloader(settings, lambda path: open_store(path, settings))
    rows = airflow.rows()
    refs = [row.ref for row in rows.task if row.run_id == run_id] + [
        row.ref for row in rows.asset if row.key == "killed"
    ]
    return [offloader.resolve(ref) for ref in refs]


_KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing-secret"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("sets", [AT_THE_END, WHILE_IT_RUNS], ids=["at its end", "while it runs"])
def test_what_a_task_killed_in_its_deletes_has_left_resolves(
    airflow: Airflow, bucket: Bucket, sets: int, when: str
) -> None:
    conf = {
        "code": f"if ti.try_number == 1:\n{_indented(KILL)}\nelse:\n{_indented(RESUME)}",
        "sets": sets,
        "when": when,
    }
    run = airflow.run("probe", "sync", conf=conf, env=bucket.env, tries=1)
    [attempt] = run.attempts
    assert attempt.exit_code == -9, run.log
    task, asset = values(airflow, bucket, run.run_id)
    if sets == AT_THE_END:
        assert attempt.state == "success", run.log
        assert (task[0], asset[0]) == (sets - 1, sets - 1)
        assert len(bucket.names()) == (2 * sets if when == "before" else 2)
        return
    assert attempt.state == "up_for_retry", run.log
    second = run.attempt("sync", env=bucket.env)
    assert second.state == "success", run.log
    assert run.result("sync") == task[0] >= 2
    assert values(airflow, bucket, run.run_id) == [[*task, 1], asset]


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())
