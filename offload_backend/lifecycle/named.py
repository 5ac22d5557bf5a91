"""The blob that a row names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offload_backend.address import BlobName, blob_scope, parse_blob_name
from offload_backend.errors import OffloadError
from offload_backend.location import relative_name
from offload_backend.ref import BlobRef, is_ref, parse_ref
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow

__all__ = ["NamedBlob", "named_blob", "own_blob", "ref_of"]


@dataclass(frozen=True)
class NamedBlob:
    """A blob below the write location: the ref that names it, its name, its parts and its size in bytes."""

    ref: str
    name: str
    parts: BlobName
    size: int

    def is_of(self, found: FoundRow) -> bool:
        """Whether the blob was written for this very row, not for one whose text was copied."""
        place = (self.parts.scope, self.parts.key)
        return any(place == blob_scope(address, found.row.key) for address in found.addresses)


def ref_of(found: FoundRow) -> str | None:
    """The row's ref, of whatever backend, or ``None`` for an inline value."""
    try:
        text = open_envelope(json.loads(found.row.text))
    except (ValueError, RecursionError):
        return None
    return text if text is not None and is_ref(text) else None


def named_blob(ref: str, deployment: str, location: str) -> NamedBlob | None:
    """The blob of this deployment, below this location, that the ref names."""
    try:
        parsed = parse_ref(ref)
        name = relative_name(parsed.url, location) if isinstance(parsed, BlobRef) else None
    except OffloadError:
        return None
    parts = parse_blob_name(name) if name else None
    if not name or not isinstance(parsed, BlobRef) or parts is None or parts.deployment != deployment:
        return None
    return NamedBlob(ref, name, parts, parsed.size)


def own_blob(ref: str, found: FoundRow, deployment: str, location: str) -> NamedBlob | None:
    """As :func:`named_blob`, if it was written for this row: what another names is not for this one to change."""
    blob = named_blob(ref, deployment, location)
    return blob if blob and blob.is_of(found) else None
