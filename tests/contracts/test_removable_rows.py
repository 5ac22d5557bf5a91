"""Rows that maintenance may remove or replace: in memory, in the embedded store, and in databases of Airflow's."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from importlib.metadata import version
from importlib.util import find_spec
from uuid import UUID

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.dialects import mysql

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.airflow_db import AirflowDatabase
from offload_backend.corestores.airflow_roots import AirflowRoots
from offload_backend.corestores.airflow_rows import AirflowRows
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.schema import TASKS
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.unchanged import expired_of, page_of, remove_unchanged, replace_unchanged
from offload_backend.errors import ConfigError
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.erase import Eraser
from offload_backend.lifecycle.migrate import MovingIn
from offload_backend.lifecycle.migrate_out import MovingToPlainRows
from offload_backend.lifecycle.rekey import Rekeying
from offload_backend.lifecycle.rewrite import rewrite
from offload_backend.lifecycle.selection import TaskSelection
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.row import envelope, open_envelope, row_text
from offload_backend.testing.removable_rows import LATER, NOW, PAST, TASK, RemovableRowsContract, Table
from tests.contracts.airflow_databases import copied, migrated, run_in_airflow, transaction
from tests.inner.stores import HOME, Stores, name_in
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]

REGION = UUID("01890000-0000-7000-8000-000000000001")
HAS_AIRFLOW = find_spec("airflow") is not None
HAS_REGIONS = HAS_AIRFLOW and not version("apache-airflow-core").startswith("3.3.")


class TestMemory(RemovableRowsContract):
    @pytest.fixture
    def table(self):
        store = MemoryCoreStore()
        return Table(store, store.set, store.get)


class TestSqliteFile(RemovableRowsContract):
    @pytest.fixture
    def table(self, tmp_path):
        yield from embedded(f"sqlite:///{tmp_path}/state.db")


class TestPostgres(RemovableRowsContract):
    @pytest.fixture
    def table(self, postgres_url):
        yield from embedded(postgres_url)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def of_tasks_and_assets(request, tmp_path):
    if request.param == "memory":
        store = MemoryCoreStore()
        yield Table(store, store.set, store.get)
        return
    url = f"sqlite:///{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    yield from embedded(url)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 9])
def test_pages_go_on_from_tasks_to_assets(of_tasks_and_assets, limit):
    for number in range(3):
        of_tasks_and_assets.put(TASK, f"task {number}", "1", expires_at=PAST)
        of_tasks_and_assets.put(AssetAddress(name="orders"), f"asset {number}", "1", expires_at=PAST)
    pages = [of_tasks_and_assets.rows.expired(NOW, limit=limit)]
    while len(pages[-1]) == limit:
        pages.append(of_tasks_and_assets.rows.expired(NOW, limit=limit, after=pages[-1][-1]))
    assert all(len(page) <= limit for page in pages)
    keys = [found.row.key for page in pages for found in page]
    assert sorted(keys) == sorted(f"{what} {n}" for what in ("task", "asset") for n in range(3))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 9])
def test_pages_of_all_rows_go_on_from_tasks_to_assets(of_tasks_and_assets, limit):
    for number in range(3):
        of_tasks_and_assets.put(TASK, f"task {number}", "1", expires_at=None)
        of_tasks_and_assets.put(AssetAddress(name="orders"), f"asset {number}", "1", expires_at=PAST)
    pages = [of_tasks_and_assets.rows.page(limit=limit)]
    while len(pages[-1]) == limit:
        pages.append(of_tasks_and_assets.rows.page(limit=limit, after=pages[-1][-1]))
    assert all(len(page) <= limit for page in pages)
    keys = [found.row.key for page in pages for found in page]
    assert sorted(keys) == sorted(f"{what} {n}" for what in ("task", "asset") for n in range(3))


def embedded(url):
    store = SqlCoreStore(url)
    store.set(TASK, "first", "1", expires_at=None)
    store.delete(TASK, "first")
    yield Table(store, store.set, store.get)
    store.close()


WRITER = """
from airflow.models.asset import AssetModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session

with create_session() as session:
    session.add(DagRun(dag_id="dag", run_id="run", run_type="manual"))
    session.add_all([AssetModel(name=name, uri="s3://" + name) for name in ("orders", "other")])
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def airflow_template(request, tmp_path_factory):
    if not HAS_AIRFLOW:
        pytest.skip("needs an installed Airflow")
    return migrated(request.param, tmp_path_factory.mktemp("airflow"), WRITER)


