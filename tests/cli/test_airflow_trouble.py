"""Every verb where Airflow does not start, or its database is not there: one error that says what mends it.

Each trouble is had for real, in a process of its own that runs all verbs.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from offload_backend.cli.main import app

pytest.importorskip("airflow")

SECRET = "hunter2"
CONNECTION = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
DEAD = f"postgresql+psycopg://user:{SECRET}@127.0.0.1:1/db"

VERBS = """
import json, os, sys
from typer.main import get_command
from typer.testing import CliRunner
from offload_backend.cli.main import app

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["REFUSED_MODULE"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refused())
NEEDED = json.loads(sys.argv[1])

def leaves(command, words=()):
    if not hasattr(command, "commands"):
        yield " ".join(words)
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, (*words, name))

told = {}
for verb in leaves(get_command(app)):
    if verb == "demo":  # works without any configuration
        continue
    done = CliRunner().invoke(app, [*verb.split(), *NEEDED.get(verb, ())])
    told[verb] = (done.exit_code, done.output, repr(done.exception or SystemExit(0)))
json.dump(told, sys.stdout)
"""
BLOB = "01a2b3c4-0000-7000-8000-000000000000"
BESIDE_THE_BLOBS = ["gc show", "gc restore", "gc pin", "gc unpin"]
"""Verbs about what the collector has written there; they read no rows."""
NEEDED = {
    "show": ["--dag", "etl"],
    "cat": ["--dag", "etl"],
    "erase": ["--dag", "etl"],
    "migrate move": ["--from", "file:///old"],
    "migrate out": ["--to", "plain"],
    "gc restore": [BLOB],
    "gc pin": [BLOB],
    "gc unpin": [BLOB],
    "gc export-roots": ["roots.jsonl.gz"],
}


@pytest.fixture
def told(tmp_path):
    """What every verb says in an environment like this: exit code, output and exception."""

    def run(*, refused="", **variables):
        environment = {name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")}
        environment |= {
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__OFFLOAD_BACKEND__PATH": f"file://{tmp_path}/blobs",
            "AIRFLOW__OFFLOAD_BACKEND__READ_PATHS": "file:///old",
            "AIRFLOW__OFFLOAD_BACKEND__SIGNING_KEYS": "s1=env:SIGNING_KEY",
            "SIGNING_KEY": "A" * 43 + "=",
            "REFUSED_MODULE": refused,
        }
        command = [sys.executable, "-c", VERBS, json.dumps(NEEDED)]
        done = subprocess.run(
            command, env=environment | variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def assert_each_says(told, code, *texts):
    assert len(told) > 10
    for verb, (exit_code, output, exception) in told.items():
        assert exit_code == code, (verb, output, exception)
        assert exception == f"SystemExit({code})", (verb, exception)
        for text in texts:
            assert text in " ".join(output.split()), (verb, output)


def assert_who_needs_rows_says(told, code, *texts):
    """A worker needs no database: ``offload doctor`` only says that it is not seen."""
    exit_code, output, exception = told.pop("doctor")
    assert (exit_code, exception) == (0, "SystemExit(0)")
    assert texts[0] in output
    assert_each_says({verb: how for verb, how in told.items() if verb not in BESIDE_THE_BLOBS}, code, *texts)


@pytest.mark.parametrize(("driver", "module"), [("psycopg", "asyncpg"), ("psycopg2", "psycopg2")])
def test_a_driver_that_airflow_needs_to_start_is_not_installed(told, driver, module):
    assert_each_says(
        told(refused=module, **{CONNECTION: DEAD.replace("psycopg", driver)}),
        *(2, f"the module {module} is not installed", "pip install apache-airflow-providers-postgres"),
    )


def test_a_url_that_is_none(told):
    tells = told(**{CONNECTION: f"postgresql+psycopg://user@host:{SECRET}/db"})
    assert_each_says(tells, 2, "can make no engine", "correct [database] sql_alchemy_conn")


def test_a_command_that_fails(told):
    tells = told(**{f"{CONNECTION}_CMD": f"sh -c 'echo {SECRET} >&2; exit 3'"})
    assert_each_says(tells, 2, "Airflow does not tell its configuration", "airflow config list")


def test_a_setting_of_airflow_that_it_cannot_read(no_configuration, monkeypatch, tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    monkeypatch.setenv("AIRFLOW__STATE_STORE__STATE_CLEANUP_BATCH_SIZE", "many")
    done = CliRunner().invoke(app, ["ls", "--core-store", f"airflow+sqlite:///{tmp_path}/empty.db"])
    assert done.exit_code == 2
    assert "Airflow does not tell its configuration: AirflowConfigException" in done.output


def test_a_database_that_does_not_answer(told):
    tells = told(**{CONNECTION: DEAD, f"{CONNECTION}_ASYNC": ""})
    assert_who_needs_rows_says(tells, 1, "127.0.0.1", "see that the database runs")


def test_a_database_without_the_tables(told, tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    tells = told(**{CONNECTION: f"sqlite:///{tmp_path}/empty.db"})
    assert_who_needs_rows_says(tells, 2, "has no table task_state_store", "airflow db migrate")
