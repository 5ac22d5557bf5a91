"""Airflow's metadata database, as an operator with a shell sees it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import NullPool, create_engine, event, inspect, text

from tests.airflow.rows import AssetRow, Rows, TaskRow


class Database:
    """SQLite, PostgreSQL or MySQL; every statement has a connection of its own."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _as_airflow_connects)

    def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Any statement, committed."""
        with self._engine.begin() as connection:
            found = connection.execute(text(statement), parameters)
            return [tuple(row) for row in found] if found.returns_rows else []

    def tables(self) -> list[str]:
        """Names of all tables, those left by ``airflow db clean`` among them."""
        return inspect(self._engine).get_table_names()

    @property
    def has_regions(self) -> bool:
        """Whether state has Airflow 3.4's second coordinate."""
        columns = inspect(self._engine).get_columns("task_state_store")
        return "region_id" in {column["name"] for column in columns}

    def rows(self) -> Rows:
        """All state rows."""
        index, region = ("region_index", "region_id") if self.has_regions else ("map_index", "''")
        tasks = self.sql(
            f"SELECT s.dag_id, s.run_id, s.task_id, {index}, {region}, s.key, s.value, s.expires_at "
            "FROM task_state_store s ORDER BY s.id"
        )
        assets = self.sql(
            "SELECT a.id, a.name, a.uri, s.key, s.value, s.last_updated_by_kind "
            "FROM asset_state_store s JOIN asset a ON a.id = s.asset_id ORDER BY a.id, s.key"
        )
        return Rows(tuple(TaskRow(*row) for row in tasks), tuple(AssetRow(*row) for row in assets))


def _as_airflow_connects(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
