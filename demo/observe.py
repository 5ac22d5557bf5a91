"""What the demo sees from outside: the rows in Airflow's database and the objects in the bucket."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import blake3
import orjson
import zstandard

from offload_backend.ref import BlobRef, PeerRef, parse_ref
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Blob", "Bucket", "Rows", "download", "read_rows"]


@dataclass(frozen=True)
class Rows:
    """The task's two rows: a small value kept inline, and the text of the large one's."""

    progress: tuple[dict[str, Any], ...] = ()
    checkpoint: str = ""

    @property
    def ref(self) -> BlobRef:
        """The ref inside the checkpoint's row; LookupError when the value was not offloaded."""
        ref = parse_ref(open_envelope(json.loads(self.checkpoint)) or "") if self.checkpoint else None
        if ref is None or isinstance(ref, PeerRef):
            raise LookupError(f"the checkpoint's row holds no ref: {self.checkpoint[:200]!r}")
        return ref


@dataclass(frozen=True)
class Bucket:
    """How much there is in it."""

    objects: int
    size: int

    @classmethod
    def of(cls, client: Any, name: str) -> Bucket:
        """Count now."""
        entries = client.list_objects_v2(Bucket=name).get("Contents", [])
        return cls(len(entries), sum(entry["Size"] for entry in entries))


@dataclass(frozen=True)
class Blob:
    """A blob opened with nothing but an S3 client, BLAKE3, Zstandard and JSON.

    ``digest`` is that of its seal, and ``damaged`` how many of its frames are not those that the seal names.
    """

    digest: str
    damaged: int
    size: int
    raw_size: int
    value: Any


def read_rows(database: Path, run_id: str) -> Rows:
    """Both rows as they are now, in one read."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        found = dict(
            connection.execute("SELECT key, value FROM task_state_store WHERE run_id = ?", (run_id,)).fetchall()
        )
    progress = json.loads(found.get("progress", "[]"))
    inline = open_envelope(progress)
    return Rows(tuple(json.loads(inline) if inline else progress), found.get("checkpoint", ""))


def download(client: Any, ref: BlobRef, target: Path) -> Blob:
    """Fetch the blob a ref names into ``target`` and open it without this project's code."""
    bucket, _, key = ref.url.partition("://")[2].partition("/")
    client.download_file(bucket, key, str(target))
    stored = target.read_bytes()
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored), read_across_frames=True)
    raw = reader.read()
    digest = blake3.blake3(stored[-ref.seal :]).hexdigest()
    return Blob(digest, _damaged(stored), len(stored), len(raw), orjson.loads(raw))


def _damaged(stored: bytes) -> int:
    """Frames whose BLAKE3 is not in the index, which is the last that the seek table names."""
    [count] = struct.unpack("<I", stored[-9:-5])
    frames, start = [], 0
    for size, _ in struct.iter_unpack("<II", stored[-9 - 8 * count : -9]):
        frames.append(stored[start : start + size])
        start += size
    digests = frames.pop()[8:]
    return sum(blake3.blake3(frame).digest() != digests[32 * n : 32 * n + 32] for n, frame in enumerate(frames))
