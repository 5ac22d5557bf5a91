"""Rows of Airflow's own metadata database, to be removed or replaced by plain SQL; no Airflow needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Integer, String, TableClause, Text, column, inspect, select, table

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestore import FoundRow, Row
from offload_backend.corestores.airflow_db import ASSET, ASSETS, RegionId
from offload_backend.corestores.engine import Database
from offload_backend.corestores.schema import UtcDateTime
from offload_backend.corestores.trouble import holds_no_such_text
from offload_backend.corestores.unchanged import (
    database_time,
    expired_of,
    page_of,
    remove_unchanged,
    replace_unchanged,
)
from offload_backend.errors import ConfigError, CoreStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnClause, Connection, Select
    from sqlalchemy.engine import RowMapping

__all__ = ["AirflowRows"]

TASK_TABLE = "task_state_store"
ASSET_PLACE = ("asset_id", "key")
ARCHIVES = "_airflow_deleted__"
"""Beginning of the tables in which ``airflow db clean`` keeps what it deleted (3.3.2, ``utils/db_cleanup.py``)."""


class AirflowRows:
    """``task_state_store`` and ``asset_state_store`` of Airflow 3.3 and 3.4, and what ``airflow db clean`` kept.

    Written to by nothing but :meth:`remove` and :meth:`replace`. An asset's row is at the asset's name, with
    its uri as alias. Raises :class:`~offload_backend.errors.ConfigError` for a database without these tables
    and :class:`~offload_backend.errors.CoreStoreError` when it refuses or fails.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    @property
    def location(self) -> str:
        """The database, without user and password."""
        return self._database.location

    def now(self) -> datetime:
        """The time by the database's clock."""
        return database_time(self._database)

    def expired(self, now: datetime, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """The next rows of tasks with ``expires_at`` before ``now``; those of assets never expire."""
        with self._database.reading() as connection:
            query = expired_of(self._tasks(connection), now, limit, after)
            return [_task(TASK_TABLE, found) for found in connection.execute(query).mappings()]

    def remove(self, rows: Sequence[FoundRow]) -> list[FoundRow]:
        """Remove the rows that are still as they were read; those removed."""
        tasks = [row for row in rows if row.place[0] == TASK_TABLE]
        assets = [row for row in rows if row.place[0] == ASSETS.name]
        with self._database.writing() as connection:
            removed = remove_unchanged(connection, self._tasks(connection), ["id"], tasks)
            removed += remove_unchanged(connection, ASSETS, list(ASSET_PLACE), assets)
        return removed

    def replace(self, changes: Sequence[tuple[FoundRow, str]]) -> list[FoundRow]:
        """Put another text into the rows that are still as they were read; those replaced, as they were.

        Nothing else of a row changes. Airflow 3.3 and 3.4 show ``updated_at`` to people, and go by it nowhere.
        """
        tasks = [change for change in changes if change[0].place[0] == TASK_TABLE]
        assets = [change for change in changes if change[0].place[0] == ASSETS.name]
        with self._database.writing() as connection:
            replaced = replace_unchanged(connection, self._tasks(connection), ["id"], tasks)
            replaced += replace_unchanged(connection, ASSETS, list(ASSET_PLACE), assets)
        return replaced

    def page(self, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """The next rows: tasks' by their ids, then assets' by asset and key."""
        found: list[FoundRow] = []
        of_assets = after is not None and after.place[0] == ASSETS.name
        with self._database.reading() as connection:
            if not of_assets:
                tasks = self._tasks(connection)
                query = page_of(select(tasks), [tasks.c.id], limit, after)
                found += [_task(TASK_TABLE, row) for row in connection.execute(query).mappings()]
            columns = [ASSETS.c[name] for name in ASSET_PLACE]
            query = page_of(_of_assets(ASSETS), columns, limit - len(found), after if of_assets else None)
            found += [_asset(ASSETS.name, row) for row in connection.execute(query).mappings()]
        return found

    def aliases(self, address: AssetAddress) -> list[AssetAddress]:
        """The uris of the assets of this name, or the names of those with this uri."""
        known_by = ASSET.c.uri if address.name is None else ASSET.c.name
        asked_for = address.uri if address.name is None else address.name
        query = select(known_by.label("known_by"), ASSET.c.name, ASSET.c.uri).where(known_by == asked_for)
        try:
            with self._database.reading() as connection:
                # MySQL's collation takes a name and the same with a blank behind it for equal.
                assets = [asset for asset in connection.execute(query) if asset.known_by == asked_for]
        except CoreStoreError as error:
            if holds_no_such_text(error):
                return []
            raise
        if address.name is None:
            return [AssetAddress(name=asset.name) for asset in assets]
        return [AssetAddress(uri=asset.uri) for asset in assets]

    def found(self) -> Iterator[FoundRow]:
        """Every row of both tables and of their archives, from one snapshot, read as it is consumed."""
        with self._database.snapshot() as connection:
            for found in connection.execute(select(self._tasks(connection))).mappings():
                yield _task(TASK_TABLE, found)
            for found in connection.execute(_of_assets(ASSETS)).mappings():
                yield _asset(ASSETS.name, found)
            for name in sorted(inspect(connection).get_table_names()):
                if name.startswith(f"{ARCHIVES}{TASK_TABLE}__"):
                    yield from self._archived_tasks(connection, name)
                elif name.startswith(f"{ARCHIVES}{ASSETS.name}__"):
                    for found in connection.execute(_of_assets(_asset_table(name))).mappings():
                        yield _asset(name, found, archived=True)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._database.close()

    def _archived_tasks(self, connection: Connection, name: str) -> Iterator[FoundRow]:
        archive = _task_table(name, _columns(connection, name))
        for found in connection.execute(select(archive)).mappings():
            yield _task(name, found, archived=True)

    def _tasks(self, connection: Connection) -> TableClause:
        tables = inspect(connection)
        missing = [name for name in (TASK_TABLE, ASSETS.name) if not tables.has_table(name)]
        if missing:
            raise ConfigError(
                f"the database has no table {missing[0]}: it is not Airflow's, or older than Airflow 3.3",
                hint="name the database of [database] sql_alchemy_conn, and run: airflow db migrate",
                location=self._database.location,
            )
        return _task_table(TASK_TABLE, _columns(connection, TASK_TABLE))


def _columns(connection: Connection, name: str) -> set[str]:
    return {found["name"] for found in inspect(connection).get_columns(name)}


def _task_table(name: str, columns: set[str]) -> TableClause:
    names = ("dag_id", "run_id", "task_id", "key")
    ids: list[ColumnClause[Any]] = [column("id", BigInteger), *(column(each, String) for each in names)]
    place: list[ColumnClause[Any]] = [column("map_index", Integer)]
    if "region_id" in columns:
        place = [column("region_index", Integer), column("region_id", RegionId())]
    times = [column(each, UtcDateTime) for each in ("updated_at", "expires_at")]
    return table(name, *ids, *place, column("value", Text), *times)


def _asset_table(name: str) -> TableClause:
    return table(name, *(column(each.name, each.type) for each in ASSETS.c))


def _of_assets(rows: TableClause) -> Select[Any]:
    # Rows whose asset is gone are kept in the list: what they name is in use, too.
    return select(rows, ASSET.c.name, ASSET.c.uri).outerjoin_from(rows, ASSET, ASSET.c.id == rows.c.asset_id)


def _task(table_name: str, found: RowMapping, *, archived: bool = False) -> FoundRow:
    index = found["region_index"] if "region_index" in found else found["map_index"]
    region = found.get("region_id")
    address = TaskAddress(found["dag_id"], found["run_id"], found["task_id"], index, region)
    row = Row(address, found["key"], found["value"], found["updated_at"], found["expires_at"])
    return FoundRow(row, (table_name, found["id"]), archived=archived)


def _asset(table_name: str, found: RowMapping, *, archived: bool = False) -> FoundRow:
    row = Row(AssetAddress(name=found["name"] or ""), found["key"], found["value"], found["updated_at"], None)
    aliases = (AssetAddress(uri=found["uri"]),) if found["uri"] else ()
    return FoundRow(row, (table_name, found["asset_id"], found["key"]), aliases, archived)
