"""What the root sources over SQL have in common: one snapshot, all of it, or an error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote, urlsplit

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    TableClause,
    and_,
    func,
    not_,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.engine import make_url
from sqlalchemy.types import NullType

from offload_backend.corestores import origins, visibility
from offload_backend.corestores.engine import EXAMPLES, Database
from offload_backend.corestores.ledger import TABLE, LedgerTable
from offload_backend.corestores.unchanged import database_time
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Hidden, Ledger, Origin, Root, root_of

if TYPE_CHECKING:
    from offload_backend.address import StateAddress

__all__ = ["RootDatabase", "RootTable"]

FORMS_OF_JSON = '{["'
"""What a JSON text begins with, unless it is as short as numbers and constants are."""
SHORT_FORMS_OF_JSON = "-0123456789tfnNI"
SHORT = 32
DASHES = "%________-____-____-____-____________%"
"""Every text that holds a UUID matches: ids are ASCII, which no JSON writer escapes, and no case matters."""


@dataclass(frozen=True)
class RootTable:
    """A table of rows and how to read it.

    ``place`` is what ``holder`` takes to name a row for people. ``source`` is where it comes from: the
    rows, and what is joined to them without dropping one.
    """

    rows: TableClause
    place: Sequence[ColumnElement[Any]]
    holder: Callable[..., str]
    source: FromClause | None = None

    @property
    def name(self) -> tuple[str | None, str]:
        """Schema and name."""
        return self.rows.schema, self.rows.name

    def query(self, dialect: str) -> Select[Any]:
        """The rows that may hold an id, or are in no form that can be judged: value, time, place."""
        value, updated_at = (type_coerce(self.rows.c[name], NullType()) for name in ("value", "updated_at"))
        source = self.rows if self.source is None else self.source
        chosen = select(value, updated_at, *self.place).select_from(source)
        stored = self.rows.c.value
        return chosen.where(or_(_may_hold_an_id(stored, dialect), _is_unlike_json(stored, dialect)))


class RootDatabase(ABC):
    """A :class:`~offload_backend.rootsource.RootSource` over tables that :meth:`tables` finds.

    Nothing connects before the first call. Only :meth:`record` writes, to a table of the collector's own.
    """

    kind: ClassVar[str]
    dialects: ClassVar[tuple[str, ...]]

    def __init__(self, url: str, deployment: str) -> None:
        self._database = Database(url, pragmas=("synchronous=FULL",))
        if self._database.dialect not in self.dialects:
            raise ConfigError(f"no roots are kept in {self._database.dialect}", hint=EXAMPLES)
        self._file = _file_of(url) if self._database.dialect == "sqlite" else None
        self._deployment = deployment

    @abstractmethod
    def tables(self, connection: Connection) -> Sequence[RootTable]:
        """All tables that hold rows, one with live rows first; ``ConfigError`` if it is another database."""

    def root(self, text: str, updated_at: datetime | None, holder: str) -> Root | None:
        """The root that a row is, if any; ``CoreStoreError`` if that cannot be told."""
        return root_of(text, updated_at, holder)

    def origin(self) -> Origin:
        """The database as it is now."""
        with self._reading() as (connection, tables):
            fingerprint = origins.fingerprint(connection, tables[0].name[0])
        replica = origins.is_replica(self._database, tables[0].rows)
        return Origin(self.kind, fingerprint, self._database.location, replica)

    def ledger(self) -> Ledger | None:
        """What :meth:`record` wrote last for this deployment, or ``None``."""
        with self._reading() as (connection, tables):
            visibility.show_all(connection)
            found = self._ledger(tables).read(connection)
        return found[0] if found else None

    def record(self, ledger: Ledger) -> None:
        """Write the ledger, committed when this returns; ``CoreStoreError`` for a sequence below the last."""
        with self._reading() as (_, tables):
            table = self._ledger(tables)
        try:
            with self._database.writing() as connection:
                table.write(connection, ledger)
        except CoreStoreError as error:
            error.location = self._database.location
            if "denied" in str(error):
                error.hint = (
                    f"grant SELECT, INSERT and UPDATE on {TABLE}, and CREATE on the schema while it is missing"
                )
            raise

    def now(self) -> datetime:
        """The time by the database's clock."""
        return database_time(self._database)

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:  # noqa: ARG002 (the port's)
        """Every root of every table and the canary, from one snapshot; as many as the database counts in it."""
        with self._reading() as (_, tables):
            expected = [table.name for table in tables]
        with self._database.snapshot() as connection:
            visibility.pin(connection, [table.rows for table in tables])
            visibility.show_all(connection)
            found = self.tables(connection)
            if [table.name for table in found] != expected:
                raise self._error("the database's tables changed while they were looked up", retryable=True)
            yield from self._canary(connection, found)
            for table in found:
                yield from self._roots_in(connection, table)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[tuple[Connection, Sequence[RootTable]]]:
        if self._file is not None and not self._file.is_file():
            # SQLite would make an empty one.
            raise ConfigError("there is no such database file", hint=EXAMPLES, location=str(self._file))
        with self._database.reading() as connection:
            tables = self.tables(connection)
            visibility.refuse_hidden_rows(connection, [table.rows for table in tables], self._database.location)
            yield connection, tables

    def _ledger(self, tables: Sequence[RootTable]) -> LedgerTable:
        return LedgerTable(self._deployment, tables[0].name[0])

    def _canary(self, connection: Connection, tables: Sequence[RootTable]) -> Iterator[Root]:
        recorded = self._ledger(tables).read(connection)
        if recorded is not None:
            ledger, at = recorded
            root = root_of(ledger.canary, at, f"{TABLE}: deployment {self._deployment}")
            if root is None:
                raise self._error("the ledger's canary holds no blob's id", retryable=False)
            yield Root(root.ids, ledger.canary, at, root.holder)

    def _roots_in(self, connection: Connection, table: RootTable) -> Iterator[Root]:
        query = table.query(connection.dialect.name)
        expected = connection.scalar(select(func.count()).select_from(query.subquery()))
        seen = 0
        for value, updated_at, *place in connection.execute(query):
            seen += 1
            root = self.root(_as_text(value), _utc(updated_at), f"{table.rows.name}: {table.holder(*place)}")
            if root is not None:
                yield root
        if seen != expected:
            raise self._error(f"{table.rows.name} gave {seen} rows of {expected}", retryable=True)

    def _error(self, message: str, *, retryable: bool) -> CoreStoreError:
        hint = "run the command again" if retryable else "run: offload gc adopt"
        return CoreStoreError(message, retryable=retryable, hint=hint, location=self._database.location)


