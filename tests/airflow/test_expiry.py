"""``offload expire`` and ``offload erase`` in a real Airflow's environment, on rows that its tasks wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.airflow.harness import EXECUTION_API, Airflow
from tests.airflow.rows import TaskRow
from tests.s3 import S3

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OFFLOAD = [sys.executable, "-c", "from offload_backend.cli.main import app; app()"]
WRITES = """
from datetime import timedelta
from airflow.sdk.execution_time.context import NEVER_EXPIRE
for key, retention in (("brief", timedelta(microseconds=1)), ("long", timedelta(days=1)), ("never", NEVER_EXPIRE)):
    store.set(key, [key] * 30_000, retention=retention)
store.set("small", 1, retention=timedelta(microseconds=1))
assets[A].set("watermark", "w" * 70_000)
"""
CLEANED = re.compile(r"Dag '([^']+)', run '([^']+)', task '([^']+)', .*key '([^']+)'")


def offload(airflow: Airflow, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """What the command tells programs."""
    command = [*OFFLOAD, *arguments, "--output", "json"]
    done = subprocess.run(
        command, env=airflow.env | dict(env or {}), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


def of(airflow: Airflow, *runs: Any) -> dict[tuple[str, str], TaskRow]:
    wanted = {run.run_id for run in runs}
    return {(row.run_id, row.key): row for row in airflow.rows().task if row.run_id in wanted}


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_rows_of_real_tasks_expire_as_airflow_would_have_it_and_take_their_blobs_along(
    airflow: Airflow, state_folder: Path
) -> None:
    run = airflow.run("probe", "sync", conf={"code": WRITES})
    assert run.attempts[0].state == "success", run.log
    forever = {
        "AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS": "0",
        EXECUTION_API: f"{airflow.rest.url}/execution/",
    }
    zero = airflow.run("probe", "sync", conf={"code": 'store.set("zero", [0] * 40_000)'}, env=forever)
    assert zero.attempts[0].state == "success", zero.log
    rows = of(airflow, run, zero)
    assert [key for (_, key), row in rows.items() if row.expires_at is None] == ["never", "zero"]

    would = airflow.cli("state-store", "clean", "--dry-run", env={"AIRFLOW__WORKERS__STATE_STORE_BACKEND": ""})
    cleaned = {(run_id, key) for _, run_id, _, key in CLEANED.findall(would.stdout)}
    assert {key for run_id, key in cleaned if run_id == run.run_id} == {"brief", "small"}, would.stdout
    offload(airflow, "gc", "adopt", "--accept", "adopted")
    before, blobs = {(row.run_id, row.key) for row in airflow.rows().task}, files(state_folder)
    dry = offload(airflow, "expire")
    assert dry["total"]["rows"] == len(cleaned)
    assert {(row.run_id, row.key) for row in airflow.rows().task} == before
    done = offload(airflow, "expire", "--delete")
    assert before - {(row.run_id, row.key) for row in airflow.rows().task} == cleaned
    assert done["total"] == dry["total"]
    gone = blobs - files(state_folder)
    assert len(gone) == done["total"]["blobs"]
    assert rows[run.run_id, "brief"].ref is not None
    assert {name for name in gone if name in rows[run.run_id, "brief"].value} != set()

    settings = Settings.load({"path": state_folder.as_uri()})
    values = Offloader(settings, lambda path: open_store(path, settings))
    left = of(airflow, run, zero)
    assert {key for _, key in left} == {"long", "never", "zero"}
    for (_, key), row in left.items():
        assert values.resolve(row.ref or "") == ([0] * 40_000 if key == "zero" else [key] * 30_000)
    (watermark,) = [row for row in airflow.rows().asset if (row.name, row.key) == ("probe_a", "watermark")]
    assert values.resolve(watermark.ref or "") == "w" * 70_000
    assert offload(airflow, "expire")["total"]["rows"] == 0


def test_the_credentials_come_from_a_connection_in_airflows_database(airflow: Airflow, s3: S3) -> None:
    added = airflow.cli("connections", "add", "expiry_lab", "--conn-json", json.dumps(s3.connection()))
    assert added.returncode == 0, added.stderr
    env = {"AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://expiry_lab@{s3.bucket}/expiry"}
    run = airflow.run("probe", "sync", conf={"code": WRITES}, env=env)
    assert run.attempts[0].state == "success", run.log
    names = [name for name in s3.names() if name.startswith("expiry/") and "/_gc/" not in name]
    offload(airflow, "gc", "adopt", "--accept", "adopted", env=env)
    done = offload(airflow, "expire", "--delete", env=env)
    assert done["failed"] == {}
    left = [name for name in s3.names() if name.startswith("expiry/") and "/_gc/" not in name]
    assert len(names) - len(left) == 1
    assert "/brief/" in (set(names) - set(left)).pop()


def test_erasing_a_run_leaves_the_other_runs_and_the_assets(airflow: Airflow, state_folder: Path) -> None:
    code = 'store.set("k", [ti.run_id] * 20_000)\nassets[B].set("k", "b" * 70_000)'
    first, second = (airflow.run("probe", "sync", conf={"code": code}) for _ in range(2))
    assert [run.attempts[0].state for run in (first, second)] == ["success"] * 2, first.log + second.log
    (row,) = of(airflow, first).values()
    offload(airflow, "gc", "adopt", "--accept", "adopted")
    erase = ("erase", "--dag", "probe", "--run", first.run_id, "--accept", "running")
    assert offload(airflow, *erase)["counts"]["rows"] == 1
    done = offload(airflow, *erase, "--delete")
    assert (done["counts"]["rows"], done["counts"]["kept"], done["elsewhere"]) == (1, 0, [])
    assert of(airflow, first) == {}
    assert row.ref is not None
    assert not any(name in row.ref for name in files(state_folder))
    (left,) = of(airflow, second).values()
    assert left.ref is not None
    assert any(name in left.ref for name in files(state_folder))

    by_name = ("erase", "--asset", "probe_b", "--key", "k", "--accept", "running")
    assert offload(airflow, *by_name, "--delete")["counts"]["rows"] == 1
    assert [row for row in airflow.rows().asset if (row.name, row.key) == ("probe_b", "k")] == []
    assert [path for path in state_folder.rglob("*") if path.is_file() and "probe_b" in str(path)] == []
