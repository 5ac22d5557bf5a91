"""The two tables of the embedded core store."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import CHAR, BigInteger, Column, DateTime, Dialect, MetaData, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.corestore import Row

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

__all__ = ["ASSETS", "METADATA", "TASKS", "UtcDateTime", "columns_of", "owner_digest", "row_from", "table_of"]

WITHOUT_ZONES = ("mysql", "mariadb")
NO_REGION = str(UUID(int=0))
_UNSTORABLE = re.compile("[\\\\\0\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


class AnyText(TypeDecorator[str]):
    """Any Python string: NUL, lone surrogates and the backslash are stored as escapes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy's)
        """``value`` as any database can hold it."""
        return None if value is None else _escaped(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy's)
        """``value`` as it was given."""
        return None if value is None else _ESCAPE.sub(lambda match: _unescaped(match[1]), value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, also where the database knows no time zones, to the microsecond."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type; MySQL's would have whole seconds."""
        return dialect.type_descriptor(
            mysql.DATETIME(fsp=6) if dialect.name in WITHOUT_ZONES else DateTime(timezone=True)
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """``value`` in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        utc = value.astimezone(timezone.utc)
        return utc.replace(tzinfo=None) if dialect.name in ("sqlite", *WITHOUT_ZONES) else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy's)
        """``value`` in UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


METADATA = MetaData()


def _table(name: str, *named: Column[Any]) -> Table:
    # PostgreSQL refuses index entries above 2.7 KB, which four ids of any Unicode can exceed: digests
    # identify a row (id) and its dag, run and task or its asset (owner). The rest is for people.
    return Table(
        name,
        METADATA,
        Column("id", CHAR(64), primary_key=True),
        Column("owner", CHAR(64), nullable=False, index=True),
        *named,
        Column("key", AnyText, nullable=False),
        Column("value", Text, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
        Column("expires_at", UtcDateTime, index=True),
    )


TASKS = _table(
    "offload_task_state",
    Column("dag_id", AnyText, nullable=False),
    Column("run_id", AnyText, nullable=False),
    Column("task_id", AnyText, nullable=False),
    Column("map_index", BigInteger, nullable=False),
    Column("region_id", CHAR(36), nullable=False),
)
ASSETS = _table("offload_asset_state", Column("name", AnyText), Column("uri", AnyText))


def table_of(address: StateAddress) -> Table:
    """The table that holds the rows of ``address``."""
    return TASKS if isinstance(address, TaskAddress) else ASSETS


def columns_of(address: StateAddress) -> dict[str, Any]:
    """The columns that name ``address`` for people."""
    if isinstance(address, AssetAddress):
        return {"name": address.name, "uri": address.uri}
    return {
        "dag_id": address.dag_id,
        "run_id": address.run_id,
        "task_id": address.task_id,
        "map_index": address.map_index,
        "region_id": str(address.region_id or NO_REGION),
    }


def owner_digest(address: StateAddress) -> str:
    """What all map indices and regions of a task share; an asset's own."""
    if isinstance(address, AssetAddress):
        return _digest("name", address.name) if address.name is not None else _digest("uri", address.uri or "")
    return _digest(address.dag_id, address.run_id, address.task_id)


def row_digest(address: StateAddress, key: str) -> str:
    """What no other row has."""
    place: tuple[str, ...] = ()
    if isinstance(address, TaskAddress):
        place = (str(address.region_id or NO_REGION), str(address.map_index))
    return _digest(owner_digest(address), *place, key)


def row_from(columns: RowMapping) -> Row:
    """The row of either table."""
    if "dag_id" in columns:
        address: StateAddress = TaskAddress(
            dag_id=columns["dag_id"],
            run_id=columns["run_id"],
            task_id=columns["task_id"],
            map_index=columns["map_index"],
            region_id=UUID(columns["region_id"]),
        )
    else:
        address = AssetAddress(name=columns["name"], uri=columns["uri"])
    return Row(address, columns["key"], columns["value"], columns["updated_at"], columns["expires_at"])


def _digest(*parts: str) -> str:
    # An escaped part holds no NUL, so no two lists of parts join to the same text.
    return hashlib.sha256("\0".join(map(_escaped, parts)).encode()).hexdigest()


def _escaped(text: str) -> str:
    return _UNSTORABLE.sub(lambda match: _escape(match[0]), text)


def _escape(char: str) -> str:
    return "\\\\" if char == "\\" else f"\\u{ord(char):04x}"


def _unescaped(code: str | None) -> str:
    return "\\" if code is None else chr(int(code, 16))
