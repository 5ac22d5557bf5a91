"""Core store in the memory of one process: for tests, trials and ``connect(core_store="memory://")``."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from offload_backend.address import AssetAddress, StateAddress
from offload_backend.corestore import FoundRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MemoryCoreStore"]


class MemoryCoreStore:
    """Rows that live as long as the instance. Threads may share it; a fork gets a copy of its own."""

    def __init__(self) -> None:
        self._rows: dict[tuple[StateAddress, str], Row] = {}
        self._turns: dict[int, threading.Lock] = {}

    def get(self, address: StateAddress, key: str) -> Row | None:
        """The row, or ``None``."""
        return self._rows.get((address, key))

    def rows(self, address: StateAddress | None = None) -> Iterator[Row]:
        """Every row of ``address``, or every row, as they were when the first one was asked for."""
        with self._turn:
            rows = list(self._rows.values())
        return (row for row in rows if address in (None, row.address))

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None) -> str | None:
        """Insert or replace the row; the text it replaced, or ``None``."""
        row = Row(address, key, text, datetime.now(timezone.utc), expires_at)
        with self._turn:
            replaced = self._rows.get((address, key))
            self._rows[address, key] = row
        return replaced.text if replaced else None

    def delete(self, address: StateAddress, key: str) -> str | None:
        """Remove the row; its text, or ``None``."""
        with self._turn:
            removed = self._rows.pop((address, key), None)
        return removed.text if removed else None

    def clear(self, address: StateAddress, *, all_map_indices: bool = False) -> list[str]:
        """Remove the rows of ``address``, or of its whole task; their texts."""
        owner = _owner if all_map_indices else _itself
        with self._turn:
            doomed = [place for place in self._rows if owner(place[0]) == owner(address)]
            return [self._rows.pop(place).text for place in doomed]

    def _unchanged(self, found: FoundRow) -> Row | None:
        """The row as it is, if that is as it was read."""
        now = self._rows.get((found.row.address, found.row.key))
        return now if now == found.row else None

    @property
    def _turn(self) -> threading.Lock:
        """The running process's: its parent's may be held, after a fork, by a thread that does not exist here."""
        return self._turns.setdefault(os.getpid(), threading.Lock())

    @property
    def location(self) -> str:
        """Nowhere but here."""
        return "memory://"

    def now(self) -> datetime:
        """The time by this machine's clock."""
        return datetime.now(timezone.utc)

    def expired(self, now: datetime, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """The next rows with ``expires_at`` before ``now``, the oldest first."""
        begin = _order(after) if after else None
        due = [found for found in self.found() if found.row.expires_at and found.row.expires_at < now]
        behind = [found for found in due if begin is None or _order(found) > begin]
        return sorted(behind, key=_order)[:limit]

    def remove(self, rows: Sequence[FoundRow]) -> list[FoundRow]:
        """Remove the rows that are still as they were read; those removed."""
        removed = []
        with self._turn:
            for found in rows:
                if row := self._unchanged(found):
                    del self._rows[row.address, row.key]
                    removed.append(found)
        return removed

    def replace(self, changes: Sequence[tuple[FoundRow, str]]) -> list[FoundRow]:
        """Put another text into the rows that are still as they were read; those replaced, as they were."""
        replaced = []
        with self._turn:
            for found, text in changes:
                if row := self._unchanged(found):
                    self._rows[row.address, row.key] = replace(row, text=text)
                    replaced.append(found)
        return replaced

    def page(self, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """The next rows by their places."""
        behind = [found for found in self.found() if after is None or found.place > after.place]
        return sorted(behind, key=lambda found: found.place)[:limit]

    def aliases(self, address: AssetAddress) -> list[AssetAddress]:  # noqa: ARG002 (here an asset has one address)
        """None: an asset's rows are at the one address that they were set with."""
        return []

    def found(self) -> Iterator[FoundRow]:
        """Every row, as they were when the first one was asked for."""
        for row in self.rows():
            yield FoundRow(row, ("memory", repr(row.address), row.key))

    def close(self) -> None:
        """Forget every row."""
        self._rows.clear()


def _itself(address: StateAddress) -> object:
    return address


def _owner(address: StateAddress) -> object:
    return address if isinstance(address, AssetAddress) else (address.dag_id, address.run_id, address.task_id)


def _order(found: FoundRow) -> tuple[Any, ...]:
    return (found.row.expires_at, *found.place)
