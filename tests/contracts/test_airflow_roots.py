"""Roots in schemas that the installed Airflow migrates, with rows and archives that its own code writes."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from uuid import UUID

import pytest
from sqlalchemy import column, inspect, table, text
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from offload_backend.address import AssetAddress, new_blob_id
from offload_backend.corestores import visibility
from offload_backend.corestores.airflow_roots import AirflowRoots
from offload_backend.corestores.ledger import LedgerTable
from offload_backend.corestores.rootdatabase import RootTable
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.testing.root_source import RootSourceContract, canary, ids_of, read, ref_to
from tests.contracts.airflow_databases import copied, migrated, run_in_airflow, transaction, without_foreign_keys

if find_spec("airflow") is None:
    pytest.skip("needs an installed Airflow", allow_module_level=True)

HAS_REGIONS = not version("apache-airflow-core").startswith("3.3.")
REGION = UUID("01890000-0000-7000-8000-000000000001")
NAMES = ("live", "mapped", "regional", "expired", "cleaned", "batched", "kept", "orders", "gone", "lost")
IDS = {name: f"01990000-0000-7000-8000-{number:012x}" for number, name in enumerate(NAMES)}
ROWS = {name: ref_to(blob_id) for name, blob_id in IDS.items()}
ORDERS = 1
"""The number of the asset of that name."""

WRITER = f"""
import json
from datetime import datetime, timedelta, timezone
from uuid import UUID
from airflow.models.asset import AssetActive, AssetModel
from airflow.models.dagrun import DagRun
from airflow.state import AssetScope, TaskScope
from airflow.state.metastore import MetastoreBackend
from airflow.utils.db_cleanup import run_cleanup
from airflow.utils.session import create_session

rows = {{name: json.dumps({{"__airflow_state_ref__": ref}}) for name, ref in {ROWS!r}.items()}}
with create_session() as session:
    session.add_all([DagRun(dag_id="etl", run_id=run, run_type="manual") for run in ("manual__1", "manual__2")])
    session.add_all([AssetModel(name=name, uri="s3://" + name) for name in ("orders", "gone", "lost")])
    session.flush()
    session.add(AssetActive(name="orders", uri="s3://orders"))
backend = MetastoreBackend()
now = datetime.now(timezone.utc)


def put(name, *place, expires_at=None):
    backend.set(TaskScope("etl", "manual__1", *place), name, rows[name], expires_at=expires_at)


def clean(**options):
    run_cleanup(
        clean_before_timestamp=now - timedelta(days=1), table_names=["task_state_store"], confirm=False, **options
    )


put("cleaned", "load", expires_at=now - timedelta(days=3))
clean()
put("batched", "load", 4, expires_at=now - timedelta(days=2))
clean(batch_size=10)
put("kept", "load", expires_at=now - timedelta(days=2))
clean(dry_run=True)
backend.delete(TaskScope("etl", "manual__1", "load"), "kept")
put("live", "load")
put("mapped", "load", 3)
put("expired", "load", expires_at=now - timedelta(hours=1))
if {HAS_REGIONS}:
    put("regional", "load", 3, UUID("{REGION}"))
backend.set(TaskScope("etl", "manual__2", "load"), "inline", '{{"step": 4}}')
for number, name in enumerate(("orders", "gone", "lost"), start={ORDERS}):
    backend.set(AssetScope(asset_id=number), "watermark", rows[name])
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def written(request, tmp_path_factory):
    """A database with rows and archives."""
    url = migrated(request.param, tmp_path_factory.mktemp("airflow"), WRITER)
    with transaction(url) as connection:
        connection.execute(text("DELETE FROM asset WHERE name = 'lost'"))
    return url


@pytest.fixture
def url(written, tmp_path):
    return copied(written, tmp_path)


@pytest.fixture
def airflow(url):
    source = AirflowRoots(url, "default")
    yield source
    source.close()


@pytest.fixture
def empty(url):
    with transaction(url) as connection:
        tables = inspect(connection).get_table_names()
        for name in tables:
            if "_state_store" in name:
                connection.execute(text(f"DELETE FROM {name}"))
    return url


class TestAirflowDatabase(RootSourceContract):
    @pytest.fixture
    def root_source(self, empty):
        source = AirflowRoots(empty, "default")
        yield source
        source.close()

    @pytest.fixture
    def put_row(self, empty):
        with without_foreign_keys(empty) as engine:

            def put(address, key, row):
                with engine.begin() as connection:
                    drop_row(connection, address, key)
                    put_row(connection, address, key, row)

            yield put

    @pytest.fixture
    def drop_row(self, empty):
        def drop(address, key):
            with transaction(empty) as connection:
                drop_row(connection, address, key)

        return drop


