"""The blob that a row names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offload_backend.address import BlobName, blob_scope
from offload_backend.location import location_of, relative_name
from offload_backend.ref import BlobRef, is_ref, parse_ref
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow
    from offload_backend.offloader import Offloader

__all__ = ["NamedBlob", "named_blob", "ref_of"]


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


def named_blob(ref: str, offloader: Offloader) -> NamedBlob | None:
    """The blob that the ref names, if this deployment may delete it; opens no store."""
    parts = offloader.blob_of(ref)
    parsed = parse_ref(ref) if parts else None
    if parts is None or not isinstance(parsed, BlobRef):
        return None
    name = relative_name(parsed.url, location_of(offloader.settings.path))
    return NamedBlob(ref, name, parts, parsed.size) if name else None
