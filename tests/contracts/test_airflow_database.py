"""Against schemas that the installed Airflow migrates and rows that its own backend writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import uuid
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from importlib.util import find_spec
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import make_url

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.airflow_db import AirflowDatabase, RegionId
from offload_backend.errors import ConfigError, CoreStoreError

if find_spec("airflow") is None:
    pytest.skip("needs an installed Airflow", allow_module_level=True)

REGION = UUID("01890000-0000-7000-8000-000000000001")
EXPIRES_AT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
ETL = TaskAddress("etl", "manual__1", "load")
ORDERS = AssetAddress(name="orders")
WRITER = f"""
from datetime import datetime
from uuid import UUID
from airflow.utils import db
db.upgradedb()
from airflow.models.asset import AssetActive, AssetModel
from airflow.models.dagrun import DagRun
from airflow.state import AssetScope, TaskScope
from airflow.state.metastore import MetastoreBackend
from airflow.utils.session import create_session

assets = [("orders", "s3://new/orders"), ("orders", "s3://old/orders"), ("gone", "s3://old/gone")]
with create_session() as session:
    session.add_all([DagRun(dag_id="etl", run_id=run, run_type="manual") for run in ("manual__1", "manual__2")])
    models = [AssetModel(name=name, uri=uri) for name, uri in assets]
    session.add_all(models)
    session.flush()
    ids = [model.id for model in models]
    session.add(AssetActive(name="orders", uri="s3://new/orders"))
backend = MetastoreBackend()
expires_at = datetime.fromisoformat("{EXPIRES_AT.isoformat()}")
backend.set(TaskScope("etl", "manual__1", "load"), "progress", '{{"step": 4}}', expires_at=expires_at)
backend.set(TaskScope("etl", "manual__1", "load", 3), "progress", "3")
backend.set(TaskScope("etl", "manual__2", "load"), "progress", "2")
if "region_id" in TaskScope.__dataclass_fields__:
    backend.set(TaskScope("etl", "manual__1", "load", 3, UUID("{REGION}")), "progress", '"regional"')
for asset_id, value in zip(ids, ('"new"', '"old"', '"gone"')):
    backend.set(AssetScope(asset_id=asset_id), "watermark", value)
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    url = f"sqlite:///{home}/airflow.db" if request.param == "sqlite" else _new_postgres_database()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    connection = dict.fromkeys(("", "_ASYNC"), url) if request.param == "postgresql" else {"": url}
    names = {f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN{suffix}": value for suffix, value in connection.items()}
    environment |= {"AIRFLOW_HOME": str(home), **names}
    done = subprocess.run(
        [sys.executable, "-c", WRITER], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return url


def _new_postgres_database():
    server = pytest.importorskip("tests.postgres_server").server()
    name = f"airflow{uuid.uuid4().hex}"
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def airflow(url):
    database = AirflowDatabase(url)
    yield database
    database.close()


@pytest.fixture
def has_regions():
    return not version("apache-airflow-core").startswith("3.3.")


def test_a_task_row_is_read_as_airflow_wrote_it(airflow):
    row = airflow.get(ETL, "progress")
    assert (row.address, row.key, row.text, row.expires_at) == (ETL, "progress", '{"step": 4}', EXPIRES_AT)
    assert timedelta(0) <= datetime.now(timezone.utc) - row.updated_at < timedelta(minutes=5)


def test_a_missing_row_is_none(airflow):
    assert airflow.get(ETL, "other") is None
    assert airflow.get(AssetAddress(name="unknown"), "watermark") is None


def test_map_indices_runs_and_regions_are_told_apart(airflow, has_regions):
    assert airflow.get(TaskAddress("etl", "manual__1", "load", 3), "progress").text == "3"
    assert airflow.get(TaskAddress("etl", "manual__2", "load"), "progress").text == "2"
    regional = TaskAddress("etl", "manual__1", "load", 3, REGION)
    row = airflow.get(regional, "progress")
    assert (row and (row.address, row.text)) == ((regional, '"regional"') if has_regions else None)


def test_an_asset_is_found_by_its_name_and_by_its_uri(airflow):
    by_name = airflow.get(ORDERS, "watermark")
    by_uri = airflow.get(AssetAddress(uri="s3://new/orders"), "watermark")
    assert (by_name.address, by_name.text, by_name.expires_at) == (ORDERS, '"new"', None)
    assert (by_uri.address, by_uri.text) == (AssetAddress(uri="s3://new/orders"), '"new"')


def test_of_two_assets_with_one_name_the_active_one_is_meant_but_both_have_rows(airflow):
    assert airflow.get(ORDERS, "watermark").text == '"new"'
    assert sorted(row.text for row in airflow.rows(ORDERS)) == ['"new"', '"old"']


def test_an_asset_that_no_dag_declares_any_more_keeps_its_row(airflow):
    assert airflow.get(AssetAddress(name="gone"), "watermark").text == '"gone"'


def test_rows_are_those_of_both_tables(airflow, has_regions):
    rows = {(str(row.address), row.key, row.text) for row in airflow.rows()}
    regional = {("task etl.load [3] region " + str(REGION) + " run manual__1", "progress", '"regional"')}
    assert rows == {
        ("task etl.load run manual__1", "progress", '{"step": 4}'),
        ("task etl.load [3] run manual__1", "progress", "3"),
        ("task etl.load run manual__2", "progress", "2"),
        ("asset 'orders'", "watermark", '"new"'),
        ("asset 'orders'", "watermark", '"old"'),
        ("asset 'gone'", "watermark", '"gone"'),
    } | (regional if has_regions else set())


def test_rows_of_a_task_are_its_own(airflow):
    assert [row.text for row in airflow.rows(ETL)] == ['{"step": 4}']


def test_rows_are_one_snapshot(airflow, url):
    rows = airflow.rows()
    first = next(rows)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE asset_state_store SET value = '\"changed\"'"))
    try:
        assert "changed" not in "".join(row.text for row in (first, *rows))
        assert "changed" in "".join(row.text for row in airflow.rows())
    finally:
        with engine.begin() as connection:
            name = "CASE uri WHEN 's3://new/orders' THEN 'new' WHEN 's3://old/orders' THEN 'old' ELSE 'gone' END"
            value = f"(SELECT '\"' || {name} || '\"' FROM asset WHERE id = asset_id)"
            connection.execute(text(f"UPDATE asset_state_store SET value = {value}"))
        engine.dispose()


def test_nothing_can_be_written(airflow):
    with (
        pytest.raises(CoreStoreError, match=r"readonly|read-only"),
        airflow._database.reading() as connection,
    ):
        connection.execute(text("DELETE FROM asset_state_store"))


def test_a_database_without_the_tables_is_a_configuration_error(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(ConfigError, match="task_state_store") as caught:
        AirflowDatabase(f"sqlite:///{tmp_path}/empty.db").get(ETL, "progress")
    assert "airflow db migrate" in caught.value.hint


def test_rows_of_a_broken_database_are_an_error_and_not_fewer_rows(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"x" * 4096)
    with pytest.raises(CoreStoreError):
        list(AirflowDatabase(f"sqlite:///{tmp_path}/broken.db").rows())


def test_a_region_is_sixteen_bytes_in_mysql():
    kind, dialect = RegionId(), mysql.dialect()
    stored = kind.process_bind_param(REGION, dialect)
    assert stored == REGION.bytes
    assert kind.process_result_value(stored, dialect) == REGION