INDEX = "region_index" if HAS_REGIONS else "map_index"


def put_row(connection, address, key, row):
    values = {"key": key, "value": row, "updated_at": datetime.now(timezone.utc)}
    if isinstance(address, AssetAddress):
        insert(connection, "asset_state_store", {"asset_id": ORDERS, **values})
        return
    place = {"dag_run_id": 1, "dag_id": address.dag_id, "run_id": address.run_id, "task_id": address.task_id}
    insert(connection, "task_state_store", {**place, INDEX: address.map_index, **values})


def drop_row(connection, address, key):
    if isinstance(address, AssetAddress):
        connection.execute(text("DELETE FROM asset_state_store WHERE key = :key"), {"key": key})
        return
    query = f"DELETE FROM task_state_store WHERE task_id = :task AND {INDEX} = :index AND key = :key"
    connection.execute(text(query), {"task": address.task_id, "index": address.map_index, "key": key})


def insert(connection, table, values):
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


def test_live_expired_and_archived_rows_are_roots_and_so_are_those_of_forgotten_assets(airflow):
    roots = read(airflow)
    expected = set(IDS) - {"kept"} - (set() if HAS_REGIONS else {"regional"})
    assert sorted(root.ref for root in roots) == sorted(ROWS[name] for name in expected)
    assert all(root.updated_at and root.updated_at.utcoffset() is not None for root in roots)
    assert airflow.ledger() is None


def test_holders_name_table_address_and_key(airflow):
    holders = {root.ref: root.holder for root in read(airflow)}
    assert holders[ROWS["live"]] == "task_state_store: task etl.load run manual__1 key 'live'"
    assert holders[ROWS["mapped"]] == "task_state_store: task etl.load [3] run manual__1 key 'mapped'"
    assert holders[ROWS["orders"]] == "asset_state_store: asset 'orders' key 'watermark'"
    assert holders[ROWS["gone"]] == "asset_state_store: asset 'gone' key 'watermark'"
    assert holders[ROWS["lost"]] == "asset_state_store: asset number 3 key 'watermark'"
    archive, _, place = holders[ROWS["cleaned"]].partition(": ")
    assert archive.startswith("_airflow_deleted__task_state_store__20")
    assert place == "task etl.load run manual__1 key 'cleaned'"
    assert "etl.load [4]" in holders[ROWS["batched"]]
    if HAS_REGIONS:
        regional = f"task_state_store: task etl.load [3] region {REGION} run manual__1 key 'regional'"
        assert holders[ROWS["regional"]] == regional


@pytest.mark.parametrize("region", [None, REGION.hex, "text"], ids=["3.3", "3.4", "of no version"])
def test_an_archive_has_the_columns_of_the_version_that_made_it(airflow, url, region):
    blob_id = new_blob_id()
    index = "map_index" if region is None else "region_index"
    column = "" if region is None else f", '{region}' AS region_id"
    with transaction(url) as connection:
        connection.execute(
            text(
                f"CREATE TABLE _airflow_deleted__task_state_store__20200101000000 AS SELECT 'd' AS dag_id, "
                f"'r' AS run_id, 't' AS task_id, 5 AS {index}{column}, 'k' AS key, '\"{blob_id}\"' AS value, "
                "'2020-01-01 00:00:00.000000' AS updated_at"
            )
        )
    [root] = [root for root in read(airflow) if root.ids == (blob_id,)]
    shown = f" region {REGION}" if region == REGION.hex else ""
    assert root.holder == f"_airflow_deleted__task_state_store__20200101000000: task d.t [5]{shown} run r key 'k'"
    assert root.updated_at == datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "name",
    [
        "_airflow_deleted__asset_state_store__20260101000000",
        "_airflow_deleted__asset_state_store__20260101000000__b2",
        "_alembic_tmp_asset_state_store",
        "asset_state_store_before_the_upgrade",
    ],
)
def test_any_copy_of_the_tables_holds_roots(airflow, url, name):
    with transaction(url) as connection:
        connection.execute(text(f"CREATE TABLE {name} AS SELECT * FROM asset_state_store"))
        connection.execute(text("DELETE FROM asset_state_store"))
    holders = {root.ref: root.holder for root in read(airflow)}
    assert holders[ROWS["orders"]] == f"{name}: asset 'orders' key 'watermark'"
    assert ROWS["lost"] in holders


def test_a_copy_without_a_value_is_an_error_and_not_passed_over(airflow, url):
    with transaction(url) as connection:
        connection.execute(text("CREATE TABLE task_state_store_v2 (key integer, updated_at integer, text text)"))
    with pytest.raises(ConfigError, match="task_state_store_v2 has no column value"):
        read(airflow)


