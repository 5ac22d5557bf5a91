"""Databases that the installed Airflow has migrated, and copies of them for single tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.mysql_server import new_mysql_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

__all__ = [
    "copied",
    "environment_of",
    "migrated",
    "new_postgres_database",
    "run_in_airflow",
    "transaction",
    "without_foreign_keys",
]

AS_ELSEWHERE = (
    *("foreign_key_checks = 0", "time_zone = '+00:00'", "innodb_lock_wait_timeout = 5"),
    "sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
)
"""What a session of MySQL is told: ``key`` is a word of its language."""


def migrated(kind: str, home: Path, script: str) -> str:
    """The URL of a database of Airflow's, after the script has run in it."""
    made = {"postgresql": new_postgres_database, "mysql": new_mysql_database}
    url = f"sqlite:///{home}/airflow.db" if kind == "sqlite" else made[kind]()
    run_in_airflow(url, home, f"from airflow.utils import db\ndb.upgradedb()\n{script}")
    return url


def new_postgres_database(template: str = "template1") -> str:
    """The URL of a database of its own on the tests' server."""
    server = pytest.importorskip("tests.postgres_server").server()
    name = f"airflow{uuid.uuid4().hex}"
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    admin.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def copied(url: str, directory: Path) -> str:
    """The URL of a copy, which nothing else uses."""
    database = make_url(url).database
    if url.startswith("sqlite"):
        shutil.copy(database, directory / "airflow.db")
        return f"sqlite:///{directory}/airflow.db"
    return new_postgres_database(template=database)


def environment_of(url: str, home: Path) -> dict[str, str]:
    """The environment in which Airflow works on the database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    suffixes = ("", "_ASYNC") if url.startswith("postgresql") else ("",)
    names = {f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN{suffix}": url for suffix in suffixes}
    return kept | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **names}


def run_in_airflow(url: str, home: Path, script: str) -> str:
    """What a script prints that runs with Airflow on the database."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment_of(url, home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def without_foreign_keys(url: str) -> Iterator[Engine]:
    """An engine in whose transactions no foreign key hinders."""
    hinder_not = {
        "sqlite": {},
        "postgresql": {"options": "-csession_replication_role=replica"},
        "mysql": {"init_command": f"SET {', '.join(AS_ELSEWHERE)}"},
    }
    engine = create_engine(url, connect_args=hinder_not[make_url(url).get_backend_name()])
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    """One such transaction."""
    with without_foreign_keys(url) as engine, engine.begin() as connection:
        yield connection
