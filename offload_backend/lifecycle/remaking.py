"""What a rewrite of rows is asked for, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from offload_backend.address import StateAddress
from offload_backend.lifecycle.expire import Tally

__all__ = ["Change", "Remaking", "RewriteReport"]


class Change(Enum):
    """What a ref needs."""

    NONE = "nothing"
    REF = "another text for the same blob"
    BLOB = "another blob"


class Remaking(Protocol):
    """What becomes of refs. Safe to use from any thread."""

    def change(self, ref: str) -> Change:
        """What the ref, of whatever backend, needs. Asks no store; raises for settings that cannot be used."""
        ...

    def remade(self, ref: str, address: StateAddress, key: str) -> str:
        """The ref to put in its place; what it names is complete and durable, and was written for the same state.

        Raises an :class:`~offload_backend.errors.OffloadError` for a ref whose value cannot be read or stored.
        """
        ...


@dataclass
class RewriteReport:
    """What a rewrite did, or would do.

    ``rows`` were looked at; ``wanted`` counts those that needed it when it began, the blobs to be written anew
    for them and the bytes these blobs take as they are; ``done`` the same of rows that were replaced. ``changed``
    rows were written anew, removed or held by somebody meanwhile, and were left alone. ``archived`` rows, and
    refs ``elsewhere`` (that name no blob of their own row below the write location), need it and stay as they
    are. ``failures`` counts rows that could not be rewritten; ``failed`` maps the first of them to the reasons.
    ``stopped`` tells that the store failed again and again, so that the other rows were left alone.

    Of the blobs that rows named before, ``deleted`` are gone. ``young`` ones were written within
    ``commit_window`` and are left to the collector, ``kept`` ones stay because of ``reclaim = never``,
    ``held`` maps names of those that stay to who names them as well, and ``undeleted`` maps names to the
    store's reasons. ``waiting`` ones have their grace.
    """

    dry: bool
    rows: int = 0
    wanted: Tally = field(default_factory=Tally)
    done: Tally = field(default_factory=Tally)
    changed: int = 0
    archived: int = 0
    elsewhere: int = 0
    failures: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False
    deleted: int = 0
    young: int = 0
    kept: int = 0
    waiting: int = 0
    held: dict[str, str] = field(default_factory=dict)
    undeleted: dict[str, str] = field(default_factory=dict)
