"""Port: where rows live. Adapters are in ``corestores/``; ``testing/core_store.py`` is their contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from offload_backend.address import AssetAddress, StateAddress

__all__ = ["CoreReader", "CoreStore", "FoundRow", "RemovableRows", "Row"]


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


@dataclass(frozen=True)
class FoundRow:
    """A row as it was read, and the ``place`` by which the core store that read it finds it again.

    ``place`` begins with the table's name; the rest is the adapter's own. ``aliases`` are further
    addresses of the same asset. An ``archived`` row is a copy that Airflow keeps of one it removed: it
    still names its blob, and neither :meth:`RemovableRows.remove` nor ``replace`` touches it.
    """

    row: Row
    place: tuple[str | int, ...]
    aliases: tuple[AssetAddress, ...] = ()
    archived: bool = False

    @property
    def addresses(self) -> tuple[StateAddress, ...]:
        """The row's address and its aliases."""
        return (self.row.address, *self.aliases)


class RemovableRows(Protocol):
    """Rows that may be removed or replaced, each only as long as it is still as it was read.

    Every method raises :class:`~offload_backend.errors.CoreStoreError` when the database refuses or fails,
    and :class:`~offload_backend.errors.ConfigError` when it is not the kind it should be. No table is made.
    """

    @property
    def location(self) -> str:
        """The database for people, without user and password."""
        ...

    def now(self) -> datetime:
        """The time by the database's clock, with a time zone."""
        ...

    def expired(self, now: datetime, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """At most ``limit`` rows with ``expires_at`` before ``now``, in an order of its own, from behind ``after``.

        Fewer only when there are no more. Rows without ``expires_at`` are never among them.
        """
        ...

    def remove(self, rows: Sequence[FoundRow]) -> list[FoundRow]:
        """Remove, in one transaction, those that nobody has written since; those removed.

        Such a row has the same text, ``expires_at`` and ``updated_at``: a text that is written again may stand for
        another value, since Airflow's own common-io backend overwrites what its refs name.

        Committed when this returns. A row that somebody is writing at the moment is not waited for where
        the database can skip it, and stays; so does an archived one.
        """
        ...

    def replace(self, changes: Sequence[tuple[FoundRow, str]]) -> list[FoundRow]:
        """Put, in one transaction, another text into those that nobody has written since, as in :meth:`remove`.

        Those replaced, as they were read; committed when this returns. What else the row says stays: its dates,
        and who wrote it last. A row that somebody is writing at the moment is left alone as in :meth:`remove`,
        and so is an archived one.
        """
        ...

    def page(self, *, limit: int, after: FoundRow | None = None) -> list[FoundRow]:
        """At most ``limit`` rows, in an order that no write changes, from behind ``after``; fewer at the end only.

        Unlike :meth:`found`, no transaction is open between two pages, so whoever walks may write; and a row that
        is there all the time comes once. Archived rows are not among them.
        """
        ...

    def aliases(self, address: AssetAddress) -> list[AssetAddress]:
        """Further names and uris of the assets that have this one; blobs of their rows may lie under each."""
        ...

    def found(self) -> Iterator[FoundRow]:
        """Every row, archived ones included, from one snapshot that begins after the call; or raises."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