@pytest.fixture
def airflow_url(airflow_template, tmp_path):
    return copied(airflow_template, tmp_path)


@pytest.fixture
def airflow_table(airflow_url):
    rows, reader = AirflowRows(airflow_url), AirflowDatabase(airflow_url)
    engine = create_engine(airflow_url)
    place = "region_index, region_id" if HAS_REGIONS else "map_index"
    values = ":index, :region" if HAS_REGIONS else ":index"
    upsert = text(
        f"INSERT INTO task_state_store (dag_run_id, dag_id, run_id, task_id, {place}, key, value, updated_at, "
        f"expires_at) VALUES ((SELECT id FROM dag_run), :dag, :run, :task, {values}, :key, :text, :now, :end) "
        f"ON CONFLICT (dag_run_id, task_id, {'region_id, region_index' if HAS_REGIONS else 'map_index'}, key) "
        "DO UPDATE SET value = :text, updated_at = :now, expires_at = :end"
    )

    writes = itertools.count()

    def moment(when):
        return (
            when.replace(tzinfo=None).isoformat(" ", "microseconds") if when and "sqlite" in airflow_url else when
        )

    def put(address, key, value, *, expires_at):
        region = address.region_id or UUID(int=0)
        parameters = {
            "dag": address.dag_id,
            "run": address.run_id,
            "task": address.task_id,
            "index": address.map_index,
            "key": key,
            "text": value,
            "now": moment(NOW + timedelta(microseconds=next(writes))),
            "end": moment(expires_at),
            **({"region": region.hex if "sqlite" in airflow_url else region} if HAS_REGIONS else {}),
        }
        with engine.begin() as connection:
            connection.execute(upsert, parameters)

    yield Table(rows, put, reader.get)
    rows.close()
    reader.close()
    engine.dispose()


class TestAirflow(RemovableRowsContract):
    @pytest.fixture
    def table(self, airflow_table):
        return airflow_table


ASSET_ROWS = """
from airflow.state import AssetScope
from airflow.state.metastore import MetastoreBackend
for number, name in enumerate(("orders", "other"), 1):
    MetastoreBackend().set(AssetScope(asset_id=number), "watermark", '"' + name + '"')
"""
CLEAN = """
from datetime import datetime, timezone
from airflow.utils.db_cleanup import run_cleanup
run_cleanup(
    clean_before_timestamp=datetime.now(timezone.utc), table_names=["task_state_store"], confirm=False
)
"""


def test_an_asset_row_is_found_under_its_name_and_its_uri_and_removed_alone(airflow_table, airflow_url, tmp_path):
    run_in_airflow(airflow_url, tmp_path, ASSET_ROWS)
    rows = airflow_table.rows
    (orders,) = [found for found in rows.found() if found.row.address == AssetAddress(name="orders")]
    assert orders.aliases == (AssetAddress(uri="s3://orders"),)
    assert rows.remove([orders]) == [orders]
    assert [found.row.text for found in rows.found()] == ['"other"']


def test_an_asset_row_that_was_written_anew_stays(airflow_table, airflow_url, tmp_path):
    run_in_airflow(airflow_url, tmp_path, ASSET_ROWS)
    found = list(airflow_table.rows.found())
    with transaction(airflow_url) as connection:
        connection.execute(text("UPDATE asset_state_store SET value = '\"new\"' WHERE asset_id = 1"))
    assert [each.row.text for each in airflow_table.rows.remove(found)] == ['"other"']


def test_an_asset_row_is_replaced_alone_as_it_was_read_and_keeps_who_wrote_it_last(airflow_table, airflow_url):
    put_assets(airflow_url, ["watermark", "changed"])
    rows, columns = airflow_table.rows, text('SELECT * FROM asset_state_store ORDER BY asset_id, "key"')
    with transaction(airflow_url) as connection:
        before = connection.execute(columns).mappings().all()
    found = [each for each in rows.found() if each.row.address == AssetAddress(name="orders")]
    with transaction(airflow_url) as connection:
        connection.execute(text("UPDATE asset_state_store SET value = '2' WHERE \"key\" = 'changed'"))
    (replaced,) = rows.replace([(each, '"remade"') for each in found])
    assert replaced.row.key == "watermark"
    expected = [{**row, "value": "2"} if row["key"] == "changed" else dict(row) for row in before]
    expected[1]["value"] = '"remade"'
    assert (expected[1]["key"], expected[1]["last_updated_by_kind"]) == ("watermark", "watcher")
    with transaction(airflow_url) as connection:
        assert [dict(row) for row in connection.execute(columns).mappings()] == expected