def _may_hold_an_id(value: ColumnElement[Any], dialect: str) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return value.collate("C").like(DASHES)
    if dialect == "sqlite":
        # Its LIKE sees neither what is behind a NUL nor, depending on how it was built, a blob.
        return or_(value.like(DASHES), func.typeof(value) != "text", func.instr(value, func.char(0)) > 0)
    return value.like(DASHES)


def _is_unlike_json(value: ColumnElement[Any], dialect: str) -> ColumnElement[bool]:
    """Whether the text has to be read to know that it is JSON. By numbers: a collation could equate letters."""
    code = func.coalesce(func.unicode(value) if dialect == "sqlite" else func.ascii(value), 0)
    short = and_(code.in_([ord(each) for each in SHORT_FORMS_OF_JSON]), func.length(value) <= SHORT)
    return and_(value.is_not(None), not_(or_(code.in_([ord(each) for each in FORMS_OF_JSON]), short)))


def _as_text(value: object) -> str:
    if value is None:
        return "null"
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _utc(value: object) -> datetime | None:
    """SQLite has text for a date, and in a copy of a table whatever was copied."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def _file_of(url: str) -> Path:
    database = make_url(url).database or ""
    return Path(unquote(urlsplit(database).path) if database.startswith("file:") else database).absolute()
