"""An entry: what a row and its ref say of a value, without the value and without asking any store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from offload_backend.address import StateAddress, TaskAddress, header_facts
from offload_backend.description import described
from offload_backend.errors import OffloadError
from offload_backend.location import shown
from offload_backend.ref import BlobRef, PeerRef, is_ref, parse_ref, signature_of
from offload_backend.row import TYPED, is_typed, open_envelope

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow

__all__ = ["Entry", "Kept", "entry_of", "text_of"]

Kept = Literal["inline", "offloaded", "peer", "unreadable"]
"""Where the value is: in the row, in a blob of ours, where the peer put it; or nobody here can tell."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row. ``stored`` is what its value takes in bytes, in the row or as a blob; ``raw`` before compression.

    Both are what the ref claims, ``None`` where it claims nothing. ``about`` is type and length for people, or why
    the ref cannot be read. ``ref`` is ``None`` for an inline value, and for a ref whose URL might hold a
    credential; ``url`` is without one.
    """

    address: StateAddress
    key: str
    kept: Kept
    about: str
    stored: int | None
    raw: int | None
    codec: str
    encrypted: str
    signer: str
    url: str
    ref: str | None
    updated_at: datetime
    expires_at: datetime | None
    archived: bool

    @property
    def order(self) -> tuple[object, ...]:
        """By address, then by key: tasks by dag, run, task and index, then assets."""
        address = self.address
        if isinstance(address, TaskAddress):
            ids = address.dag_id, address.run_id, address.task_id
            return 0, *ids, address.map_index, str(address.region_id or ""), self.key
        return 1, address.name or "", address.uri or "", self.key

    def as_json(self) -> dict[str, Any]:
        """The entry for programs: address and key as a blob's header has them, times in ISO 8601, bytes."""
        return {
            **header_facts(self.address, self.key),
            "kept": self.kept,
            "about": self.about,
            "stored": self.stored,
            "raw": self.raw,
            "codec": self.codec or None,
            "encrypted": self.encrypted or None,
            "signer": self.signer or None,
            "updated": self.updated_at.isoformat(),
            "expires": self.expires_at and self.expires_at.isoformat(),
            "archived": self.archived,
            "url": self.url or None,
            "ref": self.ref,
        }


def text_of(found: FoundRow) -> str:
    """What the row holds: a ref, or the text of an inline value; what Airflow wraps it in is taken off."""
    try:
        text = open_envelope(json.loads(found.row.text))
    except (ValueError, RecursionError):
        text = None
    return found.row.text if text is None else text


def entry_of(found: FoundRow) -> Entry:
    """The row's entry. Raises nothing, whatever the row holds."""
    text = text_of(found)
    signature = signature_of(text) if is_ref(text) else None
    facts = {**_NONE, **_facts(text), "signer": signature.signer if signature else ""}
    row = found.row
    return Entry(
        address=row.address,
        key=row.key,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        archived=found.archived,
        **facts,
    )


_NONE: dict[str, Any] = {"stored": None, "raw": None, "codec": "", "encrypted": "", "url": "", "ref": None}


def _facts(text: str) -> dict[str, Any]:
    if not is_ref(text):
        return {"kept": "inline", "about": _about_inline(text), "stored": len(text.encode("utf-8", "replace"))}
    url = text.partition("#")[0]
    place = {"url": shown(url), "ref": None if "@" in url or "?" in url else text}
    try:
        ref = parse_ref(text)
    except OffloadError as error:
        return {"kept": "unreadable", "about": error.message, **place}
    if isinstance(ref, PeerRef):
        return {"kept": "peer", "about": "", **place}
    assert isinstance(ref, BlobRef)  # noqa: S101 - what is a ref and no error is one of the two
    facts = {"about": ref.about, "stored": ref.size, "raw": ref.raw, "codec": ref.codec, "encrypted": ref.key}
    return {"kept": "offloaded", **facts, **place}


def _about_inline(text: str) -> str:
    """As :func:`described`; of a value that is not JSON the tag of its kind."""
    try:
        if not is_typed(text):
            return described(json.loads(text))
        node = json.loads(text.removeprefix(TYPED))["value"]
        return str(node["$"][0])[:80] if isinstance(node, dict) and "$" in node else described(node)
    except (ValueError, RecursionError, LookupError, TypeError):
        return "not a value"
