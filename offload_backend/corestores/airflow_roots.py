"""Roots in Airflow's own metadata database, by plain SQL; Airflow need not be installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TableClause, column, inspect, table

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.rootdatabase import RootDatabase, RootTable
from offload_backend.corestores.visibility import tables_in_reach
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Root

__all__ = ["AirflowRoots"]

TASKS = "task_state_store"
ASSETS = "asset_state_store"
TASK_PLACE = ("dag_id", "run_id", "task_id", "map_index", "region_index", "region_id", "key")
ASSET_PLACE = ("asset_id", "key")


class AirflowRoots(RootDatabase):
    """The refs in ``task_state_store`` and ``asset_state_store`` of Airflow 3.3 and 3.4, and in copies of them.

    A copy is any table whose name holds one of these two names: ``airflow db clean`` moves rows to
    ``_airflow_deleted__task_state_store__<time>``, with the columns of the version that did so, and a
    migration or an administrator may have made others. Expired rows, rows of inactive assets and rows
    whose asset is gone are roots like any other. One user must be able to read all these tables.

    Raises :class:`~offload_backend.errors.ConfigError` where the tables are not, and
    :class:`~offload_backend.errors.CoreStoreError` when the database refuses, fails or may hide rows, or a
    row's value is not JSON: Airflow writes nothing else, so its refs are in a form that only its writer reads.
    """

    kind = "airflow"
    dialects = ("sqlite", "postgresql", "mysql")

    def tables(self, connection: Connection) -> Sequence[RootTable]:
        """The live tables first, then their copies."""
        found = tables_in_reach(connection)
        names = [name for _, name in found]
        missing = [name for name in (TASKS, ASSETS) if name not in names]
        if missing:
            raise ConfigError(
                f"the database has no table {missing[0]}: it is not Airflow's, or older than Airflow 3.3",
                hint="name the database of [database] sql_alchemy_conn, with ?options=-csearch_path%3D<schema> if "
                "sql_alchemy_schema is set, and run: airflow db migrate",
                location=self._database.location,
            )
        tasks = [pair for pair in found if TASKS in pair[1]]
        assets = [pair for pair in found if ASSETS in pair[1]]
        live_first = sorted(tasks + assets, key=lambda pair: (pair[1] not in (TASKS, ASSETS), pair[1] != TASKS))
        return [self._table(connection, *pair) for pair in live_first]

    def root(self, text: str, updated_at: datetime | None, holder: str) -> Root | None:
        """The root that a row is, if any; ``CoreStoreError`` if its value is not JSON."""
        root = super().root(text, updated_at, holder)
        if (root is None or root.ref is None) and not _is_json(text):
            raise CoreStoreError(
                f"the value of {holder} is not JSON, so the refs in it cannot be read",
                hint="a custom [state_store] backend keeps values in a form of its own; live refs cannot be read, "
                "so nothing is collected here: leave the blobs, or remove the row if nobody needs it",
                location=self._database.location,
            )
        return root

    def _table(self, connection: Connection, schema: str | None, name: str) -> RootTable:
        columns = [str(found["name"]) for found in inspect(connection).get_columns(name, schema=schema)]
        unknown = {"value", "updated_at"} - set(columns)
        if unknown:
            raise ConfigError(
                f"the table {name} has no column {min(unknown)}",
                hint="upgrade offload-backend, or rename a table of your own that is named like Airflow's",
                location=self._database.location,
            )
        rows = table(name, *map(column, columns), schema=schema)
        if TASKS in name:
            return RootTable(rows, *_named(rows, TASK_PLACE, _task))
        return _of_assets(connection, rows)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _of_assets(connection: Connection, rows: TableClause) -> RootTable:
    place, holder = _named(rows, ASSET_PLACE, _asset)
    if "asset_id" not in rows.c or (rows.schema, "asset") not in tables_in_reach(connection):
        return RootTable(rows, place, holder)
    asset = table("asset", column("id"), column("name"), schema=rows.schema)
    joined = rows.outerjoin(asset, asset.c.id == rows.c.asset_id)
    return RootTable(rows, [*place, asset.c.name.label("asset_name")], holder, joined)


def _named(
    rows: TableClause, place: Sequence[str], holder: Callable[[dict[str, Any]], str]
) -> tuple[list[Any], Callable[..., str]]:
    """The columns of ``place`` that the table has, and a holder's name from their values."""
    here = [name for name in place if name in rows.c]

    def name_of(*values: Any) -> str:
        extra = {"asset_name": values[-1]} if len(values) > len(here) else {}
        return holder(dict(zip(here, values, strict=False)) | extra)

    return [rows.c[name] for name in here], name_of


def _task(row: dict[str, Any]) -> str:
    dag, run, task = (str(row.get(name)) for name in ("dag_id", "run_id", "task_id"))
    index = row.get("region_index", row.get("map_index", -1))
    return f"{TaskAddress(dag, run, task, index, _region(row.get('region_id')))} key {row.get('key')!r}"


def _asset(row: dict[str, Any]) -> str:
    name = row.get("asset_name")
    asset = AssetAddress(name=name) if name is not None else f"asset number {row.get('asset_id')}"
    return f"{asset} key {row.get('key')!r}"


def _region(stored: Any) -> UUID | None:
    """PostgreSQL has it as a UUID, MySQL as 16 bytes, SQLite as 32 digits."""
    if isinstance(stored, UUID):
        return stored
    try:
        return UUID(bytes=stored) if isinstance(stored, bytes) else UUID(str(stored))
    except ValueError:
        return None