def test_pages_of_airflows_rows_go_on_from_tasks_to_assets(airflow_table, airflow_url):
    put_assets(airflow_url, ["k", "K", "watermark"])
    for number in range(3):
        airflow_table.put(TASK, f"task {number}", "1", expires_at=PAST)
    for limit in (1, 2, 3, 4, 5, 9):
        pages = [airflow_table.rows.page(limit=limit)]
        while len(pages[-1]) == limit:
            pages.append(airflow_table.rows.page(limit=limit, after=pages[-1][-1]))
        assert all(len(page) <= limit for page in pages)
        found = [(str(each.row.address), each.row.key) for page in pages for each in page]
        assert sorted(found) == sorted((str(each.row.address), each.row.key) for each in airflow_table.rows.found())
        assert len(found) == len(set(found)) == 9


def put_assets(url, keys, value="1"):
    """Rows of both assets, much faster than by an Airflow of their own."""
    row = text(
        'INSERT INTO asset_state_store (asset_id, "key", value, updated_at, last_updated_by_kind) '
        "VALUES (:asset, :key, :value, '2026-01-02 03:04:05', 'watcher')"
    )
    rows = [{"asset": asset, "key": key, "value": value} for asset in (1, 2) for key in keys]
    with transaction(url) as connection:
        connection.execute(row, rows)


def test_assets_have_the_other_name_as_alias_with_and_without_rows(airflow_table):
    assert airflow_table.rows.aliases(AssetAddress(name="orders")) == [AssetAddress(uri="s3://orders")]
    assert airflow_table.rows.aliases(AssetAddress(uri="s3://orders")) == [AssetAddress(name="orders")]
    assert airflow_table.rows.aliases(AssetAddress(name="unknown")) == []


def test_the_row_of_an_asset_that_is_gone_is_still_found(airflow_table, airflow_url, tmp_path):
    run_in_airflow(airflow_url, tmp_path, ASSET_ROWS)
    with transaction(airflow_url) as connection:
        connection.execute(text("DELETE FROM asset WHERE name = 'orders'"))
    assert sorted(found.row.text for found in airflow_table.rows.found()) == ['"orders"', '"other"']


def test_rows_that_airflow_has_archived_are_found_and_stay(airflow_table, airflow_url, tmp_path):
    airflow_table.put(TASK, "past", "1", expires_at=PAST)
    airflow_table.put(TASK, "later", "2", expires_at=LATER.replace(year=2037))
    run_in_airflow(airflow_url, tmp_path, CLEAN)
    found = {each.row.key: each for each in airflow_table.rows.found()}
    assert {key: each.archived for key, each in found.items()} == {"past": True, "later": False}
    assert str(found["past"].place[0]).startswith("_airflow_deleted__task_state_store__")
    assert found["past"].row.address == TASK
    assert airflow_table.rows.remove([found["past"]]) == []
    assert airflow_table.rows.replace([(found["past"], "3")]) == []
    assert [each.row.key for each in airflow_table.rows.page(limit=9)] == ["later"]
    assert [each.row.key for each in airflow_table.rows.found() if each.archived] == ["past"]
    assert airflow_table.rows.expired(NOW, limit=9) == []


def test_erasing_with_airflows_roots_keeps_what_an_archive_names(airflow_table, airflow_url, tmp_path):
    stores = Stores()
    offloader = stores.offloader(inline_limit=0)
    for key, end in (("past", PAST), ("later", LATER.replace(year=2037))):
        airflow_table.put(TASK, key, row_text(offloader.offload(key, TASK, key)), expires_at=end)
    other = offloader.offload("other", TASK, "orphan")
    run_in_airflow(airflow_url, tmp_path, CLEAN)
    with closing(AirflowRoots(airflow_url, "default")) as roots:
        adopt(Collector(offloader.settings, stores.open(HOME), roots))
        eraser = Eraser(offloader.settings, airflow_table.rows, roots, stores.open(HOME))
        report = eraser.erase(TaskSelection("dag"), delete=True, accept=["running"])
    assert [found.row.key for found in report.rows] == ["later"]
    assert len(report.blobs) == 2
    assert name_in(other) not in stores.at[HOME].names()
    ((kept, holder),) = report.kept.items()
    assert "/past/" in kept
    assert holder.startswith("_airflow_deleted__task_state_store__")
    assert list(report.archived.values()) == [1]
    assert stores.at[HOME].names() == [kept]


