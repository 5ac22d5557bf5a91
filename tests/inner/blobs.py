"""Blobs for the tests of the blob format, and an independent reader of their seek table."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from typing import Any

from offload_backend.blobfile import CHUNK, BlobFile, read_blob

ID = "01999999-0000-7000-8000-000000000001"
OTHER = "01999999-0000-7000-8000-000000000002"
HEADER = {"id": ID, "asset": {"name": "a"}, "key": "k\ud800", "codec": "json"}
NOISE = random.Random(7).randbytes(2 * CHUNK + 5)
TEXT = json.dumps({"rows": [{"n": n, "sq": n * n} for n in range(60)]}).encode()


class Stored:
    """A blob as bytes, with the facts that its ref would state."""

    def __init__(self, content: bytes, blob_id: str = ID, level: int = 1) -> None:
        blob = BlobFile({**HEADER, "id": blob_id}, [content], level=level, max_raw=2**40)
        self.data = b"".join(blob)
        self.facts: dict[str, Any] = {"size": blob.size, "raw": blob.raw, "sha256": blob.sha256, "blob_id": blob_id}

    def read(self, data: bytes | None = None, **changed: Any) -> bytearray:
        return read_blob([self.data if data is None else data], **{**self.facts, **changed})


def forged(data: bytes, raw: int = 10, blob_id: str = ID) -> bytearray:
    """Read with facts that fit the bytes, as somebody who can write both the row and the bucket would."""
    return read_blob([data], size=len(data), raw=raw, sha256=hashlib.sha256(data).hexdigest(), blob_id=blob_id)


def skippable(content: bytes, magic: int = 0x184D2A50) -> bytes:
    return struct.pack("<II", magic, len(content)) + content


def seek_table(data: bytes) -> list[tuple[int, int]]:
    """(stored, raw) bytes of each frame, read as the Zstandard seekable format 0.1.0 says."""
    count, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert (magic, descriptor) == (0x8F92EAB1, 0)
    table = data[-9 - 8 * count : -9]
    assert struct.unpack("<II", data[-17 - 8 * count : -9 - 8 * count]) == (0x184D2A5E, 8 * count + 9)
    return [struct.unpack_from("<II", table, 8 * n) for n in range(count)]
