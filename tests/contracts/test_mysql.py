"""Airflow's tables in MySQL: the contracts of rows and roots, and where MySQL differs from the other databases."""

from __future__ import annotations

import itertools
from contextlib import closing
from datetime import timedelta
from importlib.metadata import version
from importlib.util import find_spec
from uuid import UUID

import pytest
from sqlalchemy import MetaData, Table, delete, inspect, text
from sqlalchemy.dialects.mysql import insert as upsert

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.airflow_db import AirflowDatabase
from offload_backend.corestores.airflow_roots import AirflowRoots
from offload_backend.corestores.airflow_rows import AirflowRows
from offload_backend.testing import removable_rows
from offload_backend.testing.removable_rows import NOW, RemovableRowsContract
from offload_backend.testing.root_source import RootSourceContract
from tests.contracts.airflow_databases import migrated, without_foreign_keys

if find_spec("airflow") is None:
    pytest.skip("needs an installed Airflow", allow_module_level=True)

HAS_REGIONS = not version("apache-airflow-core").startswith("3.3.")
STATE = ("task_state_store", "asset_state_store")
ORDERS, OTHER = 1, 2
"""Numbers of the assets of these names."""

WRITER = """
from airflow.models.asset import AssetActive, AssetModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session

with create_session() as session:
    session.add(DagRun(dag_id="dag", run_id="run", run_type="manual"))
    session.add_all([AssetModel(name=name, uri="s3://" + name) for name in ("orders", "other")])
    session.flush()
    session.add(AssetActive(name="orders", uri="s3://orders"))
"""


@pytest.fixture(scope="module")
def migrated_url(tmp_path_factory):
    return migrated("mysql", tmp_path_factory.mktemp("airflow"), WRITER)


@pytest.fixture
def engine(migrated_url):
    with without_foreign_keys(migrated_url) as engine:
        yield engine


@pytest.fixture
def url(migrated_url, engine):
    """The database, without any state, archive or ledger."""
    with engine.begin() as connection:
        for name in inspect(connection).get_table_names():
            if name in STATE:
                connection.execute(text(f"DELETE FROM {name}"))
            elif "_state_store" in name or name == "offload_collector":
                connection.execute(text(f"DROP TABLE {name}"))
    return migrated_url


class Tables:
    """The two tables, written to by plain statements as Airflow's own backend writes them."""

    def __init__(self, engine):
        self._engine, self._writes = engine, itertools.count()
        self.tasks, self.assets = (Table(name, MetaData(), autoload_with=engine) for name in STATE)

    def put(self, address, key, value, *, expires_at=None, at=None):
        at = at or NOW + timedelta(microseconds=next(self._writes))
        written = {"value": value, "updated_at": at.replace(tzinfo=None)}
        if isinstance(address, TaskAddress):
            written["expires_at"] = expires_at and expires_at.replace(tzinfo=None)
        table, place = self._place(address)
        row = upsert(table).values(**place, key=key, **written).on_duplicate_key_update(**written)
        with self._engine.begin() as connection:
            connection.execute(row)

    def drop(self, address, key):
        table, place = self._place(address)
        with self._engine.begin() as connection:
            connection.execute(delete(table).filter_by(**place, key=key))

    def _place(self, address):
        if isinstance(address, AssetAddress):
            return self.assets, {"asset_id": {"orders": ORDERS, "other": OTHER}[address.name]}
        run = {"dag_run_id": 1, "dag_id": address.dag_id, "run_id": address.run_id, "task_id": address.task_id}
        region = {"region_id": (address.region_id or UUID(int=0)).bytes} if HAS_REGIONS else {}
        return self.tasks, {**run, "region_index" if HAS_REGIONS else "map_index": address.map_index, **region}


@pytest.fixture
def tables(url, engine):
    return Tables(engine)


@pytest.fixture
def roots(url):
    with closing(AirflowRoots(url, "default")) as source:
        yield source


@pytest.fixture
def rows(url):
    with closing(AirflowRows(url)) as found:
        yield found


class TestRoots(RootSourceContract):
    @pytest.fixture
    def root_source(self, roots):
        return roots

    @pytest.fixture
    def put_row(self, tables):
        return tables.put

    @pytest.fixture
    def drop_row(self, tables):
        return tables.drop


class TestRows(RemovableRowsContract):
    @pytest.fixture
    def table(self, rows, url, tables):
        with closing(AirflowDatabase(url)) as reader:
            yield removable_rows.Table(rows, tables.put, reader.get)
