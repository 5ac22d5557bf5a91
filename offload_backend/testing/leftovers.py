"""What a test has left behind: blobs that no row refers to, and refs that do not resolve."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offload_backend.address import parse_blob_name
from offload_backend.errors import OffloadError
from offload_backend.rootsource import root_of
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import CoreStore
    from offload_backend.offloader import Offloader

__all__ = ["Leftovers", "ids_in", "leftovers"]


@dataclass(frozen=True)
class Leftovers:
    """``orphans`` are names of blobs; ``dangling`` says of each row that does not give its value, why."""

    orphans: tuple[str, ...] = ()
    dangling: tuple[str, ...] = ()


def leftovers(rows: CoreStore, store: BlobStore, offloader: Offloader, let_go: Collection[str] = ()) -> Leftovers:
    """What is left, everything read whole and verified. Blobs whose ids are in ``let_go`` are no orphans."""
    found = list(rows.rows())
    kept = {blob_id for row in found for blob_id in ids_in(row.text)}.union(let_go)
    listed = sorted(info.name for info in store.list())
    orphans = tuple(name for name in listed if (blob := parse_blob_name(name)) and blob.id not in kept)
    dangling = []
    for row in found:
        text = open_envelope(json.loads(row.text))
        if text is None:
            continue
        try:
            offloader.resolve(text)
        except OffloadError as error:
            dangling.append(f"{row.address} {row.key!r}: {type(error).__name__}: {error.message}")
    return Leftovers(orphans, tuple(dangling))


def ids_in(row_text: str) -> tuple[str, ...]:
    """The ids of the blobs that the row keeps alive."""
    root = root_of(row_text, None, "")
    return root.ids if root else ()
