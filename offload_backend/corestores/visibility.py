"""Whether a connection sees every row of a table, now and until its snapshot has been read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text

from offload_backend.errors import CoreStoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["pin", "refuse_hidden_rows", "show_all", "tables_in_reach"]

_ACTIVE = text("SELECT row_security_active(CAST(:name AS regclass))")
_GRANTS = text("SHOW GRANTS")
_SEARCH_PATH = text("SELECT unnest(current_schemas(false))")


def tables_in_reach(connection: Connection) -> list[tuple[str | None, str]]:
    """Schema and name of every table that needs no schema to be named, in the order in which they are found.

    Tables only: a view could leave rows out.
    """
    found = inspect(connection)
    postgresql = connection.dialect.name == "postgresql"
    schemas = connection.scalars(_SEARCH_PATH).all() if postgresql else [None]
    return [(schema, name) for schema in schemas for name in sorted(found.get_table_names(schema=schema))]


def pin(connection: Connection, tables: Sequence[TableClause]) -> None:
    """Begin the snapshot with these tables in it; nobody can rewrite or drop one until the transaction ends.

    PostgreSQL shows a table that was rewritten since the snapshot began as empty, so the locks come first.
    MySQL lists tables as they are now and not as of the snapshot, so the snapshot comes before the list.
    """
    names = [_quoted(connection, table) for table in tables]
    if connection.dialect.name == "postgresql":
        # Only the collector reads this much; the limit was made for one row.
        _command(connection, "SET LOCAL statement_timeout = 0")
        _command(connection, f"LOCK TABLE {', '.join(names)} IN ACCESS SHARE MODE")
        return
    for name in names:
        connection.execute(text(f"SELECT 1 FROM {name} LIMIT 1")).all()  # noqa: S608 (the names are quoted)


def show_all(connection: Connection) -> None:
    """Make PostgreSQL refuse to read what row-level security would shorten, until the transaction ends."""
    if connection.dialect.name == "postgresql":
        _command(connection, "SET LOCAL row_security = off")


def refuse_hidden_rows(connection: Connection, tables: Sequence[TableClause], location: str) -> None:
    """Raise :class:`CoreStoreError` if the database may keep rows, or tables, from this user without saying so."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        for table in tables:
            if connection.scalar(_ACTIVE, {"name": _quoted(connection, table)}):
                raise CoreStoreError(
                    f"row-level security may hide rows of {table.name} from this user",
                    hint="connect as the owner of the tables, or as a role with BYPASSRLS",
                    location=location,
                )
    elif dialect != "sqlite" and not _sees_whole_database(connection):
        raise CoreStoreError(
            "this user may not read the whole database, and would not be shown the tables it may not read",
            hint="grant the user SELECT on the database itself: GRANT SELECT ON airflow.* TO …",
            location=location,
        )


def _command(connection: Connection, statement: str) -> None:
    # A connection that streams would declare a cursor for it.
    connection.execute(text(statement), execution_options={"stream_results": False, "yield_per": None})


def _sees_whole_database(connection: Connection) -> bool:
    database = connection.scalar(text("SELECT DATABASE()"))
    return _cover([str(row[0]) for row in connection.execute(_GRANTS)], str(database))


def _cover(grants: Sequence[str], database: str) -> bool:
    """Whether the lines of ``SHOW GRANTS`` let every table of the database be read, without exception."""
    revoked = any(grant.startswith("REVOKE") for grant in grants)
    return not revoked and any(_covers(grant, database) for grant in grants)


def _covers(grant: str, database: str) -> bool:
    match = re.match(r"GRANT (.+?) ON (?:(\*)|`((?:[^`]|``)+)`)\.\* TO ", grant)
    if match is None or not {"SELECT", "ALL PRIVILEGES"} & set(match[1].split(", ")):
        return False
    return bool(match[2]) or match[3].replace("``", "`").replace("\\_", "_").replace("\\%", "%") == database


def _quoted(connection: Connection, table: Any) -> str:
    return connection.dialect.identifier_preparer.format_table(table)
