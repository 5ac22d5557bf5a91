"""Port: where rows live. Adapters are in ``corestores/``; ``testing/core_store.py`` is their contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from offload_backend.address import StateAddress

__all__ = ["CoreReader", "CoreStore", "Row"]


@dataclass(frozen=True)
class Row:
    """One row: ``text`` is JSON, either the value itself or an envelope around a ref (see ``row.py``).

    ``expires_at`` (UTC) is when it may be removed, ``None`` for never. A row is live while it exists,
    expired or not.
    """

    address: StateAddress
    key: str
    text: str
    updated_at: datetime
    expires_at: datetime | None


class CoreReader(Protocol):
    """Rows that can be read."""

    def get(self, address: StateAddress, key: str) -> Row | None:
        """The row as last committed, or ``None``."""
        ...

    def rows(self, address: StateAddress | None = None) -> Iterator[Row]:
        """Every row of ``address``, or of the whole core store, from one snapshot; or raises."""
        ...

    def close(self) -> None:
        """Release connections; the store may not be used afterwards."""
        ...


class CoreStore(CoreReader, Protocol):
    """Rows that can be written. Each method is one committed transaction when it returns.

    The replaced and removed texts are returned because the commit is the proof that nothing else
    refers to what they name: concurrent writers of one key each get a different predecessor.
    """

    def set(self, address: StateAddress, key: str, text: str, *, expires_at: datetime | None) -> str | None:
        """Insert or replace the row; the text it replaced, or ``None``."""
        ...

    def delete(self, address: StateAddress, key: str) -> str | None:
        """Remove the row; its text, or ``None`` if there was none (no error)."""
        ...

    def clear(self, address: StateAddress, *, all_map_indices: bool = False) -> list[str]:
        """Remove the rows of ``address``; their texts.

        ``all_map_indices`` widens a task's address to every index and region of (dag, run, task); an
        asset's is unaffected.
        """
        ...
