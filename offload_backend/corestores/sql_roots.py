"""Roots of the embedded core store: SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, MetaData

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.rootdatabase import RootDatabase, RootTable
from offload_backend.corestores.schema import ASSETS, TASKS
from offload_backend.corestores.visibility import tables_in_reach
from offload_backend.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["SqlRoots"]


class SqlRoots(RootDatabase):
    """The refs in ``offload_task_state`` and ``offload_asset_state``, expired or not.

    Rows of all deployments are roots; the ledger is that of ``deployment``. Raises
    :class:`~offload_backend.errors.ConfigError` where the tables are not, and
    :class:`~offload_backend.errors.CoreStoreError` when the database refuses, fails or may hide rows.
    """

    kind = "sql"
    dialects = ("sqlite", "postgresql")

    def tables(self, connection: Connection) -> Sequence[RootTable]:
        """The two tables of :class:`~offload_backend.corestores.sql.SqlCoreStore`."""
        schemas = {name: schema for schema, name in reversed(tables_in_reach(connection))}
        missing = [table.name for table in (TASKS, ASSETS) if table.name not in schemas]
        if missing:
            raise ConfigError(
                f"the database has no table {missing[0]}: it is no core store of ours, or never was used",
                hint="name the database of [offload_backend] core_store; for Airflow's own, airflow+postgresql://…",
                location=self._database.location,
            )
        return [
            _root_table(TASKS, schemas, ("dag_id", "run_id", "task_id", "map_index", "region_id"), _task),
            _root_table(ASSETS, schemas, ("name", "uri"), _asset),
        ]


def _root_table(
    table: Table, schemas: dict[str, str | None], place: Sequence[str], holder: Callable[..., str]
) -> RootTable:
    schema = schemas[table.name]
    rows = table if schema is None else table.to_metadata(MetaData(), schema=schema)
    return RootTable(rows, [rows.c[name] for name in ("key", *place)], holder)


def _task(key: str, *place: Any) -> str:
    dag_id, run_id, task_id, map_index, region_id = place
    return f"{TaskAddress(dag_id, run_id, task_id, map_index, UUID(region_id))} key {key!r}"


def _asset(key: str, name: str | None, uri: str | None) -> str:
    return f"{AssetAddress(name, uri)} key {key!r}"
