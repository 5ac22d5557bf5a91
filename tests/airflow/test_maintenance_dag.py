"""The example DAG in a real Airflow: its tasks read Airflow's own database, and delete what no row names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.airflow.harness import Airflow

DAYS = 86_400
WRITE = """
for number in range(6):
    store.set(f"k{number}", [number] * 40_000)
store.set("k0", ["again"] * 20_000)
"""


@pytest.fixture
def maintained(airflow: Airflow, tmp_path: Path) -> dict[str, str]:
    """Settings of a deployment of its own, in which one blob of seven has lost its row; adopted."""
    url = f"airflow+{airflow.env['AIRFLOW__DATABASE__SQL_ALCHEMY_CONN']}"
    env = {
        "AIRFLOW__OFFLOAD_BACKEND__PATH": tmp_path.as_uri(),
        "AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT": "maintained",
        "AIRFLOW__OFFLOAD_BACKEND__RECLAIM": "never",
        "AIRFLOW__OFFLOAD_BACKEND__GC_QUARANTINE": "0s",
        "AIRFLOW_CONN_OFFLOAD_CORE_STORE": json.dumps({"password": url}),
    }
    written = airflow.run("probe", "sync", conf={"code": WRITE}, env=env)
    assert written.states()["sync", -1] == "success", written.log
    for blob in blobs(tmp_path):
        os.utime(blob, times=(time.time() - 30 * DAYS,) * 2)
    command = [Path(sys.executable).with_name("offload"), "gc", "adopt", "--core-store", url]
    subprocess.run(command, env=airflow.env | env, check=True, capture_output=True, timeout=60)
    return env


def blobs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.json.zst") if "_gc" not in path.parts]


def test_the_daily_run_reports_until_it_is_told_to_delete_and_the_weekly_one_finds_what_dangles(
    airflow: Airflow, maintained: dict[str, str], tmp_path: Path
) -> None:
    reported = airflow.run("offload_maintenance", env=maintained, tries=1)
    assert reported.state == "success", reported.log
    assert len([each for each in reported.attempts if each.task_id == "list_shards"]) == 4
    assert reported.result("conclude")["counts"]["marked"]["count"] == 1
    purged = reported.result("purge_matured")
    assert (purged["dry"], purged["doomed"]["count"], purged["deleted"]["count"]) == (True, 1, 0)
    assert len(blobs(tmp_path)) == 7

    deleted = airflow.run("offload_maintenance", conf={"delete": True}, env=maintained, tries=1)
    assert deleted.result("purge_matured")["deleted"]["count"] == 1, deleted.log
    live = {row.ref.partition("#")[0] for row in airflow.rows().task if row.ref and "/maintained/" in row.ref}
    assert {path.as_uri() for path in blobs(tmp_path)} == live
    assert len(live) == 6
    assert airflow.run("offload_verification", env=maintained).state == "success"

    blobs(tmp_path)[0].unlink()
    alarmed = airflow.run("offload_verification", env=maintained)
    assert alarmed.state == "failed"
    assert "refs dangle: [" in alarmed.log


def test_a_refusal_fails_the_task_and_says_why(
    airflow: Airflow, maintained: dict[str, str], tmp_path: Path
) -> None:
    young = {**maintained, "AIRFLOW__OFFLOAD_BACKEND__GC_MIN_AGE": "1h"}
    refused = airflow.run("offload_maintenance", conf={"delete": True}, env=young, tries=1)
    assert refused.states()["begin", -1] == "up_for_retry"
    assert "min-age: gc_min_age is 1h (limit: at least 1d)" in refused.log
    assert not any(each.task_id == "purge_matured" for each in refused.attempts)
    assert len(blobs(tmp_path)) == 7


def test_rows_of_a_database_that_has_not_adopted_the_deployment_do_not_expire(
    airflow: Airflow, maintained: dict[str, str], tmp_path: Path
) -> None:
    stranger = {**maintained, "AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT": "stranger"}
    refused = airflow.run("offload_maintenance", "expire_rows", conf={"delete": True}, env=stranger, tries=1)
    assert refused.states()["expire_rows", -1] == "up_for_retry", refused.log
    assert "offload gc adopt" in refused.log


@pytest.mark.parametrize("last", ["conclude", "purge_matured"])
def test_a_refusal_after_the_listing_is_not_tried_again(
    airflow: Airflow, maintained: dict[str, str], last: str
) -> None:
    """A second try would find the run concluded, and hide why."""
    run = airflow.trigger("offload_maintenance", {"delete": True})
    for _ in range(4):
        for task_id, index in run.ready():
            if task_id != last:
                run.attempt(task_id, index, env=maintained)
    assert run.ready() == [(last, -1)], run.log
    young = {**maintained, "AIRFLOW__OFFLOAD_BACKEND__GC_MIN_AGE": "1h"}
    refused = run.attempt(last, env=young)
    assert refused.state == "failed", refused.log
    assert "RefusedError" in refused.log
    assert run.ready() == []