ARCHIVED = (
    "CREATE TABLE _airflow_deleted__task_state_store__20260101000000 AS "
    "SELECT * FROM task_state_store WHERE \"key\" = 'past'",
    "DELETE FROM task_state_store WHERE \"key\" = 'past'",
)


def test_airflows_rows_are_rewritten_while_one_is_written_and_what_an_archive_names_stays(
    airflow_table, airflow_url, monkeypatch
):
    monkeypatch.setenv("KEY", "1" * 64)
    stores, keys = Stores(), {"encryption_keys": "k=env:KEY", "signing_keys": "s=env:KEY"}
    plain = stores.offloader(inline_limit=0)
    keyed = stores.offloader(inline_limit=0, unsigned_refs="accept", **keys)
    for key in ("a", "b", "past"):
        airflow_table.put(TASK, key, row_text(plain.offload(key, TASK, key)), expires_at=LATER)
    put_assets(airflow_url, ["total"], row_text(plain.offload("total", AssetAddress(name="orders"), "total")))
    with transaction(airflow_url) as connection:
        for statement in ARCHIVED:
            connection.execute(text(statement))
    remaking = Rekeying(keyed.settings, stores.open)
    remade = remaking.remade

    def remade_late(ref, address, key):
        if key == "b":
            airflow_table.put(TASK, "b", row_text(keyed.offload("newer", TASK, "b")), expires_at=None)
        return remade(ref, address, key)

    remaking.remade = remade_late
    with closing(AirflowRoots(airflow_url, "default")) as roots:
        collector = Collector(keyed.settings, stores.open(HOME), roots)
        adopt(collector)
        report = rewrite(collector, airflow_table.rows, remaking, grace=timedelta())
    # Of the asset that has not written it, a copied ref stays as it is.
    assert (report.done.rows, report.changed, report.archived, report.elsewhere) == (2, 1, 1, 1)
    assert (report.deleted, len(report.held)) == (1, 1)
    rows = {(str(found.row.address), found.row.key): found for found in airflow_table.rows.found()}
    refs = {place: open_envelope(json.loads(found.row.text)) for place, found in rows.items()}
    new = stores.offloader(**keys)
    expected = {
        (str(TASK), "a"): "a",
        (str(TASK), "b"): "newer",
        (str(AssetAddress(name="orders")), "total"): "total",
    }
    assert {place: new.resolve(refs[place]) for place in expected} == expected
    assert plain.resolve(refs[str(TASK), "past"]) == "past"
    assert (rows[str(TASK), "a"].row.expires_at, rows[str(TASK), "a"].row.updated_at) == (LATER, NOW)  # as it was


def test_airflows_rows_move_in_and_out_again_while_one_is_written(airflow_table, airflow_url):
    """The peer writes one row anew, with the same ref, over another value: that is not lost."""
    stores = Stores()
    offloader = stores.offloader(inline_limit=0, read_paths="s3://bucket/peer")
    peer, settings = stores.open("s3://bucket/peer"), offloader.settings
    rows = airflow_table.rows

    def put_by_peer(name, value, write):
        peer.delete([name])
        peer.put(name, [json.dumps(value).encode()])
        write(envelope(f"s3://bucket/peer/{name}"))

    for key in ("a", "b", "past"):
        put_by_peer(
            f"dag/run/task/-1/{key}",
            [key],
            lambda row, key=key: airflow_table.put(TASK, key, row, expires_at=LATER),
        )
    airflow_table.put(TASK, "long", '["long"]', expires_at=None)
    put_by_peer("assets/orders/total", {"n": 1}, lambda row: put_assets(airflow_url, ["total"], row))
    with transaction(airflow_url) as connection:
        for statement in ARCHIVED:
            connection.execute(text(statement))
    moving = MovingIn(settings, stores.open)
    remake = moving.remake

    def remake_late(found, need):
        made = remake(found, need)
        if found.row.key == "b":
            again = lambda row: airflow_table.put(TASK, "b", row, expires_at=LATER)  # noqa: E731
            put_by_peer("dag/run/task/-1/b", "newer", again)
        return made

    moving.remake = remake_late
    with closing(AirflowRoots(airflow_url, "default")) as roots:
        collector = Collector(settings, stores.open(HOME), roots)
        adopt(collector)
        report = rewrite(collector, rows, moving)
        # The other asset has a row with the ref of this one.
        assert (report.done.rows, report.changed, report.archived, report.failures) == (3, 1, 1, 1)
        assert len(stores.at[HOME].names()) == 3
        moving.remake = remake
        assert rewrite(collector, rows, moving).done.rows == 1
        refs = [open_envelope(json.loads(found.row.text)) for found in rows.page(limit=9)]
        assert [isinstance(parse_ref(ref), BlobRef) for ref in refs].count(True) == 4
        out = MovingToPlainRows(settings, stores.open, row_limit=0)
        assert rewrite(collector, rows, out, delete=False).done.rows == 4
    found = {(str(each.row.address), each.row.key): each.row for each in rows.found()}
    texts = {key: found[str(TASK), key].text for key in ("a", "b", "long")}
    assert texts == {"a": '["a"]', "b": '"newer"', "long": '["long"]'}
    assert found[str(AssetAddress(name="orders")), "total"].text == '{"n": 1}'
    assert found[str(TASK), "b"].expires_at == LATER


