"""A real Airflow's state: from its own backend to ours, to another place, back, and to plain rows."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.seam import OURS, PEER

if TYPE_CHECKING:
    from tests.airflow.harness import Airflow
    from tests.s3 import S3

pytest.importorskip("airflow.providers.common.io.state_store", reason="this Airflow's common-io has no state store")

VALUE = {"epoch": 3, "loss": [0.1, 1e16, -0.0], "text": "é\u2028😀", "words": ["word"] * 300, "nothing": None}
CODE = """
value = conf["value"]
if ti.try_number == 1:
    store.set("checkpoint", value)
    store.set("a/b.gz", [value])
    assets[A].set("total", value)
else:
    found = {"checkpoint": store.get("checkpoint"), "in": store.get("a/b.gz"), "total": assets[A].get("total")}
    assert found == {"checkpoint": value, "in": [value], "total": value}, found
result = "same"
if ti.try_number < 4:
    raise RuntimeError("once more")
"""
TEXTS = [json.dumps([VALUE]), json.dumps(VALUE), json.dumps(VALUE)]


class Site:
    """Workers and operator with one configuration; the rows are those of one run and one asset."""

    def __init__(self, airflow: Airflow, s3: S3) -> None:
        self.airflow = airflow
        for table in ("task_state_store", "asset_state_store"):  # of other tests, which may leave what cannot move
            airflow.sql(f"DELETE FROM {table}")
        self.env = {
            "AIRFLOW_CONN_LAB": json.dumps(s3.connection()),
            "AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH": "s3://lab@state/migrating/peer",
            "AIRFLOW__OFFLOAD_BACKEND__PATH": "s3://lab@state/migrating/ours",
            "AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "0",
            "AIRFLOW__OFFLOAD_BACKEND__DEPLOYMENT": "migrating",
        }

    def offload(self, *arguments: str) -> dict[str, Any]:
        """What the command tells, which must do all that it was asked for."""
        script = "from offload_backend.cli.main import app; app()"
        command = [sys.executable, "-c", script, *arguments, "--core-store", "airflow", "--output", "json"]
        env = self.airflow.env | self.env
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def worker(self, backend: str) -> dict[str, str]:
        return {**self.env, "AIRFLOW__WORKERS__STATE_STORE_BACKEND": backend}

    def texts(self, run_id: str) -> list[str]:
        rows = self.airflow.rows()
        tasks = [row.value for row in sorted(rows.task, key=lambda row: row.key) if row.run_id == run_id]
        return tasks + [row.value for row in rows.asset if row.name == "probe_a" and row.key == "total"]


def test_each_backend_reads_what_the_one_before_has_written(airflow: Airflow, s3: S3) -> None:
    site = Site(airflow, s3)
    run = airflow.trigger("probe", {"code": CODE, "value": VALUE})

    def attempt(backend: str) -> None:
        done = run.attempt("sync", env=site.worker(backend))
        assert ("once more" in done.log) or done.state == "success", done

    attempt(PEER)
    theirs = site.texts(run.run_id)
    assert len(theirs) == 3
    assert all("lab@state/migrating/peer/" in text for text in theirs)
    site.offload("gc", "adopt")
    told = site.offload("migrate", "in")
    assert (told["done"]["rows"], told["failures"], told["elsewhere"]) == (3, 0, 0)
    attempt(OURS)
    site.env["AIRFLOW__OFFLOAD_BACKEND__READ_PATHS"] = site.env["AIRFLOW__OFFLOAD_BACKEND__PATH"]
    site.env["AIRFLOW__OFFLOAD_BACKEND__PATH"] = "s3://lab@state/migrating/new"
    site.offload("gc", "adopt")
    old = ["--from", "s3://state/migrating/ours", "--delete-old", "--grace", "0s"]
    assert site.offload("migrate", "move", *old)["done"]["rows"] == 3
    site.offload("verify", "--contents")
    told = site.offload("migrate", "out", "--to", "common-io")
    assert (told["done"]["rows"], told["kept"]) == (3, 3)
    assert all("lab@state/migrating/peer/" in text for text in site.texts(run.run_id))
    assert not set(site.texts(run.run_id)) & set(theirs)
    attempt(PEER)
    told = site.offload("migrate", "out", "--to", "plain")
    assert (told["done"]["rows"], told["failures"]) == (3, 0)
    assert site.texts(run.run_id) == TEXTS
    attempt("")
    assert run.result("sync") == "same"
    path = f"/api/v2/dags/probe/dagRuns/{run.run_id}/taskInstances/sync/state-store"
    shown = {row["key"]: row["value"] for row in airflow.rest.ask("GET", path)["task_state_store"]}
    assert shown == {"checkpoint": VALUE, "a/b.gz": [VALUE]}


def test_the_peer_clears_what_was_moved_back_to_it(airflow: Airflow, s3: S3) -> None:
    site = Site(airflow, s3)
    code = """
if ti.try_number == 1:
    store.set("checkpoint", conf["value"])
    raise RuntimeError("once more")
assert store.get("checkpoint") == conf["value"]
store.clear()
"""
    run = airflow.trigger("probe", {"code": code, "value": VALUE})
    run.attempt("sync", env=site.worker(OURS))
    site.offload("gc", "adopt")
    assert site.offload("migrate", "out", "--to", "common-io", "--dag", "probe")["failures"] == 0
    theirs = f"migrating/peer/probe/{run.run_id}/"
    assert [name for name in s3.names() if name.startswith(theirs)]
    done = run.attempt("sync", env=site.worker(PEER))
    assert done.state == "success", done
    assert not [name for name in s3.names() if name.startswith(theirs)]
