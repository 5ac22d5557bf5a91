"""A SQL database by URL, made safe for threads and forks; what the SQL core stores have in common."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from offload_backend.corestores.mysql_sessions import engine_options, prepare_sessions
from offload_backend.corestores.trouble import EXAMPLES, trouble
from offload_backend.errors import ConfigError, CoreStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import CursorResult

__all__ = ["EXAMPLES", "Database"]

BUSY_SECONDS = 30
CONNECT_SECONDS = 10
LOCK_SECONDS = 30
STATEMENT_SECONDS = 60
FORK_SECONDS = 1
ROWS_PER_FETCH = 1000
READ_ONLY: dict[str, Any] = {"postgresql_readonly": True, "mysql_readonly": True}
_LIBPQ = ("psycopg", "psycopg2")
_SNAPSHOT = "REPEATABLE READ"
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_ENCODE = "write '@' in a password as %40 and '/' as %2F"
_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """Transactions on one database.

    ``url`` is checked and its driver imported at once; nothing connects before the first transaction.
    The threads of a process take turns, so that a fork can wait until no transaction runs and close
    every idle connection first: SQLite's locks and PostgreSQL's sockets must not be inherited. It waits
    for SQLite's longest wait and a little, for others ``FORK_SECONDS``; then the child begins with
    connections of its own, or, with SQLite, can only say so. A :meth:`snapshot` takes no turn; do not
    fork while one is being read.
    """

    def __init__(self, url: str, *, pragmas: Sequence[str] = ()) -> None:
        self._url = _parse(url)
        self.location = _location(self._url)
        self._pragmas = pragmas
        self._engine = self._new_engine()
        self._turn = threading.Lock()
        self._forked_in_use = False
        _open_databases.add(self)

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql`` or another of SQLAlchemy's names."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A short transaction that only reads."""
        engine = self._engine.execution_options(**READ_ONLY)
        with self._in_turn(), self._explained(), engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A short transaction, committed on exit, rolled back by an exception."""
        engine = self._engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with self._in_turn(), self._explained(), engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that sees one state of the whole database however long it is read, row by row."""
        options = {**READ_ONLY, "stream_results": True, "yield_per": ROWS_PER_FETCH}
        if self.dialect != "sqlite":
            options["isolation_level"] = _SNAPSHOT
        with self._explained(), self._engine.connect() as connection:
            fixed = connection.execution_options(**options)
            with fixed.begin():
                yield fixed

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()

    def _new_engine(self) -> Engine:
        options: dict[str, Any] = {"pool_pre_ping": True, "hide_parameters": True}
        if self._url.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": BUSY_SECONDS}
        elif self._url.get_backend_name() == "postgresql":
            options["isolation_level"] = "READ COMMITTED"
            options["connect_args"] = _libpq_arguments(self._url)
        elif self._url.get_backend_name() in ("mysql", "mariadb"):
            options |= engine_options(self._url)
        try:
            engine = create_engine(self._url, **options)
        except ModuleNotFoundError as error:
            extra = "pip install 'offload-backend[postgres]', or " if "psycopg" in str(error) else ""
            raise ConfigError(
                f"the driver of the core store's URL is not installed: {error.name}",
                hint=f"{extra}name the driver that is, as in postgresql+psycopg2://…; {EXAMPLES}",
                location=self.location,
            ) from error
        if engine.dialect.is_async:
            raise ConfigError("the core store's URL names an asyncio driver", hint=EXAMPLES, location=self.location)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", self._on_sqlite_connect)
            event.listen(engine, "begin", _begin_sqlite)
        elif engine.dialect.name == "postgresql":
            event.listen(engine, "begin", _limit_postgresql)
        else:
            prepare_sessions(engine)
        return engine

    def _on_sqlite_connect(self, connection: Any, _record: object) -> None:
        # sqlite3 would begin transactions at moments of its own choosing; ours are begun by _begin_sqlite.
        connection.isolation_level = None
        for pragma in self._pragmas:
            # A pragma may lose a race with another process that sets the same; a file may be read-only.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA {pragma}").close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError) as error:
            raise trouble(error, self.location) from error

    def before_fork(self) -> bool:
        """Wait, not for ever, for the transaction that runs, and close what is idle. Whether it has ended."""
        waiting = BUSY_SECONDS + FORK_SECONDS if self.dialect == "sqlite" else FORK_SECONDS
        ended = self._turn.acquire(timeout=waiting)
        self._engine.dispose()
        return ended

    def after_fork_in_parent(self, ended: bool) -> None:
        """Go on."""
        if ended:
            self._turn.release()

    def after_fork_in_child(self, ended: bool) -> None:
        """Go on, with connections and locks of its own if another thread was using those of the parent."""
        if ended:
            self._turn.release()
            return
        self._turn = threading.Lock()
        self._forked_in_use = self.dialect == "sqlite"
        self._engine = self._new_engine()

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._forked_in_use:
            # SQLite keeps the parent's locks in this process's memory, and would believe to hold them.
            raise CoreStoreError(
                "this process was forked in the middle of a SQLite transaction that did not end",
                hint="fork before other threads use the store, or start a new process",
                location=self.location,
            )
        with self._turn:
            yield


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _libpq_arguments(url: URL) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if url.get_driver_name() in _LIBPQ and "connect_timeout" not in url.query:
        arguments["connect_timeout"] = CONNECT_SECONDS
    if url.get_driver_name() == "psycopg":
        # A pooler may serve the next transaction by a server connection that has not prepared the statement.
        arguments["prepare_threshold"] = None
    return arguments


