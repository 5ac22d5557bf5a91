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
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from offload_backend.errors import ConfigError, CoreStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["EXAMPLES", "Database"]

EXAMPLES = "use sqlite:////var/lib/offload/state.db, or postgresql://user:password@host/database"
BUSY_SECONDS = 30
ROWS_PER_FETCH = 1000
READ_ONLY: dict[str, Any] = {"postgresql_readonly": True}
_LASTING_TROUBLE = ("authentication", "does not exist", "pg_hba", "unable to open", "readonly", "no such")
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """Transactions on one database.

    ``url`` is checked and its driver imported at once; nothing connects before the first transaction.
    The threads of a process take turns, so that a fork can wait until no transaction runs and close
    every idle connection first: SQLite's locks and PostgreSQL's sockets must not be inherited.
    A :meth:`snapshot` takes no turn; do not fork while one is being read.
    """

    def __init__(self, url: str, *, pragmas: Sequence[str] = ()) -> None:
        self._url = _parse(url)
        self.location = _location(self._url)
        self._pragmas = pragmas
        self._engine = self._new_engine()
        self._turn = threading.Lock()
        _open_databases.add(self)

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql`` or another of SQLAlchemy's names."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A short transaction that only reads."""
        engine = self._engine.execution_options(**READ_ONLY)
        with self._turn, self._explained(), engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A short transaction, committed on exit, rolled back by an exception."""
        engine = self._engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with self._turn, self._explained(), engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that sees one state of the whole database however long it is read, row by row."""
        options = {**READ_ONLY, "stream_results": True, "yield_per": ROWS_PER_FETCH}
        if self.dialect != "sqlite":
            options["isolation_level"] = "REPEATABLE READ"
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
            raise self._core_store_error(error) from error

    def _core_store_error(self, error: SQLAlchemyError) -> CoreStoreError:
        cause = error.orig if isinstance(error, DBAPIError) else error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        passing = isinstance(error, (OperationalError, PoolTimeoutError))
        retryable = passing and not any(trouble in str(cause) for trouble in _LASTING_TROUBLE)
        hint = "try again" if retryable else f"check [offload_backend] core_store; {EXAMPLES}"
        return CoreStoreError(
            f"the core store failed: {lines[0]}", retryable=retryable, hint=hint, location=self.location
        )

    def before_fork(self) -> None:
        """Wait for the transaction that runs, if any, and close what is idle."""
        self._turn.acquire()
        self._engine.dispose()

    def after_fork(self) -> None:
        """Go on, in the parent and in the child."""
        self._turn.release()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


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
    return _sqlite_file(url) if url.get_backend_name() == "sqlite" else url


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


def _each(call: Callable[[Database], None]) -> Callable[[], None]:
    def run() -> None:
        for database in list(_open_databases):
            call(database)

    return run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(Database.before_fork),
        after_in_parent=_each(Database.after_fork),
        after_in_child=_each(Database.after_fork),
    )
