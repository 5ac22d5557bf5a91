"""Rows of Airflow's own metadata database, read-only, by plain SQL; Airflow need not be installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Connection,
    Dialect,
    Integer,
    Select,
    String,
    TableClause,
    Text,
    Uuid,
    and_,
    case,
    column,
    false,
    inspect,
    select,
    table,
    true,
)
from sqlalchemy.dialects.mysql import BINARY
from sqlalchemy.types import TypeDecorator, TypeEngine

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.corestore import Row
from offload_backend.corestores.engine import Database
from offload_backend.corestores.schema import UtcDateTime
from offload_backend.corestores.trouble import holds_no_such_text
from offload_backend.errors import ConfigError, CoreStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import RowMapping

__all__ = ["AirflowDatabase"]

NO_REGION = UUID(int=0)


class RegionId(TypeDecorator[UUID]):
    """A region as Airflow 3.4 stores it: 16 bytes in MySQL, SQLAlchemy's ``Uuid`` elsewhere."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type in ``dialect``."""
        return dialect.type_descriptor(BINARY(16) if dialect.name == "mysql" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """``value`` as the driver takes it."""
        return value.bytes if value is not None and dialect.name == "mysql" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """``value`` from what the driver gave."""
        return UUID(bytes=bytes(value)) if value is not None and dialect.name == "mysql" else value


def _task_table(*place: Any) -> TableClause:
    ids = [column(name, String) for name in ("dag_id", "run_id", "task_id", "key")]
    times = [column(name, UtcDateTime) for name in ("updated_at", "expires_at")]
    return table("task_state_store", *ids, *place, column("value", Text), *times)


TASKS_3_3 = _task_table(column("map_index", Integer))
TASKS_3_4 = _task_table(column("region_index", Integer), column("region_id", RegionId))
ASSETS = table(
    "asset_state_store",
    column("asset_id", BigInteger),
    column("key", String),
    column("value", Text),
    column("updated_at", UtcDateTime),
)
ASSET = table("asset", column("id", BigInteger), column("name", String), column("uri", String))
ACTIVE = table("asset_active", column("name", String), column("uri", String))


class AirflowDatabase:
    """``task_state_store`` and ``asset_state_store`` of Airflow 3.3 and 3.4, whichever the database has.

    Nothing is ever written. A task's row is at its index and, in 3.4, its region. An asset's row is at
    the asset's name; asked for an asset by uri, the rows are at that uri. Assets that no Dag declares
    any more are included. Raises :class:`~offload_backend.errors.ConfigError` for a database without
    these tables and :class:`~offload_backend.errors.CoreStoreError` when it refuses or fails.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url, pragmas=("query_only=ON",))

    def get(self, address: StateAddress, key: str) -> Row | None:
        """The row as last committed, or ``None``.

        Airflow may remember several assets of one name or uri: the active one is preferred, then the
        latest row. :meth:`rows` has them all.
        """
        try:
            with self._database.reading() as connection:
                query = self._of(connection, address)
                keyed = query.where(query.selected_columns.key == key)
                found = connection.execute(_preferred(keyed, address)).mappings().all()
        except CoreStoreError as error:
            if holds_no_such_text(error):
                return None
            raise
        return next((_row(row, address) for row in found if row["key"] == key and _is_of(row, address)), None)

    def rows(self, address: StateAddress | None = None) -> Iterator[Row]:
        """Every row of ``address``, or of both tables, from one snapshot, read as it is consumed."""
        with self._database.snapshot() as connection:
            if address is None:
                queries = [select(self._tasks(connection)), _all_assets()]
            else:
                queries = [self._of(connection, address)]
            for query in queries:
                for found in connection.execute(query).mappings():
                    if address is None or _is_of(found, address):
                        yield _row(found, address)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._database.close()

    def _of(self, connection: Connection, address: StateAddress) -> Select[Any]:
        tasks = self._tasks(connection)
        if isinstance(address, AssetAddress):
            known_by = ASSET.c.name == address.name if address.uri is None else ASSET.c.uri == address.uri
            return _all_assets().where(known_by)
        place = {"dag_id": address.dag_id, "run_id": address.run_id, "task_id": address.task_id}
        query = select(tasks).filter_by(**place)
        if tasks is TASKS_3_4:
            region = address.region_id or NO_REGION
            return query.filter_by(region_index=address.map_index, region_id=region)
        has_region = false() if address.region_id else true()
        return query.filter_by(map_index=address.map_index).where(has_region)

    def _tasks(self, connection: Connection) -> TableClause:
        tables = inspect(connection)
        missing = [name for name in (TASKS_3_3.name, ASSETS.name) if not tables.has_table(name)]
        if missing:
            raise ConfigError(
                f"the database has no table {missing[0]}: it is not Airflow's, or older than Airflow 3.3",
                hint="name the database of [database] sql_alchemy_conn, and run: airflow db migrate",
                location=self._database.location,
            )
        names = {found["name"] for found in tables.get_columns(TASKS_3_3.name)}
        return TASKS_3_4 if "region_id" in names else TASKS_3_3


def _all_assets() -> Select[Any]:
    return select(ASSET.c.name, ASSET.c.uri, ASSETS.c.key, ASSETS.c.value, ASSETS.c.updated_at).join_from(
        ASSETS, ASSET, ASSET.c.id == ASSETS.c.asset_id
    )


def _preferred(query: Select[Any], address: StateAddress) -> Select[Any]:
    if isinstance(address, TaskAddress):
        return query
    active = and_(ACTIVE.c.name == ASSET.c.name, ACTIVE.c.uri == ASSET.c.uri)
    inactive_last = case((ACTIVE.c.name.is_(None), 1), else_=0)
    return query.outerjoin(ACTIVE, active).order_by(inactive_last, ASSETS.c.updated_at.desc())


def _is_of(found: RowMapping, address: StateAddress) -> bool:
    """Whether the ids are those asked for, and not only equal to them in a collation of MySQL's."""
    if isinstance(address, AssetAddress):
        return bool(found["name"] == address.name if address.uri is None else found["uri"] == address.uri)
    return all(found[name] == getattr(address, name) for name in ("dag_id", "run_id", "task_id"))


def _row(found: RowMapping, asked_for: StateAddress | None) -> Row:
    if "dag_id" not in found:
        address = asked_for or AssetAddress(name=found["name"])
        return Row(address, found["key"], found["value"], found["updated_at"], None)
    index = found["region_index"] if "region_index" in found else found["map_index"]
    region = found.get("region_id")
    task = TaskAddress(found["dag_id"], found["run_id"], found["task_id"], index, region)
    return Row(task, found["key"], found["value"], found["updated_at"], found["expires_at"])