@pytest.mark.parametrize("table", ["task_state_store", "asset_state_store"])
def test_a_database_without_one_of_the_tables_is_the_wrong_one(airflow, url, table):
    with transaction(url) as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))
    for call in (airflow.origin, airflow.ledger, lambda: airflow.record(canary()), lambda: read(airflow)):
        with pytest.raises(ConfigError, match=f"no table {table}: it is not Airflow's") as caught:
            call()
        assert "airflow db migrate" in caught.value.hint


def test_the_wrong_database_gets_no_ledger(tmp_path):
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(ConfigError):
        AirflowRoots(f"sqlite:///{tmp_path}/other.db", "default").record(canary())
    with sqlite3.connect(tmp_path / "other.db") as connection:
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []


def test_an_archive_that_appears_while_tables_are_looked_up_is_an_error_to_retry(airflow, url, monkeypatch):
    real = visibility.pin

    def pin(connection, tables):
        with transaction(url) as other:
            other.execute(
                text("CREATE TABLE _airflow_deleted__task_state_store__1 AS SELECT * FROM task_state_store")
            )
        real(connection, tables)

    monkeypatch.setattr(visibility, "pin", pin)
    with pytest.raises(CoreStoreError, match="tables changed") as caught:
        read(airflow)
    assert caught.value.retryable


def test_rows_that_are_archived_while_roots_are_read_are_read_once(airflow, url):
    if url.startswith("sqlite"):
        pytest.skip("Airflow's SQLite lets nobody write while it is read")
    roots = airflow.roots(())
    first = next(roots)
    with transaction(url) as connection:
        connection.execute(text("CREATE TABLE _airflow_deleted__task_state_store__1 AS TABLE task_state_store"))
        connection.execute(text("DELETE FROM task_state_store"))
    refs = [root.ref for root in (first, *roots)]
    assert refs.count(ROWS["live"]) == 1
    assert [root.ref for root in read(airflow)].count(ROWS["live"]) == 1


UNREADABLE = (
    "gAAAAABmZmZmhidden",
    "",
    " ",
    "row:17",
    "t" * 100,
    "7" * 100 + "==",
    f"{IDS['live']}",
    f'"{IDS["live"]}',
    "{" + IDS["live"],
)


@pytest.mark.parametrize(
    ("table", "value"),
    [*(("task_state_store", value) for value in UNREADABLE), ("asset_state_store", UNREADABLE[0])],
)
def test_a_value_that_is_not_json_is_an_error_because_it_may_hide_a_ref(airflow, url, table, value):
    with transaction(url) as connection:
        connection.execute(
            text(f"UPDATE {table} SET value = :value WHERE key IN ('live', 'watermark')"), {"value": value}
        )
    with pytest.raises(CoreStoreError, match=f"the value of {table}: .* is not JSON") as caught:
        read(airflow)
    assert not caught.value.retryable
    assert "custom [state_store] backend" in caught.value.hint
    assert "hidden" not in str(caught.value)


JSON = (
    "null",
    "true",
    "false",
    "-1.5e-7",
    "9" * 100,
    "NaN",
    "-Infinity",
    "Infinity",
    '"é"',
    "[]",
    "\t [1]",
    '"t' + "x" * 99 + '"',
)


@pytest.mark.parametrize("value", JSON)
def test_every_json_text_is_a_value_that_can_be_judged(airflow, url, value):
    before = len(read(airflow))
    with transaction(url) as connection:
        connection.execute(text("UPDATE task_state_store SET value = :value WHERE key = 'live'"), {"value": value})
    assert len(read(airflow)) == before - 1


def test_nothing_in_a_copy_is_no_value_that_hides_something(airflow, url):
    with transaction(url) as connection:
        connection.execute(text("CREATE TABLE task_state_store_old AS SELECT * FROM task_state_store"))
        connection.execute(text("UPDATE task_state_store_old SET value = NULL"))
    assert IDS["live"] in ids_of(airflow)


def test_letters_are_not_compared_by_a_collation():
    rows = table("task_state_store", column("value"), column("updated_at"))
    query = RootTable(rows, [], str).query("mysql")
    compiled = str(query.compile(dialect=mysql.dialect(), compile_kwargs={"literal_binds": True}))
    assert "coalesce(ascii(task_state_store.value), 0) IN (123, 91, 34)" in compiled


def test_an_archive_in_another_schema_of_the_search_path_holds_roots(written, url):
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no schemas")
    with transaction(url) as connection:
        connection.execute(text("CREATE SCHEMA attic"))
        connection.execute(
            text("CREATE TABLE attic._airflow_deleted__x__task_state_store AS TABLE task_state_store")
        )
        connection.execute(text("DELETE FROM task_state_store"))
    source = AirflowRoots(f"{url}&options=-csearch_path%3Dpublic,attic", "default")
    assert IDS["live"] in ids_of(source)
    source.close()


