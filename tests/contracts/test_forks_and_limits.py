"""What a SQL core store does not wait for: foreign locks, and other threads' transactions at a fork."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import types

import pytest
from sqlalchemy import create_engine, event, text

from offload_backend.address import TaskAddress
from offload_backend.corestores import engine, mysql_sessions
from offload_backend.corestores.engine import Database
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import ConfigError, CoreStoreError
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]

TASK = TaskAddress("dag", "run", "task")
LIMITS = ("lock_timeout", "statement_timeout")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hun@ter2@host/database",
        "postgresql://user:12/ter2@host/database",
        "postgresql://user:hun/@ter2@host/database",
    ],
)
def test_a_password_that_is_not_encoded_is_shown_to_nobody(url):
    try:
        shown = Database(url).location
    except ConfigError as error:
        shown = str(error)
    assert "ter2" not in shown


def test_an_at_sign_in_a_password_has_to_be_encoded():
    with pytest.raises(ConfigError, match="%40"):
        SqlCoreStore("postgresql://user:hun@ter2@host/database")
    assert Database("postgresql://user:hun%40ter2@host/database").location == "postgresql://host/database"


def test_a_row_that_somebody_else_keeps_locked_is_a_passing_trouble(postgres_url, monkeypatch):
    monkeypatch.setattr(engine, "LOCK_SECONDS", 1)
    store = SqlCoreStore(postgres_url)
    store.set(TASK, "key", "1", expires_at=None)
    with create_engine(postgres_url).connect() as other:
        other.execute(text("SELECT * FROM offload_task_state FOR UPDATE"))
        with pytest.raises(CoreStoreError, match="lock timeout") as caught:
            store.set(TASK, "key", "2", expires_at=None)
    assert caught.value.retryable
    assert store.set(TASK, "key", "3", expires_at=None) == "1"
    store.close()


def test_no_wait_for_postgresql_is_without_limit_and_a_limit_of_the_users_own_is_kept(postgres_url):
    assert _limits(postgres_url) == ("30s", "1min")
    assert _limits(postgres_url.replace("options=", "options=-cstatement_timeout%3D5s%20")) == ("30s", "5s")


@pytest.fixture
def database(postgres_url):
    database = Database(postgres_url)
    yield database
    database.close()


@pytest.mark.parametrize("way", ["reading", "writing", "snapshot"])
def test_the_limits_end_with_the_transaction_because_a_pooler_gives_the_connection_to_others(database, way):
    with getattr(database, way)() as connection:
        assert [connection.scalar(text(f"SELECT current_setting('{name}')")) for name in LIMITS] == ["30s", "1min"]
        used = connection.scalar(text("SELECT pg_backend_pid()"))
    with contextlib.closing(database._engine.raw_connection()) as later, later.cursor() as cursor:
        assert cursor.execute("SELECT pg_backend_pid()").fetchone() == (used,)
        assert [cursor.execute(f"SHOW {name}").fetchone()[0] for name in LIMITS] == ["0", "0"]


def test_the_limits_of_a_snapshot_do_not_begin_it(database):
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE rows (number integer)"))
    with database.snapshot() as connection:
        with database.writing() as other:
            other.execute(text("INSERT INTO rows VALUES (1)"))
        assert connection.scalar(text("SELECT count(*) FROM rows")) == 1
    with database.snapshot() as connection:
        connection.scalar(text("SELECT count(*) FROM rows"))
        with database.writing() as other:
            other.execute(text("INSERT INTO rows VALUES (2)"))
        assert connection.scalar(text("SELECT count(*) FROM rows")) == 1


def test_a_snapshot_keeps_limits_of_the_users_own(postgres_url):
    database = Database(postgres_url.replace("options=", "options=-cstatement_timeout%3D5s%20"))
    with database.snapshot() as connection:
        assert [connection.scalar(text(f"SELECT current_setting('{name}')")) for name in LIMITS] == ["30s", "5s"]
    database.close()


def test_no_statement_is_prepared_on_a_connection_that_a_pooler_may_exchange(database):
    for _ in range(10):
        with database.reading() as connection:
            connection.scalar(text("SELECT :number"), {"number": 1})
            assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


@pytest.mark.parametrize("name", ["mysql", "mariadb"])
def test_a_session_of_mysql_has_times_in_utc_as_airflows_has(monkeypatch, name):
    statements = []

    class Cursor:
        execute = staticmethod(statements.append)
        close = staticmethod(lambda: None)

    class Connection:
        cursor = Cursor

    driver = types.ModuleType("pymysql")
    driver.paramstyle, driver.Error = "format", Exception
    monkeypatch.setitem(sys.modules, "pymysql", driver)
    database = Database(f"{name}+pymysql://user@host/airflow")
    assert event.contains(database._engine, "connect", mysql_sessions._set)
    mysql_sessions._set(Connection(), None)
    [statement] = statements
    assert statement.startswith("SET time_zone = '+00:00', ")


def _limits(url):
    database = Database(url)
    try:
        with database.reading() as connection:
            return tuple(connection.scalar(text(f"SHOW {name}")) for name in LIMITS)
    finally:
        database.close()


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = SqlCoreStore(f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/database")
        with pytest.raises(CoreStoreError, match="timeout") as caught:
            store.get(TASK, "key")
    assert caught.value.retryable


@pytest.fixture
def in_use():
    """Makes another thread keep a transaction on a database open until the test ends."""
    go_on, threads = threading.Event(), []

    def use(database):
        begun = threading.Event()

        def write():
            with database.writing() as connection:
                connection.execute(text("SELECT 1"))
                begun.set()
                go_on.wait(30)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        assert begun.wait(30)

    yield use
    go_on.set()
    for thread in threads:
        thread.join()


def test_a_fork_does_not_wait_for_a_long_transaction_and_the_child_has_connections_of_its_own(postgres_url, in_use):
    database = Database(postgres_url)
    in_use(database)
    assert _in_a_child(lambda: _number(database)) == "42"


def test_a_child_forked_within_a_sqlite_transaction_says_so(tmp_path, monkeypatch, in_use):
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0)
    monkeypatch.setattr(engine, "FORK_SECONDS", 0.1)
    database = Database(f"sqlite:///{tmp_path}/state.db")
    in_use(database)
    assert "forked in the middle" in _in_a_child(lambda: _number(database))


def test_a_database_made_while_a_fork_waits_keeps_its_turn(tmp_path, monkeypatch):
    """Only the locks that were taken before the fork are released after it."""
    made: list[Database] = []

    def before_fork(database):
        if not made:
            made.append(Database(f"sqlite:///{tmp_path}/second.db"))
            made[0]._turn.acquire()
        return real_before(database)

    real_before = Database.before_fork
    first = Database(f"sqlite:///{tmp_path}/first.db")
    monkeypatch.setattr(Database, "before_fork", before_fork)
    assert _in_a_child(lambda: _number(first)) == "42"
    assert made[0]._turn.locked()
    made[0]._turn.release()
    assert _number(first) == "42"


def _number(database):
    try:
        with database.reading() as connection:
            return str(connection.scalar(text("SELECT 42")))
    except CoreStoreError as error:
        return str(error)


def _in_a_child(call):
    """What the call returns in a forked child, which is killed if it hangs."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            os.write(write, call().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer
