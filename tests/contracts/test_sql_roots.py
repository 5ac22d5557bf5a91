"""The embedded core store's roots: the contract, and what may hide a row."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text

from offload_backend.address import AssetAddress, TaskAddress, new_blob_id
from offload_backend.corestores import rootdatabase
from offload_backend.corestores.schema import TASKS
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Ledger
from offload_backend.row import row_text
from offload_backend.testing.root_source import RootSourceContract, canary, ids_of, read, ref_to
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]

LIMIT = text("SELECT current_setting('statement_timeout')")
TASK = TaskAddress("dag", "run", "task", 2, UUID("01890000-0000-7000-8000-000000000001"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def core_store(url):
    store = SqlCoreStore(url)
    store.get(TASK, "key")
    yield store
    store.close()


@pytest.fixture
def root_source(url, core_store):
    source = SqlRoots(url, "default")
    yield source
    source.close()


class TestEmbeddedStore(RootSourceContract):
    @pytest.fixture
    def put_row(self, core_store):
        return lambda address, key, row: core_store.set(address, key, row, expires_at=None)

    @pytest.fixture
    def drop_row(self, core_store):
        return core_store.delete


@contextmanager
def engine_at(url):
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def execute(url, *statements):
    with engine_at(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_an_expired_row_is_a_root_and_the_holder_names_address_and_key(root_source, core_store):
    blob_id = new_blob_id()
    before = datetime.now(timezone.utc)
    core_store.set(TASK, "it's", row_text(ref_to(blob_id)), expires_at=before - timedelta(days=9))
    core_store.set(AssetAddress(uri="s3://x"), "k", row_text(ref_to(new_blob_id())), expires_at=None)
    [task, asset] = read(root_source)
    assert (task.ids, task.ref) == ((blob_id,), ref_to(blob_id))
    assert before <= task.updated_at <= datetime.now(timezone.utc)
    assert task.holder == f'offload_task_state: {TASK} key "it\'s"'
    assert asset.holder == "offload_asset_state: asset uri 's3://x' key 'k'"


def test_deployments_in_one_database_have_ledgers_of_their_own(url, root_source):
    other = SqlRoots(url, "other")
    mine, theirs = canary(7), canary(3)
    root_source.record(mine)
    assert other.ledger() is None
    other.record(theirs)
    mine = canary(8)
    root_source.record(mine)
    assert (root_source.ledger(), other.ledger()) == (mine, theirs)
    [root] = read(other)
    assert (root.ref, root.holder) == (theirs.canary, "offload_collector: deployment other")
    other.close()


def test_the_sequence_never_goes_back(root_source):
    ledger = canary(7)
    root_source.record(ledger)
    with pytest.raises(CoreStoreError, match="is at run 7 and does not go back to run 6") as caught:
        root_source.record(canary(6))
    assert caught.value.location
    assert root_source.ledger() == ledger


def test_a_ledger_is_there_for_another_process_as_soon_as_it_is_recorded(url, root_source):
    ledger = canary()
    root_source.record(ledger)
    with engine_at(url) as engine, engine.connect() as connection:
        rows = connection.execute(text("SELECT deployment, sequence, canary FROM offload_collector")).all()
    assert [tuple(row) for row in rows] == [("default", 1, ledger.canary)]


def test_a_canary_without_an_id_is_an_error_and_not_a_missing_root(root_source):
    root_source.record(Ledger(1, "memory://nothing"))
    with pytest.raises(CoreStoreError, match="canary"):
        read(root_source)


def test_roots_are_one_snapshot_in_which_the_canary_is_read_too(root_source, core_store, url):
    old = [new_blob_id() for _ in range(5)]
    for number, blob_id in enumerate(old):
        core_store.set(TASK, str(number), row_text(ref_to(blob_id)), expires_at=None)
    ledger = canary()
    root_source.record(ledger)
    roots = root_source.roots(())
    first = next(roots)
    assert first.ref == ledger.canary
    for number in range(5):
        core_store.set(TASK, str(number), row_text(ref_to(new_blob_id())), expires_at=None)
    core_store.set(AssetAddress(name="late"), "key", row_text(ref_to(new_blob_id())), expires_at=None)
    assert sorted(root.ids[0] for root in roots) == sorted(old)


@pytest.mark.parametrize("kind", ["task", "asset"])
def test_a_database_without_a_table_is_the_wrong_one_for_every_call(root_source, url, kind):
    execute(url, f"DROP TABLE offload_{kind}_state")
    calls = [
        root_source.origin,
        root_source.ledger,
        lambda: root_source.record(canary()),
        lambda: read(root_source),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match=f"no table offload_{kind}_state") as caught:
            call()
        assert "core_store" in caught.value.hint
    with (
        engine_at(url) as engine,
        pytest.raises(Exception, match="offload_collector"),
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT * FROM offload_collector"))


def test_a_view_that_could_leave_rows_out_is_not_taken_for_the_table(root_source, url):
    execute(
        url,
        "ALTER TABLE offload_task_state RENAME TO all_rows",
        "CREATE VIEW offload_task_state AS SELECT * FROM all_rows WHERE dag_id = 'other'",
    )
    with pytest.raises(ConfigError, match="no table offload_task_state"):
        read(root_source)


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path):
    for url in (f"sqlite:///{tmp_path}/missing.db", f"sqlite:///file:{tmp_path}/missing.db?uri=true"):
        with pytest.raises(ConfigError, match="no such database file"):
            SqlRoots(url, "default").origin()
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_kind_is_a_configuration_error(monkeypatch):
    monkeypatch.setattr(SqlRoots, "dialects", ("postgresql",))
    with pytest.raises(ConfigError, match="no roots are kept in sqlite"):
        SqlRoots("sqlite:////state.db", "default")


@pytest.mark.parametrize("value", ["nul\0{}", "\0{}\0", b"blob {}", b"\xff\x00{}"], ids=repr)
def test_what_sqlite_itself_does_not_see_in_a_value_is_a_root(tmp_path, value):
    path = tmp_path / "state.db"
    SqlCoreStore(f"sqlite:///{path}").set(TASK, "key", "1", expires_at=None)
    blob_id = new_blob_id()
    held = value.format(blob_id) if isinstance(value, str) else value.replace(b"{}", blob_id.encode())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE offload_task_state SET value = ?", (held,))
    connection.close()
    assert ids_of(SqlRoots(f"sqlite:///{path}", "default")) == {blob_id}


def test_a_date_that_is_none_is_unknown_and_the_row_still_a_root(tmp_path):
    path = tmp_path / "state.db"
    blob_id = new_blob_id()
    SqlCoreStore(f"sqlite:///{path}").set(TASK, "key", row_text(ref_to(blob_id)), expires_at=None)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE offload_task_state SET updated_at = 'yesterday'")
    connection.close()
    [root] = read(SqlRoots(f"sqlite:///{path}", "default"))
    assert (root.ids, root.updated_at) == ((blob_id,), None)


def test_text_that_cannot_be_decoded_is_an_error_and_not_a_missing_root(tmp_path):
    path = tmp_path / "state.db"
    SqlCoreStore(f"sqlite:///{path}").set(TASK, "key", "1", expires_at=None)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE offload_task_state SET value = CAST(x'2d2dff00' || ? AS TEXT)", (new_blob_id(),))
    connection.close()
    with pytest.raises(CoreStoreError):
        read(SqlRoots(f"sqlite:///{path}", "default"))


def test_fewer_rows_than_the_database_counts_are_an_error(root_source, core_store, monkeypatch):
    for key in ("a", "b"):
        core_store.set(TASK, key, row_text(ref_to(new_blob_id())), expires_at=None)
    # The count is not limited, because it counts what the query asks for.
    real = rootdatabase.RootTable.query
    calls = []

    def once_short(table, dialect):
        calls.append(table)
        return _Short(real(table, dialect))

    monkeypatch.setattr(rootdatabase.RootTable, "query", once_short)
    with pytest.raises(CoreStoreError, match="gave 1 rows of 2"):
        read(root_source)
    assert calls


class _Short:
    """A query that loses a row between the database and its reader."""

    def __init__(self, query):
        self._query = query

    def subquery(self):
        return self._query.subquery()

    def _execute_on_connection(self, connection, *arguments):
        return iter(self._query._execute_on_connection(connection, *arguments).all()[:-1])


def test_a_broken_file_is_an_error(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"x" * 4096)
    source = SqlRoots(f"sqlite:///{tmp_path}/broken.db", "default")
    for call in (source.origin, source.ledger, lambda: read(source)):
        with pytest.raises(CoreStoreError, match="not a database"):
            call()


@pytest.fixture
def role(postgres_url):
    """Makes a login role with these rights in the schema; the URL to connect as it."""
    schema = postgres_url.split("search_path%3D")[1]
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    name = f"role_{schema}"

    def make(*grants):
        with admin.connect() as connection:
            connection.execute(text(f"CREATE ROLE {name} LOGIN"))
            connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {name}"))
            for grant in grants:
                connection.execute(text(f"GRANT {grant} TO {name}"))
        return postgres_url.replace("postgres:@", f"{name}:@")

    yield make
    with admin.connect() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))
    admin.dispose()


ALL_TABLES = ("SELECT ON offload_task_state", "SELECT ON offload_asset_state")


@pytest.fixture
def postgres_store(postgres_url):
    store = SqlCoreStore(postgres_url)
    for number in range(3):
        row = row_text(ref_to(new_blob_id()))
        store.set(TaskAddress(f"dag{number}", "run", "task"), "key", row, expires_at=None)
    yield store
    store.close()


def test_row_level_security_is_an_error_and_not_a_short_list(postgres_store, postgres_url, role):
    source = SqlRoots(role(*ALL_TABLES), "default")
    assert len(read(source)) == 3
    execute(
        postgres_url,
        "ALTER TABLE offload_task_state ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY one_dag ON offload_task_state USING (dag_id = 'dag1')",
    )
    for call in (source.origin, source.ledger, lambda: read(source)):
        with pytest.raises(CoreStoreError, match="row-level security may hide rows") as caught:
            call()
        assert "BYPASSRLS" in caught.value.hint
    source.close()
    assert len(read(SqlRoots(postgres_url, "default"))) == 3


def test_row_level_security_on_the_ledger_is_an_error_and_not_a_collector_that_was_never_here(
    postgres_store, postgres_url, role
):
    SqlRoots(postgres_url, "default").record(canary())
    source = SqlRoots(role(*ALL_TABLES, "SELECT ON offload_collector"), "default")
    assert source.ledger() is not None
    execute(postgres_url, "ALTER TABLE offload_collector ENABLE ROW LEVEL SECURITY")
    for call in (source.ledger, lambda: read(source)):
        with pytest.raises(CoreStoreError, match="row-level security"):
            call()
    source.close()


def test_a_policy_that_comes_after_the_check_is_an_error_too(postgres_store, postgres_url, role, monkeypatch):
    source = SqlRoots(role(*ALL_TABLES), "default")
    monkeypatch.setattr(rootdatabase.visibility, "refuse_hidden_rows", lambda *_: None)
    execute(postgres_url, "ALTER TABLE offload_task_state ENABLE ROW LEVEL SECURITY")
    with pytest.raises(CoreStoreError, match="row-level security"):
        read(source)
    source.close()


@pytest.mark.parametrize(
    "grants",
    [
        [],
        ["SELECT ON offload_asset_state"],
        ["SELECT ON offload_task_state"],
        ["SELECT (id, updated_at) ON offload_task_state", "SELECT ON offload_asset_state"],
    ],
    ids=["nothing", "assets", "tasks", "columns without the value"],
)
def test_a_missing_right_is_an_error_and_not_a_short_list(postgres_store, role, grants):
    source = SqlRoots(role(*grants), "default")
    with pytest.raises(CoreStoreError, match="permission denied") as caught:
        read(source)
    assert not caught.value.retryable
    source.close()


def test_a_ledger_that_may_not_be_read_is_an_error_and_not_none(postgres_store, postgres_url, role):
    SqlRoots(postgres_url, "default").record(canary())
    source = SqlRoots(role(*ALL_TABLES), "default")
    for call in (source.ledger, lambda: read(source)):
        with pytest.raises(CoreStoreError, match="permission denied"):
            call()
    source.close()


def test_a_ledger_that_may_not_be_created_says_which_rights_are_missing(postgres_store, role):
    source = SqlRoots(role(*ALL_TABLES), "default")
    with pytest.raises(CoreStoreError, match="permission denied") as caught:
        source.record(canary())
    assert "INSERT and UPDATE on offload_collector" in caught.value.hint
    source.close()


def test_an_existing_ledger_needs_no_right_to_create_one(postgres_store, postgres_url, role):
    SqlRoots(postgres_url, "default").record(canary(1))
    source = SqlRoots(role(*ALL_TABLES, "SELECT, INSERT, UPDATE ON offload_collector"), "default")
    source.record(canary(2))
    assert source.ledger().sequence == 2
    source.close()


def test_the_ledger_stands_in_the_schema_of_the_rows_however_they_are_found(postgres_store, postgres_url):
    schema = postgres_url.split("search_path%3D")[1]
    through = SqlRoots(postgres_url.replace(f"search_path%3D{schema}", f"search_path%3Dpublic,{schema}"), "default")
    ledger = canary()
    through.record(ledger)
    direct = SqlRoots(postgres_url, "default")
    assert direct.ledger() == ledger
    assert direct.origin().fingerprint == through.origin().fingerprint
    through.close()
    direct.close()


def test_a_table_rewritten_while_roots_are_read_is_not_taken_for_empty(postgres_store, postgres_url):
    """PostgreSQL would show it empty to an older snapshot, so it may not be rewritten at all."""
    source = SqlRoots(postgres_url, "default")
    source.record(canary())
    with closing(source.roots(())) as roots:
        next(roots)
        with pytest.raises(Exception, match="lock timeout"):
            execute(
                postgres_url,
                "SET lock_timeout = '200ms'",
                "ALTER TABLE offload_task_state ALTER COLUMN map_index TYPE integer",
            )
        assert len(list(roots)) == 3
    source.close()


def test_roots_may_take_longer_than_a_statement_of_the_core_store(postgres_store, postgres_url):
    source = SqlRoots(postgres_url, "default")
    with source._database.reading() as connection:
        assert connection.scalar(LIMIT) == "1min"
    with source._database.snapshot() as connection:
        rootdatabase.visibility.pin(connection, [TASKS])
        assert connection.scalar(LIMIT) == "0"
    with source._database.reading() as connection:
        assert connection.scalar(LIMIT) == "1min"
    source.close()


def test_the_clock_is_the_databases(root_source):
    assert abs(root_source.now() - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert root_source.now().utcoffset() == timedelta(0)


def test_no_connection_is_left_open(postgres_store, postgres_url):
    source = SqlRoots(postgres_url.replace("options=", "application_name=roots&options="), "default")
    read(source)
    next(source.roots(()))
    source.close()
    with engine_at(postgres_url) as engine, engine.connect() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'roots'"
        for _ in range(100):
            if connection.scalar(text(query)) == 0:
                break
            connection.rollback()
            os.sched_yield()
        assert connection.scalar(text(query)) == 0
