"""The collector's own table, ``offload_collector``, beside the rows (``docs/adr/0006-a-ledger-table.md``)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, MetaData, String, Table, Text, inspect, select, text, update
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from offload_backend.corestores.schema import UtcDateTime
from offload_backend.errors import CoreStoreError
from offload_backend.rootsource import Ledger

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["TABLE", "LedgerTable"]

TABLE = "offload_collector"
WRITERS_LOCK = 0x0FF1ED6E8  # pg_advisory_xact_lock: two creations, or two first rows, must not meet

# MySQL would take "Prod" and "prod" for one deployment.
_DEPLOYMENT = String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql")


class LedgerTable:
    """One row for each deployment whose refs the database holds; created when the first is written.

    ``schema`` is that of the rows, so that who finds the rows finds the ledger as well.
    """

    def __init__(self, deployment: str, schema: str | None) -> None:
        self._deployment = deployment
        self._table = Table(
            TABLE,
            MetaData(),
            Column("deployment", _DEPLOYMENT, primary_key=True),
            Column("sequence", BigInteger, nullable=False),
            Column("canary", Text, nullable=False),
            Column("recorded_at", UtcDateTime, nullable=False),
            schema=schema,
        )

    def exists(self, connection: Connection) -> bool:
        """Whether a collector was ever here, of whichever deployment."""
        return inspect(connection).has_table(TABLE, schema=self._table.schema)

    def read(self, connection: Connection) -> tuple[Ledger, datetime] | None:
        """The deployment's ledger and when it was recorded."""
        if not self.exists(connection):
            return None
        columns = self._table.c
        query = select(columns.sequence, columns.canary, columns.recorded_at)
        found = connection.execute(query.where(columns.deployment == self._deployment)).one_or_none()
        return (Ledger(found.sequence, found.canary), found.recorded_at) if found else None

    def write(self, connection: Connection, ledger: Ledger) -> None:
        """Write it in the transaction at hand; :class:`CoreStoreError` for a sequence below the one there."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITERS_LOCK})
        if not self.exists(connection):
            connection.execute(CreateTable(self._table))
        here = self._table.c.deployment == self._deployment
        written = {
            "sequence": ledger.sequence,
            "canary": ledger.canary,
            "recorded_at": datetime.now(timezone.utc),
        }
        before = connection.scalar(select(self._table.c.sequence).where(here).with_for_update())
        if before is None:
            connection.execute(self._table.insert().values(deployment=self._deployment, **written))
        elif before <= ledger.sequence:
            connection.execute(update(self._table).where(here).values(written))
        else:
            raise CoreStoreError(
                f"the ledger of deployment {self._deployment!r} is at run {before} and does not go back to run "
                f"{ledger.sequence}",
                hint="another collector works on this deployment; see that there is only one",
            )
