"""Airflow's tables in MySQL: the contracts of rows and roots, and where MySQL differs from the other databases."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import closing
from datetime import timedelta
from importlib.metadata import version
from importlib.util import find_spec
from uuid import UUID

import pytest
from sqlalchemy import MetaData, Table, delete, inspect, select, text
from sqlalchemy.dialects.mysql import insert as upsert
from sqlalchemy.engine import make_url

from offload_backend.address import AssetAddress, TaskAddress, new_blob_id
from offload_backend.corestores import visibility
from offload_backend.corestores.airflow_db import AirflowDatabase
from offload_backend.corestores.airflow_roots import AirflowRoots
from offload_backend.corestores.airflow_rows import AirflowRows
from offload_backend.corestores.unchanged import remove_unchanged
from offload_backend.errors import CoreStoreError
from offload_backend.ref import parse_ref
from offload_backend.row import envelope, row_text
from offload_backend.testing import removable_rows
from offload_backend.testing.removable_rows import NOW, RemovableRowsContract
from offload_backend.testing.root_source import RootSourceContract, canary, ids_of, read, ref_to
from tests.contracts.airflow_databases import migrated, run_in_airflow, without_foreign_keys
from tests.contracts.test_removable_rows import (
    test_airflows_rows_are_rewritten_while_one_is_written_and_what_an_archive_names_stays,
    test_airflows_rows_move_in_and_out_again_while_one_is_written,
    test_an_asset_row_is_replaced_alone_as_it_was_read_and_keeps_who_wrote_it_last,
    test_erasing_with_airflows_roots_keeps_what_an_archive_names,
    test_pages_of_airflows_rows_go_on_from_tasks_to_assets,
)
from tests.mysql_server import url_of

__all__ = [
    "test_airflows_rows_are_rewritten_while_one_is_written_and_what_an_archive_names_stays",
    "test_airflows_rows_move_in_and_out_again_while_one_is_written",
    "test_an_asset_row_is_replaced_alone_as_it_was_read_and_keeps_who_wrote_it_last",
    "test_erasing_with_airflows_roots_keeps_what_an_archive_names",
    "test_pages_of_airflows_rows_go_on_from_tasks_to_assets",
]

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


@pytest.fixture
def reader(url):
    with closing(AirflowDatabase(url)) as reader:
        yield reader


@pytest.fixture
def airflow_table(rows, reader, tables):
    return removable_rows.Table(rows, tables.put, reader.get)


class TestRows(RemovableRowsContract):
    @pytest.fixture
    def table(self, airflow_table):
        return airflow_table


@pytest.fixture
def airflow_url(url):
    return url


TASK = TaskAddress("dag", "run", "task")
ORDERS_BY_NAME = AssetAddress(name="orders")


def test_keys_that_differ_in_case_or_accents_are_told_apart_to_the_microsecond(reader, rows, tables):
    for key in ("a", "A", "á"):
        tables.put(TASK, key, f'"{key}"', expires_at=NOW + timedelta(microseconds=1))
    found = {each.row.key: each.row for each in rows.found()}
    assert {key: row.text for key, row in found.items()} == {"a": '"a"', "A": '"A"', "á": '"á"'}
    assert [reader.get(TASK, key) for key in found] == list(found.values())
    assert {row.expires_at for row in found.values()} == {NOW + timedelta(microseconds=1)}


def test_what_mysql_takes_for_equal_is_not_what_was_asked_for(reader, rows, tables):
    """Its collations pad with blanks: asked for ``orders␠``, the rows of ``orders`` would be erased."""
    tables.put(TASK, "key", "1")
    tables.put(ORDERS_BY_NAME, "key", "2")
    assert reader.get(TASK, "key ") is None
    assert reader.get(TaskAddress("dag ", "run", "task"), "key") is None
    assert list(reader.rows(TaskAddress("dag", "run ", "task"))) == []
    for padded in (AssetAddress(name="orders "), AssetAddress(uri="s3://orders ")):
        assert reader.get(padded, "key") is None
        assert list(reader.rows(padded)) == []
        assert rows.aliases(padded) == []
    assert rows.aliases(ORDERS_BY_NAME) == [AssetAddress(uri="s3://orders")]
    assert rows.aliases(AssetAddress(uri="s3://orders")) == [ORDERS_BY_NAME]


@pytest.mark.parametrize("text", ["\N{GRINNING FACE}", "日本"])
def test_what_a_column_cannot_hold_is_in_no_row(reader, rows, text):
    assert reader.get(TASK, text) is None
    assert reader.get(TaskAddress("dag", text, "task"), "key") is None
    for asset in (AssetAddress(name=text), AssetAddress(uri=text)):
        assert reader.get(asset, "key") is None
        assert rows.aliases(asset) == []


def test_in_what_only_reads_nothing_can_be_written(reader, roots, rows, url):
    databases = (reader._database, roots._database, rows._database)
    for transaction in (part for each in databases for part in (each.reading, each.snapshot)):
        with pytest.raises(CoreStoreError, match="READ ONLY transaction"), transaction() as connection:
            connection.execute(text("DELETE FROM asset_state_store"))


def test_no_wait_is_without_limit_and_a_shorter_limit_of_the_users_own_is_kept(url):
    names = ("time_zone", "lock_wait_timeout", "innodb_lock_wait_timeout", "net_write_timeout")
    asked = text("SELECT " + ", ".join(f"@@{name}" for name in names))
    for own, expected in (("", 30), ("&init_command=SET+innodb_lock_wait_timeout+%3D+5", 5)):
        with closing(AirflowDatabase(url + own)) as reader, reader._database.reading() as connection:
            assert connection.execute(asked).one() == ("+00:00", 30, expected, 24 * 3600)


def test_a_session_is_in_utc_wherever_the_server_is(url, rows, tables, engine):
    tables.put(TASK, "key", "1", expires_at=NOW)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET GLOBAL time_zone = '+05:00'"))
        try:
            with closing(AirflowRows(url)) as elsewhere:
                assert [each.row.expires_at for each in elsewhere.found()] == [NOW]
                assert abs(elsewhere.now() - rows.now()) < timedelta(minutes=1)
        finally:
            connection.execute(text("SET GLOBAL time_zone = 'SYSTEM'"))


def test_a_reader_that_takes_its_time_is_not_hung_up_on(url, tables, engine):
    for number in range(300):
        tables.put(TASK, str(number), '"' + "x" * 60_000 + '"')
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET GLOBAL net_write_timeout = 1"))
        try:
            with closing(AirflowRows(url)) as slow, slow._database.snapshot() as reading:
                found = reading.execute(
                    text("SELECT value FROM task_state_store"), execution_options={"yield_per": 1}
                )
                first = next(found)
                time.sleep(2.5)
                assert len([first, *found]) == 300
        finally:
            connection.execute(text("SET GLOBAL net_write_timeout = DEFAULT"))


def test_whoever_finds_a_row_gone_does_not_keep_others_from_writing_new_ones(rows, tables):
    for key in ("key", "kept", "gone"):
        tables.put(TASK, key, "1")
    found = [each for each in rows.found() if each.row.key != "kept"]
    tables.drop(TASK, "gone")
    with rows._database.writing() as connection:
        removed = remove_unchanged(connection, rows._tasks(connection), ["id"], found)
        assert [each.row.key for each in removed] == ["key"]
        tables.put(TASK, "other", "2")
    assert [each.row.key for each in rows.found()] == ["kept", "other"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url: url.replace("root@", "nobody:not-to-be-shown@"), "Access denied"),
        (lambda url: url_of("nowhere"), "Unknown database"),
    ],
    ids=["a wrong password", "a wrong name"],
)
def test_trouble_that_lasts_is_told_from_what_passes(url, change, told):
    with (
        closing(AirflowRoots(change(url), "default")) as roots,
        pytest.raises(CoreStoreError, match=told) as caught,
    ):
        roots.origin()
    assert not caught.value.retryable
    assert "check the database's URL" in caught.value.hint
    assert "not-to-be-shown" not in f"{caught.value}{caught.value.hint}"


@pytest.fixture
def grant(url, engine):
    """A user of its own, and how to give it rights."""
    database = make_url(url).database
    with engine.begin() as connection:
        connection.execute(text("DROP USER IF EXISTS collector@localhost"))
        connection.execute(text("CREATE USER collector@localhost"))

    def grant(rights, table):
        with engine.begin() as connection:
            connection.execute(text(f"GRANT {rights} ON `{database}`.{table} TO collector@localhost"))
        return url.replace("root@", "collector@")

    return grant


def test_who_may_not_read_the_whole_database_is_not_told_that_there_is_nothing(grant, tables):
    tables.put(TASK, "key", row_text(ref_to(new_blob_id())))
    for name in STATE:
        own = grant("SELECT", name)
    # A connection has the rights to a database with which it began, hence a new one for each.
    with closing(AirflowRoots(own, "default")) as roots:
        with pytest.raises(CoreStoreError, match="may not read the whole database") as caught:
            read(roots)
        assert "GRANT SELECT ON" in caught.value.hint
    grant("SELECT", "*")
    with closing(AirflowRoots(own, "default")) as roots:
        assert len(read(roots)) == 1
        with pytest.raises(CoreStoreError, match="denied") as caught:
            roots.record(canary())
        assert "INSERT and UPDATE on offload_collector" in caught.value.hint
        grant("CREATE, INSERT, UPDATE", "offload_collector")
        ledger = canary(3)
        roots.record(ledger)
        assert roots.ledger() == ledger


def test_the_ledger_tells_deployments_apart_by_case_and_its_time_to_the_microsecond(roots, url, engine):
    roots.record(canary(4))
    with closing(AirflowRoots(url, "Default")) as other:
        assert other.ledger() is None
        other.record(canary(9))
        assert (roots.ledger().sequence, other.ledger().sequence) == (4, 9)
    with engine.begin() as connection:
        [column] = [
            each for each in inspect(connection).get_columns("offload_collector") if each["name"] == "recorded_at"
        ]
    assert column["type"].fsp == 6


ARCHIVE = "CREATE TABLE _airflow_deleted__task_state_store__1 AS SELECT * FROM task_state_store"


def test_rows_that_are_archived_while_roots_are_read_are_read_once(roots, tables, engine):
    refs = [ref_to(new_blob_id()) for _ in range(3)]
    for ref in refs:
        tables.put(TASK, parse_ref(ref).url, row_text(ref))
    reading = roots.roots(())
    first = next(reading)
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE _airflow_deleted__task_state_store__1 AS SELECT * FROM task_state_store")
        )
        connection.execute(text("DELETE FROM task_state_store"))
    assert sorted(root.ref for root in (first, *reading)) == sorted(refs)
    assert sorted(root.ref for root in read(roots)) == sorted(refs)


def test_an_archive_that_appears_while_tables_are_looked_up_is_an_error_to_retry(
    roots, tables, engine, monkeypatch
):
    tables.put(TASK, "key", row_text(ref_to(new_blob_id())))
    real = visibility.pin

    def pin(connection, found):
        with engine.begin() as other:
            other.execute(
                text("CREATE TABLE _airflow_deleted__task_state_store__1 AS SELECT * FROM task_state_store")
            )
            other.execute(text("DELETE FROM task_state_store"))
        real(connection, found)

    monkeypatch.setattr(visibility, "pin", pin)
    with pytest.raises(CoreStoreError, match="tables changed") as caught:
        read(roots)
    assert caught.value.retryable


@pytest.mark.parametrize("value", ["t" * 100, "", "{" + new_blob_id(), "\N{GRINNING FACE}" * 40])
def test_a_value_that_is_not_json_is_an_error_because_it_may_hide_a_ref(roots, tables, value):
    tables.put(TASK, "key", value)
    with pytest.raises(CoreStoreError, match="is not JSON"):
        read(roots)


def test_ids_are_found_behind_anything_that_json_may_hold(roots, tables):
    ids = [new_blob_id() for _ in range(3)]
    texts = [f'["\N{GRINNING FACE}", "{ids[0]}"]', f'["\\u0000", "{ids[1].upper()}"]', f'"{ids[2]}"']
    for number, value in enumerate(texts):
        tables.put(TASK, str(number), value)
    assert ids_of(roots) == set(ids)


SIZED = [
    (envelope(ref_to(new_blob_id()).replace("size=1&", "size=4711&")), True, 4711),
    (envelope("s3://b/p/peer.json"), True, 0),
    (envelope("s3://b#offload=1&size=9e999&"), True, 9),
    (envelope("s3://b#offload=1&size=-7&"), True, 0),
    (envelope("s3://b#offload=1&size=x&"), True, 0),
    (envelope("s3://b#OFFLOAD=1&SIZE=7&"), True, 0),
    (envelope('{"a": "s3://b#offload=1&size=7&"}'), False, None),
    (envelope('["s3://b#offload=1&size=7&"]'), False, None),
    (envelope("s3://b#offload=1&size=7&").replace("airflow", "AIRFLOW"), False, None),
    (envelope("s3://b#offload=1&size=7&").replace("airflow", "aïrflow"), False, None),
    ('{"a": 1}', False, None),
]


def test_the_page_in_the_ui_tells_refs_and_their_sizes_as_in_other_databases(tables, engine):
    from offload_backend.airflow.ui.sizes import is_ref, stored_bytes

    for number, (value, *_) in enumerate(SIZED):
        tables.put(TASK, f"{number:02}", value)
    value = tables.tasks.c.value
    query = select(is_ref(value), stored_bytes(value)).order_by(tables.tasks.c.key)
    with engine.begin() as connection:
        found = [(bool(offloaded), size) for offloaded, size in connection.execute(query)]
    expected = [(offloaded, len(text.encode()) if size is None else size) for text, offloaded, size in SIZED]
    assert found == expected


PAGES = """
import json
from datetime import datetime, timezone
from airflow.utils.session import create_session
from offload_backend.airflow.ui import rows