def test_tables_in_a_schema_of_their_own_are_found_by_the_search_path(airflow, url):
    if url.startswith("sqlite"):
        pytest.skip("SQLite has no schemas")
    before = airflow.origin().fingerprint
    with transaction(url) as connection:
        connection.execute(text("ALTER SCHEMA public RENAME TO airflow"))
    with pytest.raises(ConfigError, match="no table task_state_store") as caught:
        airflow.origin()
    assert "options=-csearch_path%3D<schema>" in caught.value.hint
    source = AirflowRoots(f"{url}&options=-csearch_path%3Dairflow", "default")
    assert len(read(source)) == len(IDS) - (1 if HAS_REGIONS else 2)
    source.record(canary())
    assert source.origin().fingerprint != before
    with transaction(url) as connection:
        assert connection.scalar(text("SELECT count(*) FROM airflow.offload_collector")) == 1
    source.close()


MAINTENANCE = """
from datetime import datetime, timezone
from airflow.utils import db
from airflow.utils.db_cleanup import drop_archived_tables, run_cleanup

db.check_migrations(1)
db.upgradedb()
db.check_migrations(1)
run_cleanup(clean_before_timestamp=datetime.now(timezone.utc), confirm=False, error_on_cleanup_failure=True)
drop_archived_tables(table_names=None, needs_confirm=False)
"""


def test_airflows_own_maintenance_neither_minds_nor_touches_the_ledger(airflow, url, tmp_path):
    ledger = canary(5)
    airflow.record(ledger)
    run_in_airflow(url, tmp_path, MAINTENANCE)
    assert airflow.ledger() == ledger
    gone = {"cleaned", "batched", "expired", "kept"} | (set() if HAS_REGIONS else {"regional"})
    expected = {ledger.canary} | {ROWS[name] for name in set(ROWS) - gone}
    assert {root.ref for root in read(airflow)} == expected


def test_a_migration_made_by_comparison_would_leave_the_ledger_alone(airflow, url, tmp_path):
    airflow.record(canary())
    compare = """
from airflow.utils.db import _get_alembic_config
from alembic import command
from alembic.util import AutogenerateDiffsDetected

try:
    command.check(_get_alembic_config())
    print("no difference")
except AutogenerateDiffsDetected as found:
    print("differences:", found)
"""
    printed = run_in_airflow(url, tmp_path, compare)
    assert "difference" in printed
    assert "offload" not in printed


def test_a_reset_database_keeps_the_ledger_so_that_its_empty_tables_are_noticed(airflow, url, tmp_path):
    ledger = canary(5)
    airflow.record(ledger)
    run_in_airflow(url, tmp_path, "from airflow.utils import db\ndb.resetdb()\ndb.check_migrations(1)")
    assert airflow.ledger() == ledger
    assert {root.ref for root in read(airflow)} == {ledger.canary, ROWS["cleaned"], ROWS["batched"]}


def test_a_mysql_user_must_be_allowed_to_read_the_whole_database():
    whole = [
        "GRANT ALL PRIVILEGES ON `airflow`.* TO `airflow`@`%`",
        "GRANT SELECT, INSERT ON *.* TO `root`@`localhost` WITH GRANT OPTION",
        "GRANT INSERT, SELECT ON `airflow`.* TO 'airflow'@'%'",
    ]
    partial = [
        "GRANT USAGE ON *.* TO `airflow`@`%`",
        "GRANT SELECT ON `airflow`.`task_state_store` TO `airflow`@`%`",
        "GRANT SELECT (`key`) ON `airflow`.`task_state_store` TO `airflow`@`%`",
        "GRANT INSERT, UPDATE ON `airflow`.* TO `airflow`@`%`",
        "GRANT SELECT ON `other`.* TO `airflow`@`%`",
        "GRANT `reader`@`%` TO `airflow`@`%`",
        "REVOKE SELECT ON `airflow`.* FROM `airflow`@`%`",
    ]
    for grant in whole:
        assert visibility._cover([*partial[:-1], grant], "airflow")
        assert not visibility._cover([*partial, grant], "airflow")
    for grant in partial:
        assert not visibility._cover([grant], "airflow")
    assert visibility._cover(["GRANT SELECT ON `air\\_flow`.* TO `airflow`@`%`"], "air_flow")


def test_the_ledger_in_mysql_tells_deployments_apart_by_case():
    made = str(CreateTable(LedgerTable("default", None)._table).compile(dialect=mysql.dialect()))
    assert "deployment VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL" in made
