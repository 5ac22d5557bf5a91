"""Port: which refs are live. Adapters are in ``corestores/``; ``testing/root_source.py`` is their contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from offload_backend.address import StateAddress
from offload_backend.ref import is_ref
from offload_backend.row import open_envelope

__all__ = ["Hidden", "Ledger", "Origin", "Root", "RootSource", "root_of"]

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Root:
    """What one row keeps alive: every blob whose id stands anywhere in the row's text.

    ``ref`` is the row's ref as text, or ``None`` for a row that is not an envelope around one (an
    inline value that happens to hold an id). ``updated_at`` is by the database's clock, ``None`` if
    unknown. ``holder`` names the row for people: table or archive, address, key; never content.
    """

    ids: tuple[str, ...]
    ref: str | None
    updated_at: datetime | None
    holder: str


@dataclass(frozen=True)
class Hidden:
    """An address whose rows the source could not see completely: all its blobs are kept."""

    address: StateAddress
    reason: str


@dataclass(frozen=True)
class Origin:
    """Which database the roots come from.

    ``fingerprint`` is stable text, without secrets, that differs between two databases even if one is
    a copy of the other; ``location`` is for people. ``replica`` tells a standby or read-only database,
    which may lag. ``read_at`` is the moment of a snapshot that was taken before (an export); ``None``
    when :meth:`RootSource.roots` reads the database as it is when called.
    """

    kind: str
    fingerprint: str
    location: str
    replica: bool = False
    read_at: datetime | None = None


@dataclass(frozen=True)
class Ledger:
    """What the collector keeps in the database of the rows, so that a restored one is noticed.

    ``sequence`` counts the collector's runs and never goes back; ``canary`` is the ref of a blob of
    the collector's own, which every reading of the roots must include.
    """

    sequence: int
    canary: str


class RootSource(Protocol):
    """The live refs of one database.

    Every method raises :class:`~offload_backend.errors.CoreStoreError` when the database refuses or
    fails, and :class:`~offload_backend.errors.ConfigError` when it is not the kind it should be.
    """

    def origin(self) -> Origin:
        """The database as it is now."""
        ...

    def ledger(self) -> Ledger | None:
        """What :meth:`record` wrote last, or ``None`` if the collector was never here."""
        ...

    def record(self, ledger: Ledger) -> None:
        """Write the ledger, committed when this returns."""
        ...

    def roots(self, addresses: Iterable[StateAddress]) -> Iterator[Root | Hidden]:
        """All roots from one snapshot that begins after the call, the ledger's canary among them; or raises.

        Never a silently shorter list. ``addresses`` are those of blobs that may be garbage: a source that
        must ask for each address asks for these, and yields :class:`Hidden` where it may not or cannot see;
        one that reads everything ignores them.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...


def root_of(row_text: str, updated_at: datetime | None, holder: str) -> Root | None:
    """The root that a row is, or ``None`` if no blob's id stands in its text."""
    ids = tuple(sorted({match.lower() for match in _ID.findall(row_text)}))
    if not ids:
        return None
    try:
        text = open_envelope(json.loads(row_text))
    except (ValueError, RecursionError):
        text = None
    return Root(ids, text if text is not None and is_ref(text) else None, updated_at, holder)
