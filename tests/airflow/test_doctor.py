"""``offload doctor`` beside a real Airflow: as an operator, as a worker, and within a task."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.airflow.harness import Airflow
    from tests.s3 import S3

CONNECTION = "kept_by_the_server"
EXAMINE = """
import os
from offload_backend.cli.examining import examine
before = dict(os.environ)
result = {**examine().as_json(), "environment": dict(os.environ) == before}
"""


def command(env: dict[str, str], *arguments: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit code and findings by check, of the command as a user runs it."""
    offload = Path(sys.executable).with_name("offload")
    done = subprocess.run(
        [offload, "doctor", "--output", "json", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, by_check(json.loads(done.stdout))


def by_check(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in document["checks"]:
        found.setdefault(each["check"], []).append(each)
    return found


def statuses(found: dict[str, list[dict[str, Any]]], check: str) -> list[str]:
    return [each["status"] for each in found[check]]


def test_an_operator_sees_airflows_own_database(airflow: Airflow, tmp_path: Path) -> None:
    path = tmp_path / "blobs"
    path.mkdir()
    env = {**airflow.env, "AIRFLOW__OFFLOAD_BACKEND__PATH": path.as_uri()}
    code, found = command(env, "--deployment", "examined")
    # Rows of other tests are in this database, too, and their refs lead to other places.
    failed = {check for check, each in found.items() if any(finding["status"] == "fail" for finding in each)}
    assert failed <= {"refs"}, found
    assert bool(code) == bool(failed)
    assert (
        statuses(found, "core-store")
        == statuses(found, "worker-class")
        == statuses(found, "database-clock")
        == ["ok"]
    )
    assert statuses(found, "owner") == ["warn"]


def test_a_connection_that_only_the_server_has_is_seen_where_it_can_be(
    airflow: Airflow, s3: S3, tmp_path: Path
) -> None:
    extra = {"endpoint_url": s3.endpoint, "region_name": "us-east-1"}
    body = {"connection_id": CONNECTION, "conn_type": "aws", "login": "testing", "password": "testing-secret"}
    airflow.rest.ask("POST", "/api/v2/connections", json={**body, "extra": json.dumps(extra)})
    path = {"AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://{CONNECTION}@state/examined"}

    code, found = command({**airflow.env, **path})
    assert statuses(found, "path") == ["ok"]
    assert CONNECTION in found["path"][0]["seen"]

    worker = {**airflow.env, **path, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/no.db"}
    code, found = command(worker)
    assert (code, statuses(found, "path")) == (0, ["unknown"])
    assert "in a task" in found["path"][0]["mend"]
    assert statuses(found, "put") == ["skip"]

    run = airflow.run("probe", "sync", conf={"code": EXAMINE}, env=path, tries=1)
    assert run.states()["sync", -1] == "success", run.log
    document = run.result("sync")
    found = by_check(document)
    assert document["code"] == 0, document
    assert document["environment"], "what the task starts next is no server"
    for check in ("path", "put", "get", "range", "list", "delete", "worker-class", "identity"):
        assert statuses(found, check) == ["ok"], found[check]
    assert statuses(found, "core-store") == ["unknown"]
    assert s3.names() == []


def test_a_connection_that_nobody_has_is_a_failure_where_that_can_be_known(airflow: Airflow) -> None:
    path = {"AIRFLOW__OFFLOAD_BACKEND__PATH": "s3://nobody_has_it@state/examined"}
    code, found = command({**airflow.env, **path})
    assert (code, statuses(found, "path")) == (2, ["fail"])
