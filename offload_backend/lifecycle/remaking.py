"""What a rewrite of rows is asked for, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from offload_backend.lifecycle.expire import Tally
from offload_backend.lifecycle.named import NamedBlob

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import FoundRow

__all__ = ["LARGE", "NOTHING", "Change", "Need", "Remade", "Remaking", "RewriteReport"]


LARGE = 8 * 1024 * 1024
"""Of values that take more bytes than this, one at a time is on its way."""


class Change(Enum):
    """What a row needs."""

    NONE = "nothing"
    TEXT = "another text, which says the same of the same blob or of none"
    VALUE = "its value stored anew, in another place or form"
    ELSEWHERE = "it, but names a blob that is not its own here, and stays as it is"


@dataclass(frozen=True)
class Need:
    """What a row needs, as far as its text tells.

    ``text`` is what the row holds, a ref or an inline value, out of its envelope. ``blob`` is the row's own that it
    names now. ``size`` are the bytes that are stored beside the row for it, 0 where that is not known; ``weight``
    those that storing it anew takes in memory, about. ``lacks`` are the settings that, if they
    are ``refuse``, let no task read a ref that stays as it is.
    """

    change: Change
    text: str = ""
    blob: NamedBlob | None = None
    size: int = 0
    weight: int = 0
    lacks: tuple[str, ...] = ()


NOTHING = Need(Change.NONE)


@dataclass(frozen=True)
class Remade:
    """The whole text that a row is to have, and the name of what was stored for it, empty if nothing was.

    ``size`` are the bytes of that, where what is stored now tells no size beforehand.
    """

    row_text: str
    name: str = ""
    size: int = 0


class Remaking(Protocol):
    """What becomes of rows. Safe to use from any thread."""

    def need(self, found: FoundRow) -> Need:
        """What the row, of whatever backend, needs, or :data:`NOTHING`. Asks no store; raises for bad settings.

        Raises another :class:`~offload_backend.errors.OffloadError` for a row that needs it and can never have it.
        """
        ...

    def remake(self, found: FoundRow, need: Need) -> Remade:
        """What to put in its place; what that names is complete and durable, and was written for the same state.

        Raises an :class:`~offload_backend.errors.OffloadError` for a row whose value cannot be read or stored.
        """
        ...

    def target(self) -> BlobStore:
        """Where it stores, to delete by name what was stored in vain."""
        ...


@dataclass
class RewriteReport:
    """What a rewrite did, or would do.

    ``rows`` were looked at; ``wanted`` counts those that needed it when it began, the values that are beside them
    or will be, and the bytes these take, as far as rows tell; ``done`` the rows that were replaced, what was stored
    anew for them, and the bytes of that as they were, or as they are where rows did not tell. ``changed`` rows
    were written anew, removed or held by somebody meanwhile, and were left alone. ``archived`` rows, and refs
    ``elsewhere`` (that name no blob of their own row where it would have to be), need it and stay as they are;
    ``lacking`` says by the name of a setting how many of these no task reads if it is ``refuse``.
    ``failures`` counts rows that could not be rewritten, or of which a dry run knows it; ``failed`` maps the first
    of them to the reasons. ``stopped`` tells that the store failed again and again, so that the other rows were
    left alone.

    Of the blobs that rows named before, ``deleted`` are gone. ``young`` ones were written within
    ``commit_window`` and are left to the collector, ``kept`` ones stay because of ``reclaim = never`` or because
    nobody asked for their end, ``held`` maps names of those that stay to who names them as well, and
    ``undeleted`` maps names to the store's reasons. ``waiting`` ones have their grace.
    """

    dry: bool
    rows: int = 0
    wanted: Tally = field(default_factory=Tally)
    done: Tally = field(default_factory=Tally)
    changed: int = 0
    archived: int = 0
    elsewhere: int = 0
    lacking: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stopped: bool = False
    deleted: int = 0
    young: int = 0
    kept: int = 0
    waiting: int = 0
    held: dict[str, str] = field(default_factory=dict)
    undeleted: dict[str, str] = field(default_factory=dict)
