"""Root source over a core store in this process's memory: for tests and trials."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from offload_backend.address import StateAddress
from offload_backend.rootsource import Hidden, Ledger, Origin, Root, root_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from offload_backend.corestores.memory import MemoryCoreStore

__all__ = ["MemoryRootSource"]


class MemoryRootSource:
    """The roots of a :class:`MemoryCoreStore`. The ledger lives as long as this instance, which stands for the
    database: another instance, over the same rows, is another database.
    """

    def __init__(self, core_store: MemoryCoreStore, fingerprint: str = "") -> None:
        self._core_store = core_store
        self._fingerprint = fingerprint or uuid.uuid4().hex
        self._ledger: Ledger | None = None

    def origin(self) -> Origin:
        """See :class:`~offload_backend.rootsource.RootSource`."""
        return Origin("memory", self._fingerprint, f"memory {self._fingerprint[:8]}")

    def ledger(self) -> Ledger | None:
        """See :class:`~offload_backend.rootsource.RootSource`."""
        return self._ledger

    def record(self, ledger: Ledger) -> None:
        """See :class:`~offload_backend.rootsource.RootSource`."""
        self._ledger = ledger

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:  # noqa: ARG002 - reads everything
        """See :class:`~offload_backend.rootsource.RootSource`."""
        for row in self._core_store.rows():
            root = root_of(row.text, row.updated_at, f"{row.address}, key {row.key!r}")
            if root is not None:
                yield root
        if self._ledger is not None:
            canary = root_of(self._ledger.canary, None, "the collector's ledger")
            if canary is not None:
                yield canary

    def close(self) -> None:
        """Nothing is held."""
