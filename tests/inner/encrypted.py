"""Encrypted blobs for the tests, and what somebody without the key can make of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import blake3

from offload_backend.blobfile import BlobFile, SealedBlob
from offload_backend.blobstore import Buffer
from offload_backend.crypto import Secret
from tests.inner.blobs import HEADER, ID, Fetched, Stored, frames_of, seek_table, skippable

KEY, ANOTHER_KEY = b"k" * 32, b"l" * 32


class Encrypted(Stored):
    """An encrypted blob as bytes, with the facts that its ref would state."""

    def __init__(
        self, *pieces: Buffer, secret: Secret | None = None, blob_id: str = ID, level: int = 1, **header: Any
    ) -> None:
        self.secret = secret or Secret(KEY)
        facts = {**HEADER, "id": blob_id, **header}
        blob = BlobFile(facts, pieces, level=level, max_raw=2**40, secret=self.secret)
        self.data = b"".join(blob)
        self.facts = {
            "size": blob.size,
            "raw": blob.raw,
            "seal": blob.seal,
            "blake3": blob.blake3,
            "blob_id": blob_id,
        }

    def open(self, data: bytes | None = None, *, concurrency: int = 4, **changed: Any) -> SealedBlob:
        """As a reader with the ref finds it, who has the key."""
        facts = {"keys": lambda wrapped: [self.secret.key], **self.facts, **changed}
        fetch = Fetched(self.data if data is None else data, facts["size"])
        return SealedBlob(fetch, **facts, concurrency=concurrency)

    def frames(self) -> list[tuple[bytes, int]]:
        """Every frame above the index, the header first and the closing frame last, and what it holds."""
        raws = [raw for _, raw in seek_table(self.data)]
        return list(zip(frames_of(self.data), raws, strict=True))[:-1]


class Resealed(Encrypted):
    """These frames under a seal and facts that fit them, as somebody makes it who may write row and bucket."""

    def __init__(self, frames: Sequence[tuple[bytes, int]], *, blob_id: str = ID) -> None:
        self.secret = Secret(KEY)
        index = skippable(b"".join(blake3.blake3(frame).digest() for frame, _ in frames), 0x184D2A51)
        rows = [*((len(frame), raw) for frame, raw in frames), (len(index), 0)]
        table = b"".join(struct.pack("<II", *row) for row in rows)
        end = index + skippable(table + struct.pack("<IBI", len(rows), 0, 0x8F92EAB1), 0x184D2A5E)
        self.data = b"".join(frame for frame, _ in frames) + end
        self.facts = {
            "size": len(self.data),
            "raw": sum(raw for _, raw in frames),
            "seal": len(end),
            "blake3": blake3.blake3(end).hexdigest(),
            "blob_id": blob_id,
        }
