"""Writes the golden files, with fixed ids and dates: ``python -m tests.golden.write DIRECTORY``.

Run once for each format version. The files of a released version are never written again: they stand for
what is stored in people's buckets and databases. ``blobs_v1.jsonl``, what it lists in ``blobs/``, and
``refs_v1.jsonl`` are of the first blob format, which nothing writes any more.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import fsspec.compression

from offload_backend import blobs as blobs_module
from offload_backend.address import AssetAddress, StateAddress, TaskAddress, blob_name, blob_scope
from offload_backend.blobfile import CHUNK, BlobFile
from offload_backend.blobstore import Buffer
from offload_backend.offloader import Offloader
from offload_backend.ref import BlobRef, format_ref
from offload_backend.row import row_text
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore

ID = "01999999-9999-7aaa-8bbb-cccccccccccc"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
REGION = UUID("0199aaaa-0000-7000-8000-00000000abcd")
LOCATION = "s3://golden/state"
DIGEST = "0123456789abcdef" * 4
TASK = TaskAddress("etl", "manual__2026-01-02T03:04:05+00:00", "train")

ADDRESSES: list[StateAddress] = [
    TASK,
    TaskAddress("etl", "r", "train", 0),
    TaskAddress("etl", "r", "train", 2147483647),
    TaskAddress("etl", "r", "train", -1, UUID(int=0)),
    TaskAddress("etl", "r", "train", 7, REGION),
    TaskAddress("assets", "orders", "region=1", -1),
    TaskAddress("..", ".", "", -1),
    TaskAddress("d" * 250, "é" * 250, "😀" * 250, -1, REGION),
    AssetAddress(name="orders/daily"),
    AssetAddress(uri="orders/daily"),
    AssetAddress(uri="s3://bucket/orders?x=1#y"),
    AssetAddress(name=""),
]
KEYS = [
    "checkpoint",
    "a/b/c",
    "a%2Fb%2Fc",
    "model.gz",
    ".",
    "..",
    "...",
    "",
    "~",
    " +&=?#",
    "Ключ",
    "鍵" * 512,
    "é",
    "e\u0301",
    "\ud800",
    "😀",
    "line\nbreak\x00",
    "k" * 160,
    "k" * 161,
    "k" * 126 + "é" * 20,
    "k" * 125 + "é" * 20,
    "k" * 124 + "é" * 20,
]
OLD_REF = BlobRef(
    url=f"{LOCATION}/v1/golden/task/d/r/t/-1/k/{ID}.json.zst",
    size=1,
    raw=2,
    digest=DIGEST,
    codec="json",
    frames="zstd",
)
REFS = [
    dataclasses.replace(OLD_REF, size=300, seal=113, frames="sealed"),
    BlobRef(
        url="file:///shared/state/v1/default/asset/name=a%2Fb/k~/x.json.zst",
        size=0,
        raw=9_999_999_999_999_999_999,
        seal=9_999_999_999_999_999_999,
        digest=DIGEST[::-1],
        codec="tree-2",
        about="dict[20] of a&b=c#d%20+é😀",
    ),
]
ROWS = [
    format_ref(OLD_REF),
    "s3://conn_id@bucket/dag/run/task/-1/key.gz",
    '{"epoch":3}',
    '"__airflow_state_ref__"',
    '{"__airflow_state_ref__":"s3://bucket/not-a-ref"}',
    '"한글 \\" 😀"',
]
VALUES: dict[str, Any] = {
    "scalar": 0,
    "floats": [-0.0, 0.1, 5e-324, 1.7976931348623157e308, 1e16, 1.0],
    "integers": [0, -1, 2**53 + 1, 2**64 - 1, -(2**63)],
    "texts": ["", "\x00\x7f", '"\\/', "한글", "😀", "\u2028", "null"],
    "nested": {"b": [[], {}, [None, True, False, {"": {"z": 1, "a": 2}}]], "a": {"ключ": "значение"}},
    "records": [{"id": n, "name": f"user {n}", "score": n / 7} for n in range(200)],
    "two-frames": "x" * (CHUNK + 1000),
    "checkpoint": {"epoch": 3, "loss": [0.5, 0.25], "done": False},  # the example in docs/formats.md
    "empty": "",
    "level-0": "x" * 300_000,
}
SHAPES: dict[str, list[Buffer]] = {
    "own-frames": [
        b'"',
        memoryview(b"x" * 2**20),
        b"y",
        memoryview(b"z" * (CHUNK + 5)),
        b'"',
    ],
}
"""The pieces that an encoder hands over, of a text: large views begin frames of their own."""


def names() -> Iterator[dict[str, Any]]:
    """Every address with one key, and every key with one address."""
    for address, key in [*((address, "k") for address in ADDRESSES), *((TASK, key) for key in KEYS)]:
        scope, encoded = blob_scope(address, key)
        yield {
            "address": {"kind": type(address).__name__, **dataclasses.asdict(address)},
            "key": key,
            "id": ID,
            "name": blob_name("golden", address, key, ID, "json.zst"),
            "scope": scope,
            "encoded_key": encoded,
        }


def refs() -> Iterator[dict[str, Any]]:
    """The text and the facts of each ref."""
    return ({"text": format_ref(ref), "facts": facts_of(ref)} for ref in REFS)


def facts_of(ref: BlobRef) -> dict[str, Any]:
    """Only a ref of an encrypted blob has a key."""
    return {name: value for name, value in dataclasses.asdict(ref).items() if name != "key" or value}


def rows() -> Iterator[dict[str, Any]]:
    """What is kept, and the row that keeps it."""
    return ({"text": text, "row": row_text(text)} for text in ROWS)


def blobs() -> Iterator[tuple[dict[str, Any], bytes]]:
    """A sealed blob of each value, with the ref that its row would hold."""
    store = MemoryBlobStore(LOCATION)
    for number, (name, value) in enumerate(VALUES.items()):
        blob_id = f"{ID[:-2]}{number:02}"
        level = 0 if name == "level-0" else 1
        settings = Settings.load({"path": LOCATION, "deployment": "golden", "inline_limit": 0})
        offloader = Offloader(settings.model_copy(update={"compression_level": level}), lambda _: store)
        with patch.object(blobs_module, "new_blob_id", lambda fixed=blob_id: fixed), _fixed_clock():
            text = offloader.offload(value, TaskAddress("etl", "run", name, number), "key")
        stored = next(info.name for info in store.list() if blob_id in info.name)
        yield {"file": f"{name}.json.zst", "name": stored, "ref": text}, b"".join(store.get(stored))


def shaped_blobs() -> Iterator[tuple[dict[str, Any], bytes]]:
    """Blobs whose frames depend on how the encoder cut the value; the refs are as above."""
    for number, (name, pieces) in enumerate(SHAPES.items(), start=len(VALUES)):
        blob_id = f"{ID[:-2]}{number:02}"
        address = TaskAddress("etl", "run", name, number)
        task = {"dag": "etl", "run": "run", "task": name, "index": number}
        created = NOW.isoformat(timespec="milliseconds")
        header = {"id": blob_id, "task": task, "key": "key", "codec": "json", "created": created}
        blob = BlobFile(header, pieces, level=1, max_raw=2**30)
        stored, data = blob_name("golden", address, "key", blob_id, "json.zst"), b"".join(blob)
        facts = {"size": blob.size, "raw": blob.raw, "seal": blob.seal, "digest": blob.blake3}
        ref = BlobRef(url=f"{LOCATION}/{stored}", codec="json", about="str", **facts)
        yield {"file": f"{name}.json.zst", "name": stored, "ref": format_ref(ref)}, data


def peer_blobs() -> Iterator[tuple[str, bytes]]:
    """The records as Airflow's common-io backend stores them, with every compression it accepts."""
    text = json.dumps(VALUES["records"]).encode()
    for suffix, compression in {"": None, **fsspec.utils.compressions}.items():
        file = _Kept()
        writer = fsspec.compression.compr[compression](file, mode="wb")
        writer.write(text)
        if writer is not file:
            writer.close()
        yield f"peer-{compression or 'plain'}{suffix and '.'}{suffix}", file.getvalue()


class _Kept(io.BytesIO):
    def close(self) -> None:
        """Keep the bytes: some of fsspec's codecs close the file they write to."""


def _fixed_clock() -> Any:
    clock = patch.object(blobs_module, "datetime")
    clock.new = type("FixedClock", (), {"now": staticmethod(NOW.astimezone)})
    return clock


def lines(entries: Iterator[dict[str, Any]]) -> str:
    """The entries as ASCII text, one JSON object a line."""
    return "".join(f"{json.dumps(entry, default=str)}\n" for entry in entries)


def write(directory: Path) -> None:
    """Write every golden file below the directory."""
    for name in ("blobs", "sealed"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "names_v1.jsonl").write_text(lines(names()))
    (directory / "sealed_refs_v1.jsonl").write_text(lines(refs()))
    (directory / "rows_v1.jsonl").write_text(lines(rows()))
    index = []
    for entry, data in chain(blobs(), shaped_blobs()):
        (directory / "sealed" / entry["file"]).write_bytes(data)
        index.append(entry)
    (directory / "sealed_v1.jsonl").write_text(lines(iter(index)))
    for name, data in peer_blobs():
        (directory / "blobs" / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
