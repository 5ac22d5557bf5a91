"""Which database a connection is at, and whether what it shows may be older than what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from offload_backend.errors import CoreStoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

    from offload_backend.corestores.engine import Database

__all__ = ["fingerprint", "is_replica"]

_MAY_ASK = text("SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')")
_CLUSTER = text("SELECT system_identifier FROM pg_catalog.pg_control_system()")
_DATABASE = text("SELECT oid, datname FROM pg_catalog.pg_database WHERE datname = current_database()")
_STANDBY = text("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean")
_SERVER = text("SHOW VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid')")
_READ_ONLY = text("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'innodb_read_only')")


def fingerprint(connection: Connection, schema: str | None) -> str:
    """Text that stays the same as long as this is the same database, holding no secret.

    * PostgreSQL: the cluster's identity, the database's number and name, and the schema of the rows. It
      survives another address, a pooler and a failover; a restored dump and ``CREATE DATABASE … TEMPLATE``
      differ. A physical copy of the whole cluster does not differ: the ledger's sequence is for that.
      Where the cluster's identity may not be read, the configured host and port stand for it.
    * MySQL: the server's identity, which a failover does change, and the database's name.
    * SQLite: the file's real path.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        number, name = connection.execute(_DATABASE).one()
        return f"postgresql {_cluster(connection)} database={number} name={name!r} schema={schema!r}"
    if dialect == "sqlite":
        files = {row.name: row.file for row in connection.execute(text("PRAGMA database_list"))}
        return f"sqlite {Path(files['main']).resolve()}"
    server = connection.execute(_SERVER).first()
    name = connection.scalar(text("SELECT DATABASE()"))
    return f"{dialect} server={server[1] if server else _address(connection)} name={name!r}"


def is_replica(database: Database, rows: TableClause) -> bool:
    """Whether the database is a standby or cannot be written, so that it may lag behind another one.

    SQLite tells by refusing a write to ``rows``, one that changes nothing; so it waits for its lock.
    """
    if database.dialect == "sqlite":
        return _refuses_writes(database, rows)
    with database.reading() as connection:
        if database.dialect == "postgresql":
            return bool(connection.scalar(_STANDBY))
        return any(row[1].upper() in ("ON", "1") for row in connection.execute(_READ_ONLY))


def _refuses_writes(database: Database, rows: TableClause) -> bool:
    nothing = rows.update().where(text("1 = 0")).values(key=rows.c.key)
    try:
        with database.writing() as connection:
            connection.execute(nothing)
    except CoreStoreError as error:
        if "readonly" not in str(error):
            raise
        return True
    return False


def _cluster(connection: Connection) -> str:
    if connection.scalar(_MAY_ASK):
        return f"cluster={connection.scalar(_CLUSTER)}"
    return f"server={_address(connection)}"


def _address(connection: Connection) -> str:
    url = connection.engine.url
    return f"{url.host or url.query.get('host', 'local')}:{url.port or 'default'}"
