"""Which entries are meant, and in which order: the vocabulary of all verbs that look."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.inventory.entry import Entry

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow

__all__ = ["Choice", "Order", "Ranked", "ranked"]


@dataclass(frozen=True)
class Choice:
    """State that is meant: what is ``None`` means all. Texts are globs (``*``, ``?``, ``[…]``), case counts.

    Ages are those of the row's last write; a row that is exactly so old is meant. ``larger_than`` is in stored
    bytes. ``everything`` means inline values as well, and the copies of rows that ``airflow db clean`` keeps.
    """

    dag: str | None = None
    run: str | None = None
    task: str | None = None
    map_index: int | None = None
    asset: str | None = None
    asset_uri: str | None = None
    key: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    larger_than: int | None = None
    everything: bool = False

    def has_row(self, found: FoundRow, now: datetime) -> bool:
        """Whether the row may be meant, whatever it holds; ``now`` is by the clock of the database."""
        row, age = found.row, now - found.row.updated_at
        return (
            (self.everything or not found.archived)
            and any(map(self._has_address, found.addresses))
            and _like(self.key, row.key)
            and (self.older_than is None or age >= self.older_than)
            and (self.newer_than is None or age <= self.newer_than)
        )

    def has_value(self, entry: Entry) -> bool:
        """Whether the entry of such a row is meant."""
        is_kept = self.everything or entry.kept != "inline"
        return is_kept and (self.larger_than is None or (entry.stored or 0) > self.larger_than)

    def _has_address(self, address: StateAddress) -> bool:
        of_task = (self.dag, self.run, self.task, self.map_index) != (None,) * 4
        of_asset = (self.asset, self.asset_uri) != (None,) * 2
        if isinstance(address, AssetAddress):
            named = _like(self.asset, address.name) and _like(self.asset_uri, address.uri)
            return not of_task and named
        return not of_asset and self._has_task(address)

    def _has_task(self, address: TaskAddress) -> bool:
        return (
            _like(self.dag, address.dag_id)
            and _like(self.run, address.run_id)
            and _like(self.task, address.task_id)
            and self.map_index in (None, address.map_index)
        )


def _like(pattern: str | None, text: str | None) -> bool:
    """A text that is the pattern itself is meant, too: names may hold brackets."""
    return pattern is None or (text is not None and (text == pattern or fnmatchcase(text, pattern)))


class Order(str, Enum):
    """What comes first: by address and key, the largest, or the oldest."""

    KEY = "key"
    SIZE = "size"
    AGE = "age"


@dataclass(frozen=True)
class Ranked:
    """The first entries in an order, and of how many."""

    entries: list[Entry]
    matched: int


def ranked(entries: Iterable[Entry], order: Order, *, limit: int = 0, backwards: bool = False) -> Ranked:
    """The first ``limit`` entries in the order, 0 for all. Memory is bounded by ``limit``."""
    key = _KEYS[order]
    counted = _Counted(entries)
    if not limit:
        found = sorted(counted, key=key, reverse=backwards)
    else:
        found = (heapq.nlargest if backwards else heapq.nsmallest)(limit, counted, key=key)
    return Ranked(found, counted.count)


class _Counted:
    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self.count = 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self._entries:
            self.count += 1
            yield entry


_KEYS: dict[Order, Callable[[Entry], tuple[object, ...]]] = {
    Order.KEY: lambda entry: entry.order,
    Order.SIZE: lambda entry: (-(entry.stored or 0), *entry.order),
    Order.AGE: lambda entry: (entry.updated_at, *entry.order),
}
