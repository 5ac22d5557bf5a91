"""Sessions of MySQL and MariaDB: times in UTC, waits that end, and transactions that write nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

__all__ = ["engine_options", "prepare_sessions"]

CONNECT_SECONDS = 10
LOCK_SECONDS = 30
PAUSE_SECONDS = 24 * 3600
_TAKE_CONNECT_TIMEOUT = ("mysqldb", "pymysql")

# A TIMESTAMP is compared and shown in the session's time zone; Airflow's and ours are UTC. Without its own limit
# a statement waits a year for a table that is being altered. And a server hangs up on who reads a row, works on
# it for longer than a minute, and comes back for the next.
_SETTINGS = {
    "time_zone": "'+00:00'",
    "lock_wait_timeout": f"CAST(LEAST(@@lock_wait_timeout, {LOCK_SECONDS}) AS SIGNED)",
    "innodb_lock_wait_timeout": f"CAST(LEAST(@@innodb_lock_wait_timeout, {LOCK_SECONDS}) AS SIGNED)",
    "net_write_timeout": f"CAST(GREATEST(@@net_write_timeout, {PAUSE_SECONDS}) AS SIGNED)",
}


def engine_options(url: URL) -> dict[str, Any]:
    """Arguments of ``create_engine``: Airflow's own isolation level, and an end to waiting for a connection.

    At MySQL's own level, whoever locks a row that is gone locks the gap as well, and nobody inserts there.
    """
    options: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
    if url.get_driver_name() in _TAKE_CONNECT_TIMEOUT and "connect_timeout" not in url.query:
        options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
    return options


def prepare_sessions(engine: Engine) -> None:
    """Have every connection told what it needs, and what only reads refuse to write (``mysql_readonly``)."""
    event.listen(engine, "connect", _set)
    event.listen(engine, "begin", _begin)


def _set(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET " + ", ".join(f"{name} = {value}" for name, value in _SETTINGS.items()))
    cursor.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("mysql_readonly"):
        connection.exec_driver_sql(
            "SET TRANSACTION READ ONLY", execution_options={"stream_results": False, "yield_per": None}
        )