def _limit_postgresql(connection: Connection) -> None:
    """Limits for waiting where nobody has set any: a lock that is never released must not hold a task.

    They end with the transaction: behind a pooler the next one on this server connection is somebody else's.
    """
    limits = {"lock_timeout": f"{LOCK_SECONDS}s", "statement_timeout": f"{STATEMENT_SECONDS}s"}
    if connection.get_execution_options().get("isolation_level") == _SNAPSHOT:
        # A SELECT would begin the snapshot, too early for those who lock their tables first.
        for name, limit in limits.items():
            if _at_once(connection, f"SHOW {name}").scalar() == "0":
                _at_once(connection, f"SET LOCAL {name} = '{limit}'")
        return
    values = " ".join(f"WHEN '{name}' THEN '{limit}'" for name, limit in limits.items())
    names = ", ".join(f"'{name}'" for name in limits)
    query = (
        f"SELECT set_config(name, CASE name {values} END, true) FROM pg_settings "  # noqa: S608 (constants)
        f"WHERE name IN ({names}) AND setting = '0'"
    )
    _at_once(connection, query).close()


def _at_once(connection: Connection, statement: str) -> CursorResult[Any]:
    # A connection that streams would declare a cursor for it.
    options = {"stream_results": False, "yield_per": None}
    return connection.exec_driver_sql(statement, execution_options=options)


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
        url.get_dialect()
    except NoSuchModuleError:
        name = url.drivername
        raise ConfigError(f"the core store's URL names an unknown database, {name!r}", hint=EXAMPLES) from None
    except (SQLAlchemyError, ValueError):
        # The cause quotes the text, password included.
        raise ConfigError("the core store's URL is not one", hint=EXAMPLES) from None
    except ModuleNotFoundError:
        pass
    if url.get_backend_name() == "sqlite":
        return _sqlite_file(url)
    if "@" in f"{url.host}{url.database}":
        # What follows the first '@' would be taken for the host, and shown.
        raise ConfigError(f"the core store's URL holds more than one '@'; {_ENCODE}", hint=EXAMPLES)
    return url


def _sqlite_file(url: URL) -> URL:
    database = url.database or ":memory:"
    if ":memory:" in database or url.query.get("mode") == "memory":
        raise ConfigError(
            "the core store's URL names a SQLite database in memory, which every connection has to itself",
            hint=f"use memory:// for rows of this process alone; otherwise {EXAMPLES}",
        )
    # A later chdir must not turn a relative path into another database.
    return url if database.startswith("file:") else url.set(database=str(Path(database).absolute()))


def _location(url: URL) -> str:
    port = f":{url.port}" if url.port else ""
    slash = "/" if url.database else ""
    return f"{url.get_backend_name()}://{url.host or ''}{port}{slash}{url.database or ''}"


_forking = threading.local()
"""Whom this thread, and no other, made wait for its fork; a database made meanwhile is not among them."""


def _before_fork() -> None:
    _forking.databases = []
    for database in list(_open_databases):
        _forking.databases.append((database, database.before_fork()))


def _after_fork_in_parent() -> None:
    for database, ended in _forking.__dict__.pop("databases", ()):
        database.after_fork_in_parent(ended)


def _after_fork_in_child() -> None:
    for database, ended in _forking.__dict__.pop("databases", ()):
        database.after_fork_in_child(ended)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
