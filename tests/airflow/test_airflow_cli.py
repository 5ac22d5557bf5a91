"""``airflow offload …``: the same verbs, options and exit codes from Airflow's own command line."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from offload_backend import __version__
from offload_backend.address import TaskAddress
from offload_backend.offloader import Offloader
from offload_backend.row import envelope
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.airflow.harness import Airflow

VALUE = ["x" * 70_000]


@pytest.fixture(scope="module")
def run_id(booted_airflow: Airflow, state_folder: Path) -> str:
    """A run with a large and a small value in Airflow's own database, as a worker's backend leaves them there."""
    run = booted_airflow.trigger("probe")
    settings = Settings.load({"path": state_folder.as_uri()})
    offloader = Offloader(settings, lambda path: open_store(path, settings))
    place = "region_index, region_id" if booted_airflow.has_regions else "map_index"
    for key, value in (("cli-large", VALUE), ("cli-small", {"rows": 3})):
        text = offloader.offload(value, TaskAddress("probe", run.run_id, "sync"), key)
        booted_airflow.sql(
            f"INSERT INTO task_state_store (dag_run_id, dag_id, run_id, task_id, {place}, key, value, updated_at) "
            "SELECT id, dag_id, run_id, 'sync', -1, "
            f"{':region, ' if booted_airflow.has_regions else ''}:key, :value, :now "
            "FROM dag_run WHERE run_id = :run",
            key=key,
            value=envelope(text),
            now=datetime.now(timezone.utc).replace(tzinfo=None).isoformat(" ", "microseconds"),
            run=run.run_id,
            **({"region": "0" * 32} if booted_airflow.has_regions else {}),
        )
    return run.run_id


def test_airflow_lists_the_command(airflow: Airflow) -> None:
    shown = airflow.cli("--help")
    assert shown.returncode == 0
    assert any(line.split()[:1] == ["offload"] for line in shown.stdout.splitlines())
    assert "Failed to load CLI commands" not in shown.stderr + shown.stdout


def test_help_of_a_verb_is_the_verbs_own(airflow: Airflow) -> None:
    wide = {"COLUMNS": "120", "TERM": "dumb"}
    of_all = airflow.cli("offload", "--help", env=wide)
    assert of_all.returncode == 0
    for word in ("Usage: airflow offload", " ls ", " stats ", " gc "):
        assert word in of_all.stdout, of_all
    assert "completion" not in of_all.stdout
    of_one = airflow.cli("offload", "gc", "mark", "--help", env=wide)
    assert "Usage: airflow offload gc mark" in of_one.stdout
    assert "--accept" in of_one.stdout


def test_an_option_may_come_first(airflow: Airflow) -> None:
    assert airflow.cli("offload", "--version").stdout == f"offload-backend {__version__}\n"


def test_rows_of_airflows_database_are_listed_as_one_json_document(airflow: Airflow, run_id: str) -> None:
    told = airflow.cli("offload", "ls", "--run", run_id, "--all", "--output", "json")
    assert told.returncode == 0, told
    rows = {row["key"]: row for row in json.loads(told.stdout)["rows"]}
    assert rows.keys() == {"cli-large", "cli-small"}
    assert (rows["cli-large"]["kept"], rows["cli-small"]["kept"]) == ("offloaded", "inline")
    assert rows["cli-large"]["task"]["dag"] == "probe"
    assert rows["cli-small"]["about"] == "dict[1]"


def test_a_value_comes_out_as_it_is_stored(airflow: Airflow, run_id: str) -> None:
    told = airflow.cli("offload", "cat", "--run", run_id, "--key", "cli-large")
    assert (told.returncode, told.stdout) == (0, json.dumps(VALUE, separators=(",", ":"))), told.stderr


def test_exit_codes_are_those_of_the_verbs(airflow: Airflow, run_id: str, state_folder: Path) -> None:
    assert airflow.cli("offload", "show", "--run", run_id).returncode == 2
    [blob] = (path for path in state_folder.rglob("*.json.zst") if run_id in str(path) and "cli-large" in str(path))
    away = blob.rename(blob.with_suffix(".away"))
    try:
        gone = airflow.cli("offload", "show", "--run", run_id, "--key", "cli-large")
    finally:
        away.rename(blob)
    assert gone.returncode == 5
    assert "Hint" in gone.stderr


def test_what_every_airflow_command_imports_of_it_is_next_to_nothing() -> None:
    code = (
        "import sys, airflow.cli.cli_config; before = set(sys.modules); import offload_backend.airflow.command;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    imported = done.stdout.split("\n")[-2].split()
    assert {name.partition(".")[0] for name in imported} == {"offload_backend"}
    assert len(imported) < 10
