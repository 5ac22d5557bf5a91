"""Core store in a SQL database: SQLite, the embedded default, or PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Table, delete, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from offload_backend.corestore import FoundRow, Row
from offload_backend.corestores.engine import EXAMPLES, Database
from offload_backend.corestores.schema import (
    ASSETS,
    METADATA,
    TASKS,
    columns_of,
    owner_digest,
    row_digest,
    row_from,
    table_of,
)
from offload_backend.corestores.unchanged import (
    database_time,
    expired_of,
    page_of,
    remove_unchanged,
    replace_unchanged,
)
from offload_backend.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import RowMapping

    from offload_backend.address import AssetAddress, StateAddress

__all__ = ["SqlCoreStore"]

PRAGMAS = (
    "journal_mode=WAL",  # readers and a writer do not wait for each other
    "synchronous=FULL",  # a commit proves a blob dead, so it must outlive a power cut
)
CREATION_LOCK = 0x0FF10AD  # pg_advisory_xact_lock: CREATE TABLE IF NOT EXISTS is not safe against itself
IDS_PER_STATEMENT = 500


class SqlCoreStore:
    """Rows in ``offload_task_state`` and ``offload_asset_state``, created on first use.

    Any number of processes and threads may write one database. Ids and keys are any Python strings.
    Raises :class:`~offload_backend.errors.ConfigError` for a URL that cannot be used and
    :class:`~offload_backend.errors.CoreStoreError` when the database refuses or fails. A SQLite file
    belongs on a local disk: its locks do not work on most network file systems.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, pragmas=PRAGMAS)
        self._ready = False
        if self._database.dialect not in _INSERT:
            raise ConfigError(f"the core store cannot be {self._database.dialect}", hint=EXAMPLES)

    def get(self, address: StateAddress, key: str) -> Row | None:
        """The row as last committed, or ``None``."""
        self._create_tables()
        table = table_of(address)
        with self._database.reading() as connection:
            found = connection.execute(select(table).where(table.c.id == row_digest(address, key)))
            columns = found.mappings().one_or_none()
        return row_from(columns) if columns else None

    def rows(self, address: StateAddress | None = None) -> Iterator[Row]:
        """Every row of ``address``, or of both tables, from one snapshot, read as it is consumed."""
        self._create_tables()
        if address is None:
            queries = [select(TASKS), select(ASSETS)]
        else:
            table = table_of(address)
            queries = [select(table).where(_is_of(table, address))]
        return self._stream(queries)

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None) -> str | None:
        """Insert or replace the row; the text it replaced, or ``None``."""
        self._create_tables()
        written = {"value": text, "updated_at": datetime.now(timezone.utc), "expires_at": expires_at}
        with self._database.writing() as connection:
            return self._replace(connection, address, key, written)

    def delete(self, address: StateAddress, key: str) -> str | None:
        """Remove the row; its text, or ``None``."""
        table = table_of(address)
        removed = self._remove(table, table.c.id == row_digest(address, key))
        return removed[0] if removed else None

    def clear(self, address: StateAddress, *, all_map_indices: bool = False) -> list[str]:
        """Remove the rows of ``address``, or of its whole task; their texts."""
        table = table_of(address)
        whole_task = table.c.owner == owner_digest(address)
        return self._remove(table, whole_task if all_map_indices else _is_of(table, address))

    @property
    def location(self) -> str:
        """The database, without user and password."""
        return self._database.location

    def now(self) -> datetime:
        """The time by the database's clock."""
        return database_time(self._database)

    def expired(self, now: datetime, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """The next rows with ``expires_at`` before ``now``: tasks' first, then assets'."""
        self._require_tables()
        done = after.place[0] if after else TASKS.name
        tables = [TASKS, ASSETS] if done == TASKS.name else [ASSETS]
        expired: list[FoundRow] = []
        with self._database.reading() as connection:
            for table in tables:
                begin = after if after and table.name == done else None
                query = expired_of(table, now, limit - len(expired), begin)
                expired += [_found(table, columns) for columns in connection.execute(query).mappings()]
        return expired

    def remove(self, rows: Sequence[FoundRow]) -> list[FoundRow]:
        """Remove the rows that are still as they were read; those removed."""
        removed: list[FoundRow] = []
        with self._database.writing() as connection:
            for table in (TASKS, ASSETS):
                of_table = [row for row in rows if row.place[0] == table.name]
                removed += remove_unchanged(connection, table, ["id"], of_table)
        return removed

    def replace(self, changes: Sequence[tuple[FoundRow, str]]) -> list[FoundRow]:
        """Put another text into the rows that are still as they were read; those replaced, as they were."""
        replaced: list[FoundRow] = []
        with self._database.writing() as connection:
            for table in (TASKS, ASSETS):
                of_table = [change for change in changes if change[0].place[0] == table.name]
                replaced += replace_unchanged(connection, table, ["id"], of_table)
        return replaced

    def page(self, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """The next rows by their ids: tasks' first, then assets'."""
        self._require_tables()
        done = after.place[0] if after else TASKS.name
        found: list[FoundRow] = []
        with self._database.reading() as connection:
            for table in [TASKS, ASSETS] if done == TASKS.name else [ASSETS]:
                begin = after if after and table.name == done else None
                query = page_of(select(table), [table.c.id], limit - len(found), begin)
                found += [_found(table, columns) for columns in connection.execute(query).mappings()]
        return found

    def aliases(self, address: AssetAddress) -> list[AssetAddress]:  # noqa: ARG002 (here an asset has one address)
        """None: an asset's rows are at the one address that they were set with."""
        return []

    def found(self) -> Iterator[FoundRow]:
        """Every row, from one snapshot, read as it is consumed."""
        self._require_tables()
        with self._database.snapshot() as connection:
            for table in (TASKS, ASSETS):
                for columns in connection.execute(select(table)).mappings():
                    yield _found(table, columns)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._database.close()

    def _replace(
        self, connection: Connection, address: StateAddress, key: str, written: dict[str, Any]
    ) -> str | None:
        table, row_id = table_of(address), row_digest(address, key)
        row = {"id": row_id, "owner": owner_digest(address), **columns_of(address), "key": key, **written}
        here = table.c.id == row_id
        insert = _INSERT[self._database.dialect](table).values(row).on_conflict_do_nothing()
        while True:
            replaced = connection.scalar(select(table.c.value).where(here).with_for_update())
            if replaced is not None:
                connection.execute(update(table).where(here).values(written))
                return str(replaced)
            # Another writer may insert the row, or a third one remove it, between these statements.
            if connection.execute(insert, execution_options={"preserve_rowcount": True}).rowcount == 1:
                return None

    def _remove(self, table: Table, condition: ColumnElement[bool]) -> list[str]:
        self._create_tables()
        query = select(table.c.id, table.c.value).where(condition).order_by(table.c.id).with_for_update()
        with self._database.writing() as connection:
            doomed = connection.execute(query).all()
            ids = iter([row.id for row in doomed])
            while some := list(islice(ids, IDS_PER_STATEMENT)):
                connection.execute(delete(table).where(table.c.id.in_(some)))
        return [row.value for row in doomed]

    def _stream(self, queries: Sequence[Any]) -> Iterator[Row]:
        with self._database.snapshot() as connection:
            for query in queries:
                for columns in connection.execute(query).mappings():
                    yield row_from(columns)

    def _has_tables(self) -> bool:
        if not self._ready:
            with self._database.reading() as connection:
                tables = inspect(connection)
                self._ready = tables.has_table(TASKS.name) and tables.has_table(ASSETS.name)
        return self._ready

    def _require_tables(self) -> None:
        if not self._has_tables():
            raise ConfigError(
                f"the database has no table {TASKS.name}: connect() never kept a row there",
                hint="name the core store with --core-store; Airflow's own database is airflow+postgresql://…",
                location=self._database.location,
            )

    def _create_tables(self) -> None:
        if not self._has_tables():
            with self._database.writing() as connection:
                if self._database.dialect == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CREATION_LOCK})
                METADATA.create_all(connection)
            self._ready = True


_INSERT: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def _found(table: Table, columns: RowMapping) -> FoundRow:
    return FoundRow(row_from(columns), (table.name, columns["id"]))


def _is_of(table: Table, address: StateAddress) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = table.c.owner == owner_digest(address)
    if table is TASKS:
        place = columns_of(address)
        condition &= table.c.map_index == place["map_index"]
        condition &= table.c.region_id == place["region_id"]
    return condition
