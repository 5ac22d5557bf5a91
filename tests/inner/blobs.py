"""Blobs for the tests of the blob formats, with writers and readers that share no code with the package."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import blake3
import pytest
import zstandard

from offload_backend.blobfile import CHUNK, BlobFile, SealedBlob, read_whole, reader, seal, writer
from offload_backend.blobfile.frames import FLOW
from offload_backend.blobstore import Buffer
from offload_backend.errors import BlobCorruptError

ID = "01999999-0000-7000-8000-000000000001"
OTHER = "01999999-0000-7000-8000-000000000002"
HEADER = {"id": ID, "asset": {"name": "a"}, "key": "k\ud800", "codec": "json"}
NOISE = random.Random(7).randbytes(2 * CHUNK + 5)
TEXT = json.dumps({"rows": [{"n": n, "sq": n * n} for n in range(60)]}).encode()
MIB = 2**20


class Stored:
    """A blob as bytes, with the facts that its ref would state."""

    def __init__(self, *pieces: Buffer, blob_id: str = ID, level: int = 1, **header: Any) -> None:
        blob = BlobFile({**HEADER, "id": blob_id, **header}, pieces, level=level, max_raw=2**40)
        self.data = b"".join(blob)
        self.facts: dict[str, Any] = {
            "size": blob.size, "raw": blob.raw, "seal": blob.seal, "blake3": blob.blake3, "blob_id": blob_id,
        }  # fmt: skip

    def open(self, data: bytes | None = None, *, concurrency: int = 4, **changed: Any) -> SealedBlob:
        """As a reader with the ref finds it, be its facts changed, if the store holds ``data``."""
        facts = {**self.facts, **changed}
        fetch = Fetched(self.data if data is None else data, facts["size"])
        return SealedBlob(fetch, **facts, concurrency=concurrency)

    def open_with(self, fetch: Callable[[int, memoryview], None], concurrency: int = 4) -> SealedBlob:
        """From a store that does as the test says."""
        return SealedBlob(fetch, **self.facts, concurrency=concurrency)

    def read(self, data: bytes | None = None, **changed: Any) -> bytearray:
        """All of the encoded value."""
        blob = self.open(data, **changed)
        return blob.read(0, blob.size)


class Forged(Stored):
    """Any frames, each with the size that it claims to hold, under a seal and facts that fit them.

    As somebody who can write both the row and the bucket would make it; ``seal`` changes what the seal says, and
    ``hidden`` stands before it.
    """

    def __init__(self, frames: Sequence[tuple[bytes, int]], *, header: bytes = b"", **seal: Any) -> None:
        head = header or skippable(json.dumps({"offload": 2, **HEADER}).encode())
        stored = [head, *(frame for frame, _ in frames)]
        raws = [0, *(raw for _, raw in frames)]
        entries = seal.get("entries", [*zip(map(len, stored), raws, strict=True)])
        digests = seal.get("digests", [blake3.blake3(frame).digest() for frame in stored])
        index = skippable(b"".join(digests), seal.get("index_magic", 0x184D2A51))
        rows = [*entries, *seal.get("last_entries", [(len(index), 0)])]
        table = b"".join(struct.pack("<II", *row) for row in rows)
        footer = struct.pack(
            "<IBI", seal.get("count", len(rows)), seal.get("flags", 0), seal.get("magic", 0x8F92EAB1)
        )
        end = index + skippable(table + footer, seal.get("table_magic", 0x184D2A5E))
        self.data = b"".join(stored) + seal.get("hidden", b"") + end
        raw = seal.get("raw", sum(raw for _, raw in entries))
        self.facts = {
            "size": len(self.data), "raw": raw, "seal": len(end), "blake3": blake3.blake3(end).hexdigest(),
            "blob_id": ID,
        }  # fmt: skip


class OldStored(Stored):
    """A blob of format 1, as releases before there were seals wrote it."""

    def __init__(self, content: bytes, blob_id: str = ID, level: int = 1) -> None:
        compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
        frames = [skippable(json.dumps({"offload": 1, **HEADER, "id": blob_id}).encode())]
        frames += map(compressor.compress, chunks)
        sizes = zip(map(len, frames), [0, *map(len, chunks)], strict=True)
        table = b"".join(struct.pack("<II", *entry) for entry in sizes)
        footer = struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
        self.data = b"".join(frames) + skippable(table + footer, 0x184D2A5E)
        self.facts = {
            "size": len(self.data), "raw": len(content), "sha256": hashlib.sha256(self.data).hexdigest(),
            "blob_id": blob_id,
        }  # fmt: skip

    def read(self, data: bytes | None = None, **changed: Any) -> bytearray:
        return self.read_chunks([self.data if data is None else data], **changed)

    def read_chunks(self, chunks: Iterable[bytes], **changed: Any) -> bytearray:
        return read_whole(chunks, **{**self.facts, **changed})


class Fetched:
    """``BlobStore.read_into`` of one blob, which counts what it is asked for."""

    def __init__(self, data: bytes, total: int) -> None:
        self.data, self.total = data, total
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, memory: memoryview) -> None:
        self.asked.append((start, len(memory)))
        if len(self.data) != self.total:
            raise BlobCorruptError(f"expected {self.total} bytes, got {len(self.data)}")
        memory[:] = self.data[start : start + len(memory)]


def skippable(content: bytes, magic: int = 0x184D2A50) -> bytes:
    return struct.pack("<II", magic, len(content)) + content


def compressed(content: bytes, **options: Any) -> bytes:
    """One Zstandard frame."""
    return zstandard.ZstdCompressor(**options).compress(content)


def repeated(declared: int, actual: int) -> bytes:
    """A frame of few bytes that says to hold ``declared`` bytes, and holds ``actual`` times the same."""
    sizes = [min(131072, actual - start) for start in range(0, actual, 131072)]
    heads = [(size << 3 | 1 << 1 | (n == len(sizes) - 1)).to_bytes(3, "little") for n, size in enumerate(sizes)]
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", declared) + b"".join(head + b"x" for head in heads)


def seek_table(data: bytes) -> list[tuple[int, int]]:
    """(stored, raw) bytes of each frame, read as the Zstandard seekable format 0.1.0 says."""
    count, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert (magic, descriptor) == (0x8F92EAB1, 0)
    table = data[-9 - 8 * count : -9]
    assert struct.unpack("<II", data[-17 - 8 * count : -9 - 8 * count]) == (0x184D2A5E, 8 * count + 9)
    return [struct.unpack_from("<II", table, 8 * n) for n in range(count)]


def frames_of(data: bytes) -> list[bytes]:
    """Every frame that the seek table names, the header first and the index last."""
    sizes = [size for size, _ in seek_table(data)]
    return [data[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


@contextmanager
def limits(
    chunk: int = CHUNK, own: int = MIB, whole: int = reader.WHOLE, fetch: int = reader.FETCH, few: int = MIB
) -> Iterator[None]:
    """Other sizes than those of the format and of the reader, so that little data shows what much does."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, seal):
            patch.setattr(module, "CHUNK", chunk)
        patch.setattr(writer, "FLOW", min(chunk, FLOW))
        patch.setattr(reader, "CHUNK", max(chunk, 1024))  # the smallest window of Zstandard
        for module in (writer, seal):
            patch.setattr(module, "OWN_FRAME", own)
        for name, value in (("WHOLE", whole), ("FETCH", fetch), ("_FEW", few)):
            patch.setattr(reader, name, value)
        yield


def threads() -> list[str]:
    """Those of ours that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("offload-")]
