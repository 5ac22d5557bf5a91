"""One story for all tests of this folder, on a fresh Airflow."""

from __future__ import annotations

import os
import uuid
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.airflow.vanishing.aftermath import Aftermath

DATABASE = "OFFLOAD_AIRFLOW_TEST_DATABASE"
"""``sqlite``, ``postgresql`` or ``mysql``: by default each version of Airflow gets another of the first two."""


@pytest.fixture(scope="session")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    if find_spec("airflow.executors") is None:
        pytest.skip("apache-airflow is not installed here: run `make test`")
    from tests.airflow.harness import boot
    from tests.airflow.vanishing.aftermath import tell
    from tests.seam import OURS

    home, folder = tmp_path_factory.mktemp("vanishing"), tmp_path_factory.mktemp("blobs")
    env = {
        "AIRFLOW__WORKERS__STATE_STORE_BACKEND": OURS,
        "AIRFLOW__OFFLOAD_BACKEND__PATH": folder.as_uri(),
        "AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "0",
        # Of a server that stands still for longer than some 30 s, 5 s a request, a task despairs.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        **_database(home),
    }
    with boot(home, env) as airflow:
        return tell(airflow, folder)


def _database(home: Path) -> dict[str, str]:
    is_3_3 = version("apache-airflow-core").startswith("3.3.")
    kind = os.environ.get(DATABASE, "sqlite" if is_3_3 else "postgresql")
    made = {"postgresql": _new_postgres_database, "mysql": _new_mysql_database}
    url = f"sqlite:///{home / 'airflow.db'}" if kind == "sqlite" else made[kind]()
    suffixes = ("", "_ASYNC") if kind == "postgresql" else ("",)
    return {f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN{suffix}": url for suffix in suffixes}


def _new_mysql_database() -> str:
    from tests.mysql_server import new_mysql_database

    return new_mysql_database()


def _new_postgres_database() -> str:
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    from tests.postgres_server import server

    name = f"vanishing{uuid.uuid4().hex}"
    url = make_url(server().get_uri()).set(drivername="postgresql+psycopg")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return url.set(database=name).render_as_string(hide_password=False)
