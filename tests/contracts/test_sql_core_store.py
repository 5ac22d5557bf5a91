from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores import engine
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import ConfigError, CoreStoreError
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]

TASK = TaskAddress("dag", "run", "task")
any_text = st.text(st.characters(exclude_categories=()), max_size=512)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def core_store(url):
    store = SqlCoreStore(url)
    yield store
    store.close()


SETTER = """
import json, sys
from offload_backend.address import TaskAddress
from offload_backend.corestores.sql import SqlCoreStore
store = SqlCoreStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    text = f'"{sys.argv[2]}-{number}"'
    print(json.dumps([text, store.set(TaskAddress("dag", "run", "task"), "key", text, expires_at=None)]))
"""


def test_four_processes_that_set_one_key_each_get_another_predecessor(url):
    """The tables do not exist either, so their creation is a race as well."""
    command = [sys.executable, "-c", SETTER, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    written, replaced = zip(*(json.loads(line) for out in outputs for line in out.splitlines()), strict=True)
    last = SqlCoreStore(url).get(TASK, "key").text
    assert len(written) == 200
    assert replaced.count(None) == 1
    assert sorted([*filter(None, replaced), last]) == sorted(written)


def test_setting_deleting_and_clearing_at_once_returns_every_text_exactly_once(url):
    def set_some(who: int) -> list[str | None]:
        store = SqlCoreStore(url)
        return [store.set(TASK, "key", f"{who}-{number}", expires_at=None) for number in range(40)]

    def remove_some(who: int) -> list[str | None]:
        store = SqlCoreStore(url)
        return [text for _ in range(40) for text in (store.delete(TASK, "key"), *store.clear(TASK))]

    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(work, who) for who, work in enumerate([set_some] * 3 + [remove_some] * 2)]
        returned = [text for future in futures for text in future.result()]
    returned += SqlCoreStore(url).clear(TASK)
    assert sorted(filter(None, returned)) == sorted(f"{who}-{number}" for who in range(3) for number in range(40))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_children_forked_while_threads_write_go_on_with_connections_of_their_own(url, core_store):
    core_store.set(TASK, "key", '"first"', expires_at=None)
    stop = threading.Event()
    chain: list[tuple[str, str]] = []

    def write(who: str) -> None:
        number = 0
        while not stop.is_set():
            written = f'"{who}-{number}"'
            chain.append((written, core_store.set(TASK, "key", written, expires_at=None)))
            number += 1

    threads = [threading.Thread(target=write, args=(f"thread{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for child in range(4):
            chain += _in_a_fork(lambda child=child: _write_some(core_store, f"child{child}"))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    last = SqlCoreStore(url).get(TASK, "key").text
    written, replaced = zip(*chain, strict=True)
    assert sorted([*replaced, last]) == sorted(['"first"', *written])


def _write_some(core_store, who):
    texts = [f'"{who}-{number}"' for number in range(10)]
    return [(text, core_store.set(TASK, "key", text, expires_at=None)) for text in texts]


def _in_a_fork(call):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(write, "w") as pipe:
                json.dump(call(), pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return [tuple(pair) for pair in json.loads(answer)]


def test_rows_a_child_committed_survive_its_parent_closing_the_database(url, core_store):
    """SQLite's last user removes the write-ahead log; the parent must not take itself for the last."""
    core_store.set(TASK, "parent", "1", expires_at=None)
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            core_store.set(TASK, "early", "2", expires_at=None)
            os.read(go_read, 1)
            core_store.set(TASK, "late", "3", expires_at=None)
        finally:
            os._exit(0)
    while core_store.get(TASK, "early") is None:
        pass
    core_store.close()
    os.write(go_write, b"x")
    os.waitpid(pid, 0)
    os.close(go_read)
    os.close(go_write)
    assert {row.key for row in SqlCoreStore(url).rows()} == {"parent", "early", "late"}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(any_text, any_text, any_text)
def test_any_python_strings_are_ids_and_keys(core_store, one, two, key):
    addresses = {TaskAddress(one, two, key), TaskAddress(two, one, key)}
    addresses |= {AssetAddress(name=one), AssetAddress(uri=one)}
    for address in addresses:
        core_store.set(address, key, "1", expires_at=None)
    assert {(row.address, row.key) for row in core_store.rows()} == {(address, key) for address in addresses}
    for address in addresses:
        assert core_store.get(address, key).address == address
        assert core_store.delete(address, key) == "1"


def test_ordinary_ids_are_stored_as_they_are_for_people_to_query(core_store, url):
    core_store.set(TaskAddress("etl", "manual__2031-01-01", "load", 3), "progress", '{"step": 4}', expires_at=None)
    with create_engine(url.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        query = "SELECT dag_id, run_id, task_id, map_index, key, value FROM offload_task_state"
        row = connection.execute(text(query)).one()
    assert tuple(row) == ("etl", "manual__2031-01-01", "load", 3, "progress", '{"step": 4}')


def test_a_sqlite_commit_outlives_a_power_cut(tmp_path):
    """The commit is the proof that a blob is dead, so it may not be lost after the blob was deleted."""
    store = SqlCoreStore(f"sqlite:///{tmp_path}/state.db")
    with store._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_relative_sqlite_path_stays_where_it_was_when_the_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SqlCoreStore("sqlite:///state.db")
    monkeypatch.chdir("/")
    store.set(TASK, "key", "1", expires_at=None)
    assert (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "state.db",
        "nonsense://host/database",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "postgresql+asyncpg://user:hunter2@host/database",
        "postgresql+nonsense://user:hunter2@host/database",
        "postgresql://user:hunter2@host:port/database",
        "mysql+pymysql://user:hunter2@host/database",
    ],
)
def test_a_url_that_cannot_be_used_is_a_configuration_error_with_an_example(url):
    with pytest.raises(ConfigError) as caught:
        SqlCoreStore(url)
    assert "sqlite:////" in caught.value.hint
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_a_configuration_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    url = "postgresql://user:hunter2@host/database"
    with pytest.raises(ConfigError, match="not installed") as caught:
        SqlCoreStore(url)
    assert "pip install 'offload-backend[postgres]'" in caught.value.hint
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_an_unreachable_server_is_retryable_and_its_password_is_told_to_nobody(unused_port):
    store = SqlCoreStore(f"postgresql://user:hunter2@127.0.0.1:{unused_port}/database")
    with pytest.raises(CoreStoreError) as caught:
        store.get(TASK, "key")
    assert caught.value.retryable
    assert caught.value.location == f"postgresql://127.0.0.1:{unused_port}/database"
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + repr(store.__dict__)


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


def test_a_missing_directory_is_not_retryable(tmp_path):
    with pytest.raises(CoreStoreError) as caught:
        SqlCoreStore(f"sqlite:///{tmp_path}/missing/state.db").get(TASK, "key")
    assert not caught.value.retryable


def test_a_file_that_is_no_database_is_not_retryable(tmp_path):
    (tmp_path / "state.db").write_bytes(b"x" * 4096)
    with pytest.raises(CoreStoreError, match="not a database") as caught:
        SqlCoreStore(f"sqlite:///{tmp_path}/state.db").set(TASK, "key", "1", expires_at=None)
    assert not caught.value.retryable


def test_a_database_that_stays_locked_is_retryable_and_the_value_is_told_to_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    store = SqlCoreStore(f"sqlite:///{tmp_path}/state.db")
    store.get(TASK, "key")
    value = '"the value"'
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CoreStoreError, match="locked") as caught:
        store.set(TASK, "key", value, expires_at=None)
    other.execute("ROLLBACK")
    assert caught.value.retryable
    assert "the value" not in "".join(traceback.format_exception(caught.value))
    assert store.set(TASK, "key", "1", expires_at=None) is None


def test_a_refused_write_tells_the_value_to_nobody(tmp_path):
    store = SqlCoreStore(f"sqlite:///{tmp_path}/state.db")
    store.get(TASK, "key")
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON offload_task_state BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    value = '"the value"'
    with pytest.raises(CoreStoreError, match="refused") as caught:
        store.set(TASK, "key", value, expires_at=None)
    assert not caught.value.retryable
    assert "the value" not in "".join(traceback.format_exception(caught.value))


def test_existing_tables_need_no_right_to_create_any(postgres_url):
    SqlCoreStore(postgres_url).set(TASK, "key", "1", expires_at=None)
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    schema = postgres_url.split("search_path%3D")[1]
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE reader_{schema} LOGIN"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO reader_{schema}"))
        rights = "SELECT, INSERT, UPDATE, DELETE"
        connection.execute(text(f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}"))
    try:
        store = SqlCoreStore(postgres_url.replace("postgres:@", f"reader_{schema}:@"))
        assert store.set(TASK, "key", "2", expires_at=None) == "1"
        store.close()
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP OWNED BY reader_{schema}"))
            connection.execute(text(f"DROP ROLE reader_{schema}"))


def test_a_connection_the_server_dropped_is_replaced(postgres_url):
    store = SqlCoreStore(postgres_url)
    store.set(TASK, "key", "1", expires_at=None)
    with store._database.reading() as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
    with create_engine(postgres_url, isolation_level="AUTOCOMMIT").connect() as connection:
        assert connection.scalar(text("SELECT pg_terminate_backend(:backend, 5000)"), {"backend": backend})
    assert store.set(TASK, "key", "2", expires_at=None) == "1"
