"""A real MySQL server for the tests, or MariaDB where there is no other; started at first use, gone at exit."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

__all__ = ["mysql_url", "new_mysql_database", "server_version", "url_of"]

PROGRAM, REQUIRED = "OFFLOAD_MYSQLD", "OFFLOAD_REQUIRE_MYSQL"
"""In the environment: the server's program, where ``PATH`` has it not; and that tests fail without it."""

START_SECONDS = 240.0
DRIVER = "mysql+mysqldb"
DRIVERS = ("MySQLdb", "aiomysql")
"""Those that Airflow takes: it makes an engine of each when it is imported."""


@functools.cache
def program() -> str | None:
    """The server's program, if there is one, and the drivers as well."""
    if not all(map(find_spec, DRIVERS)):
        return None
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return os.environ.get(PROGRAM) or shutil.which("mysqld", path=path)


def url_of(database: str, user: str = "root") -> str:
    """The URL of a database on the server, which is started if need be; skips, or fails, where there is none."""
    if program() is None:
        complain = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
        complain("needs MySQL or MariaDB, mysqlclient and aiomysql: docs/installation.md")
    query = {"unix_socket": str(_server())}
    return URL.create(DRIVER, user, host="localhost", database=database, query=query).render_as_string()


def new_mysql_database(collation: str = "utf8mb4_unicode_ci") -> str:
    """The URL of an empty database of its own, made as Airflow's documentation says."""
    name = f"airflow{uuid.uuid4().hex}"
    _run(url_of(""), f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {collation}")
    return url_of(name)


@pytest.fixture
def mysql_url() -> str:
    """An empty database of its own on the server."""
    return new_mysql_database()


def server_version() -> str:
    """What the server says it is."""
    return str(_run(url_of(""), "SELECT VERSION()"))


def _run(url: str, statement: str) -> object:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


@functools.cache
def _server() -> Path:
    """The socket of the server. Sockets' paths may have about 100 characters, hence the short one."""
    home = Path(tempfile.mkdtemp(prefix="my"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    data, socket, log = home / "data", home / "socket", home / "log"
    given = ["--no-defaults", f"--datadir={data}", *(["--user=root"] if os.geteuid() == 0 else [])]
    with log.open("wb") as told:
        if "MariaDB" in subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout:
            own: list[str] = []
            options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
            command = ["mariadb-install-db", *given, *options]
        else:
            own = ["--mysqlx=OFF", "--skip-log-bin", "--secure-file-priv=NULL"]
            command = [program(), *given, "--initialize-insecure"]
        subprocess.run(command, stdout=told, stderr=told, check=True, timeout=START_SECONDS)
        # Nothing here has to survive a power cut.
        unsafe = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"]
        reach = [f"--socket={socket}", f"--pid-file={home / 'pid'}", "--skip-networking"]
        server = subprocess.Popen([program(), *given, *own, *unsafe, *reach], stdout=told, stderr=told)
    atexit.register(_stop, server, os.getpid())
    _wait_for(socket, server, log)
    return socket


def _wait_for(socket: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    url = URL.create(DRIVER, "root", host="localhost", query={"unix_socket": str(socket)}).render_as_string()
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(log.read_text(errors="replace"))
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return _run(url, "SELECT 1") == 1
    except OperationalError:
        return False


def _stop(server: subprocess.Popen[bytes], starter: int) -> None:
    if os.getpid() == starter:  # and not a fork of it
        server.kill()
        server.wait()