told = {}
with create_session() as session:
    for text in ("", "STATE", "\\N{GRINNING FACE}", "\u65e5\u672c", "%"):
        wanted = rows.Wanted(kept="all", text=text, order="stored")
        tasks, count = rows.tasks(session, rows.Scope(), wanted, {"dag"})
        assets, of_assets = rows.assets(session, rows.Scope(), wanted, {1, 2})
        told[text] = [count, of_assets, [each.found.row.key for each in (*tasks, *assets)]]
    sums = rows.task_sums(session, rows.Scope(), {"dag"}, datetime.now(timezone.utc))
    sums += rows.asset_sums(session, rows.Scope(), {1, 2})
print(json.dumps([told, [[each.name, each.rows, each.offloaded, each.stored] for each in sums]]))
"""


def test_the_page_in_the_ui_lists_sums_and_looks_for_any_text(url, tables, tmp_path):
    for key, size in (("state", 7), ("State/2", 4711)):
        tables.put(TASK, key, envelope(f"s3://b/p#offload=1&size={size}&"))
    tables.put(ORDERS_BY_NAME, "watermark", "17")
    told, sums = json.loads(run_in_airflow(url, tmp_path, PAGES).splitlines()[-1])
    nothing = [0, 0, []]
    expected = {"": [2, 1, ["State/2", "state", "watermark"]], "STATE": [2, 0, ["State/2", "state"]]}
    assert told == {**expected, "\N{GRINNING FACE}": nothing, "日本": nothing, "%": nothing}
    assert sums == [["dag", 2, 2, 4718], ["orders", 1, 0, 0]]
