"""Rows that are removed or replaced only as long as they are as they were read; for the SQL core stores."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, delete, func, null, or_, select, update

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, FromClause, Select, TableClause

    from offload_backend.corestore import FoundRow
    from offload_backend.corestores.engine import Database

__all__ = ["database_time", "expired_of", "page_of", "remove_unchanged", "replace_unchanged"]

ROWS_PER_STATEMENT = 200


def database_time(database: Database) -> datetime:
    """The time by the database's clock; SQLite has none but this machine's."""
    if database.dialect == "sqlite":
        return datetime.now(timezone.utc)
    # MySQL's CURRENT_TIMESTAMP would be in the session's time zone, and not say in which.
    time = func.utc_timestamp(6) if database.dialect in ("mysql", "mariadb") else func.clock_timestamp()
    with database.reading() as connection:
        moment: datetime = connection.execute(select(time)).scalar_one()
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def expired_of(table: FromClause, now: datetime, limit: int, after: FoundRow | None) -> Select[Any]:
    """The rows of ``table``, which has an ``id``, that expired before ``now``; the oldest first."""
    expires_at, row_id = table.c.expires_at, table.c.id
    query = select(table).where(expires_at < now).order_by(expires_at, row_id).limit(limit)
    if after is None:
        return query
    # Not a comparison of pairs: the first condition lets an index on expires_at find where to go on.
    last, last_id = after.row.expires_at, after.place[1]
    behind = or_(expires_at > last, and_(expires_at == last, row_id > last_id))
    return query.where(expires_at >= last, behind)


def page_of(
    query: Select[Any], columns: Sequence[ColumnElement[Any]], limit: int, after: FoundRow | None
) -> Select[Any]:
    """The next rows of ``query`` in the order of ``columns``, which are those of their places."""
    page = query.order_by(*columns).limit(limit)
    if after is None:
        return page
    # Not a comparison of tuples: the first condition lets an index on the columns find where to go on.
    last = list(zip(columns, after.place[1:], strict=True))
    tied = [[column == value for column, value in last[:depth]] for depth in range(len(last))]
    behind = [and_(*ties, column > value) for ties, (column, value) in zip(tied, last, strict=True)]
    return page.where(columns[0] >= after.place[1], or_(*behind))


def remove_unchanged(
    connection: Connection, table: TableClause, identity: Sequence[str], rows: Iterable[FoundRow]
) -> list[FoundRow]:
    """Remove those of ``rows`` that are as they were read; ``identity`` names the columns of their places."""
    columns = [table.c[name] for name in identity]
    left = iter(rows)
    removed: list[FoundRow] = []
    while some := list(islice(left, ROWS_PER_STATEMENT)):
        unchanged = _locked_unchanged(connection, table, columns, some)
        if unchanged:
            connection.execute(delete(table).where(_is_one_of(columns, unchanged)))
        removed += unchanged
    return removed


def replace_unchanged(
    connection: Connection, table: TableClause, identity: Sequence[str], changes: Iterable[tuple[FoundRow, str]]
) -> list[FoundRow]:
    """Put the text beside it into each row that is as it was read; those replaced, as they were."""
    columns = [table.c[name] for name in identity]
    here = and_(*(column == bindparam(f"at_{column.name}") for column in columns))
    change = update(table).where(here).values(value=bindparam("text"))
    left = iter(changes)
    replaced: list[FoundRow] = []
    while some := list(islice(left, ROWS_PER_STATEMENT)):
        unchanged = _locked_unchanged(connection, table, columns, [row for row, _ in some])
        texts = {row.place: text for row, text in some}
        names = [f"at_{name}" for name in identity]
        values = [{"text": texts[row.place], **dict(zip(names, row.place[1:], strict=True))} for row in unchanged]
        if values:
            connection.execute(change, values)
        replaced += unchanged
    return replaced


def _locked_unchanged(
    connection: Connection, table: TableClause, columns: Sequence[ColumnElement[Any]], rows: list[FoundRow]
) -> list[FoundRow]:
    expires_at = table.c.get("expires_at", null().label("expires_at"))
    # In one order and without waiting, so that no two processes can wait for each other.
    query = (
        select(*columns, table.c.value.label("value"), table.c.updated_at.label("updated_at"), expires_at)
        .where(_is_one_of(columns, rows))
        .order_by(*columns)
        .with_for_update(skip_locked=True)
    )
    there = {tuple(found[: len(columns)]): found for found in connection.execute(query)}
    return [row for row in rows if _is_unchanged(row, there.get(row.place[1:]))]


def _is_unchanged(row: FoundRow, found: Any | None) -> bool:
    # A set by Airflow's common-io backend writes the same text anew, over another value.
    was = (row.row.text, row.row.expires_at, row.row.updated_at)
    return found is not None and (found.value, found.expires_at, found.updated_at) == was


def _is_one_of(columns: Sequence[ColumnElement[Any]], rows: list[FoundRow]) -> ColumnElement[bool]:
    if len(columns) == 1:
        return columns[0].in_([row.place[1] for row in rows])
    places = (zip(columns, row.place[1:], strict=True) for row in rows)
    return or_(*(and_(*(column == value for column, value in place)) for place in places))