@pytest.mark.skipif(not HAS_REGIONS, reason="this Airflow has no regions")
def test_rows_of_another_region_are_told_apart(airflow_table):
    regional = TaskAddress("dag", "run", "task", -1, REGION)
    for address in (TASK, regional):
        airflow_table.put(address, "key", "1", expires_at=PAST)
    (found,) = [each for each in airflow_table.rows.expired(NOW, limit=9) if each.row.address == regional]
    assert airflow_table.rows.remove([found]) == [found]
    assert airflow_table.get(TASK, "key") is not None
    assert airflow_table.get(regional, "key") is None


@pytest.mark.parametrize("rows", [SqlCoreStore, AirflowRows])
def test_a_database_without_the_tables_is_refused_and_left_as_it_is(rows, tmp_path):
    url = f"sqlite:///{tmp_path}/other.db"
    with transaction(url) as connection:
        connection.execute(text("CREATE TABLE mine (id INTEGER)"))
    store = rows(url)
    for ask in (lambda: store.expired(NOW, limit=1), lambda: list(store.found())):
        with pytest.raises(ConfigError, match=r"has no table (offload_task_state|task_state_store)"):
            ask()
    with transaction(url) as connection:
        assert connection.scalars(text("SELECT name FROM sqlite_master")).all() == ["mine"]


def test_a_row_that_a_transaction_holds_is_skipped_and_not_waited_for(postgres_url):
    table = next(embedded(postgres_url))
    for key in ("held", "free"):
        table.put(TASK, key, "1", expires_at=PAST)
    found = table.rows.expired(NOW, limit=9)
    engine = create_engine(postgres_url)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE offload_task_state SET value = '2' WHERE key = 'held'"))
        assert [each.row.key for each in table.rows.replace([(each, "3") for each in found])] == ["free"]
        (free,) = [each for each in table.rows.page(limit=9) if each.row.key == "free"]
        assert table.rows.remove([*(each for each in found if each.row.key == "held"), free]) == [free]
    engine.dispose()
    assert table.get(TASK, "held") is not None


def test_in_mysql_rows_are_locked_without_waiting_and_the_clock_is_utc():
    query = expired_of(TASKS, NOW, 10, None)
    assert "LIMIT" in str(query.compile(dialect=mysql.dialect()))
    told = []

    class Connection:
        def execute(self, statement):
            told.append(str(statement.compile(dialect=mysql.dialect())))
            return []

    store = MemoryCoreStore()
    store.set(TASK, "key", "1", expires_at=PAST)
    found = list(store.found())
    assert remove_unchanged(Connection(), TASKS, ["id"], found) == []
    assert replace_unchanged(Connection(), TASKS, ["id"], [(each, "2") for each in found]) == []
    assert [each.endswith("FOR UPDATE SKIP LOCKED") for each in told] == [True, True]
    assert "LIMIT" in str(page_of(select(TASKS), [TASKS.c.id], 3, None).compile(dialect=mysql.dialect()))


RACER = """
import json, sys
from datetime import datetime, timezone
from offload_backend.corestores.sql import SqlCoreStore
store = SqlCoreStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
removed, last = [], None
while batch := store.expired(datetime.now(timezone.utc), limit=7, after=last):
    last = batch[-1]
    removed += [found.row.key for found in store.remove(batch)]
print(json.dumps(removed))
"""


def test_two_processes_that_expire_at_once_neither_deadlock_nor_count_a_row_twice(postgres_url):
    table = next(embedded(postgres_url))
    for number in range(300):
        table.put(TASK, str(number), "1", expires_at=PAST)
    command = [sys.executable, "-c", RACER, postgres_url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    try:
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        removed = [key for racer in racers for key in json.loads(racer.communicate(timeout=60)[0])]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(removed) == len(set(removed))
    assert len(removed) + len(table.keys()) == 300
