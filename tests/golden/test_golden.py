"""What is stored in people's buckets and databases stays readable, and its names do not move."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import blake3
import pytest
import zstandard

from offload_backend.address import AssetAddress, StateAddress, TaskAddress, blob_name, blob_scope, parse_blob_name
from offload_backend.blobfile import CHUNK
from offload_backend.errors import UnreadableBlobError
from offload_backend.lifecycle.contents import content_of, difference
from offload_backend.offloader import Offloader
from offload_backend.ref import BlobRef, format_ref, parse_ref
from offload_backend.row import open_envelope, row_text
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore
from tests.golden import write
from tests.inner.blobs import frames_of, seek_table
from tests.inner.values import same

HERE = Path(__file__).parent
BLOBS, SEALED = HERE / "blobs", HERE / "sealed"
PEER_FILES = sorted(file.name for file in BLOBS.glob("peer-*"))


def entries(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def address_of(facts: dict[str, Any]) -> StateAddress:
    kind = facts.pop("kind")
    if kind == "AssetAddress":
        return AssetAddress(**facts)
    region = facts.pop("region_id")
    return TaskAddress(**facts, region_id=UUID(region) if region else None)


def reader(files: dict[str, bytes]) -> Offloader:
    """An offloader whose store holds these blobs."""
    store = MemoryBlobStore(write.LOCATION)
    for name, data in files.items():
        store.put(name, [data])
    return Offloader(Settings.load({"path": write.LOCATION, "deployment": "golden"}), lambda _: store)


@pytest.mark.parametrize("entry", entries("names_v1.jsonl"), ids=lambda entry: ascii(entry["encoded_key"])[:40])
def test_a_name_is_today_what_it_was(entry):
    address = address_of(dict(entry["address"]))
    assert blob_name("golden", address, entry["key"], entry["id"], "json.zst") == entry["name"]
    assert list(blob_scope(address, entry["key"])) == [entry["scope"], entry["encoded_key"]]
    parsed = parse_blob_name(entry["name"])
    assert parsed is not None
    assert (parsed.deployment, parsed.scope, parsed.key) == ("golden", entry["scope"], entry["encoded_key"])
    assert (parsed.id, parsed.extension) == (entry["id"], "json.zst")


def test_no_two_golden_names_are_equal():
    names = [entry["name"] for entry in entries("names_v1.jsonl")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", entries("sealed_refs_v1.jsonl"), ids=lambda entry: entry["facts"]["codec"])
def test_a_ref_is_today_what_it_was(entry):
    ref = BlobRef(**entry["facts"])
    assert parse_ref(entry["text"]) == ref
    assert format_ref(ref) == entry["text"]


def test_a_ref_of_the_first_blob_format_is_today_what_it_was():
    known, unknown = entries("refs_v1.jsonl")
    ref = BlobRef(digest=known["facts"].pop("sha256"), **known["facts"])
    assert ref == write.OLD_REF == parse_ref(known["text"])
    assert format_ref(ref) == known["text"]
    with pytest.raises(UnreadableBlobError, match="the framing 'zstd_2'"):  # which no release has written
        parse_ref(unknown["text"])


@pytest.mark.parametrize("entry", entries("rows_v1.jsonl"), ids=lambda entry: entry["text"][:20])
def test_a_row_is_today_what_it_was(entry):
    assert row_text(entry["text"]) == entry["row"]
    row = json.loads(entry["row"])
    text = open_envelope(row)
    assert text == entry["text"] or same(row, json.loads(entry["text"]))


@pytest.mark.parametrize("entry", entries("blobs_v1.jsonl"), ids=lambda entry: entry["file"])
def test_a_blob_written_by_the_first_release_is_read(entry):
    data = (BLOBS / entry["file"]).read_bytes()
    value = reader({entry["name"]: data}).resolve(entry["ref"])
    assert same(value, write.VALUES[entry["file"].partition(".")[0]])


@pytest.mark.parametrize("entry", entries("sealed_v1.jsonl"), ids=lambda entry: entry["file"])
def test_a_sealed_blob_of_the_first_release_that_wrote_them_is_read(entry):
    data = (SEALED / entry["file"]).read_bytes()
    value = reader({entry["name"]: data}).resolve(entry["ref"])
    name = entry["file"].partition(".")[0]
    expected = write.VALUES.get(name) if name in write.VALUES else json.loads(b"".join(write.SHAPES[name]))
    assert same(value, expected)


@pytest.mark.parametrize(
    "entry", entries("blobs_v1.jsonl") + entries("sealed_v1.jsonl"), ids=lambda entry: entry["ref"][-90:]
)
def test_a_golden_blob_is_found_undamaged_by_verify(entry):
    folder = SEALED if "frames=sealed" in entry["ref"] else BLOBS
    store = MemoryBlobStore(write.LOCATION)
    store.put(entry["name"], [(folder / entry["file"]).read_bytes()])
    ref = parse_ref(entry["ref"])
    assert isinstance(ref, BlobRef)
    assert difference(store, entry["name"], ref.size, content_of(ref)) == ("", ref.size)


def test_every_kind_of_value_has_a_golden_blob():
    files = [f"{name}.json.zst" for name in (*write.VALUES, *write.SHAPES)]
    assert [entry["file"] for entry in entries("sealed_v1.jsonl")] == files
    assert sorted(path.name for path in SEALED.iterdir()) == sorted(files)
    old = [entry["file"] for entry in entries("blobs_v1.jsonl")]
    assert old == files[: len(old)]
    assert len(old) == 8


def test_the_golden_sealed_blobs_have_every_kind_of_frame():
    frames = [zstandard.get_frame_parameters(frame) for file in SEALED.iterdir() for frame in value_frames(file)]
    assert {frame.has_checksum for frame in frames} == {True, False}
    assert CHUNK in {frame.content_size for frame in frames}
    assert [
        len(list(value_frames(SEALED / f"{name}.json.zst"))) for name in ("empty", "two-frames", "own-frames")
    ] == [1, 5, 6]
    [raw] = value_frames(SEALED / "level-0.json.zst")
    assert len(raw) == 300_002 + 9 + 3 * 3


@pytest.mark.parametrize("file", PEER_FILES)
def test_a_blob_of_the_peer_is_read_with_every_compression_it_had(file):
    for name in ("etl/run/train/-1/key", f"assets/orders/{file}"):
        offloader = reader({name: (BLOBS / file).read_bytes()})
        value = offloader.resolve(f"s3://conn_id@golden/state/{name}")
        assert same(value, write.VALUES["records"])


def test_every_compression_of_the_peer_has_a_golden_blob():
    kinds = {file.partition(".")[0].removeprefix("peer-") for file in PEER_FILES}
    assert kinds == {"plain", "gzip", "bz2", "xz", "lzma", "zip", "zstd", "lz4"}


@pytest.mark.parametrize("file", ["names_v1.jsonl", "sealed_refs_v1.jsonl", "rows_v1.jsonl"])
def test_the_script_writes_today_what_it_wrote(file, tmp_path):
    write.write(tmp_path)
    assert (tmp_path / file).read_bytes() == (HERE / file).read_bytes()


def test_a_blob_written_today_differs_at_most_in_its_compression_and_cut(tmp_path):
    write.write(tmp_path)
    golden = {entry["file"]: entry for entry in entries("sealed_v1.jsonl")}
    for line in (tmp_path / "sealed_v1.jsonl").read_text().splitlines():
        entry = json.loads(line)
        old, new = ((home / entry["file"]).read_bytes() for home in (SEALED, tmp_path / "sealed"))
        assert header_of(new) == header_of(old)
        assert sum(raw for _, raw in seek_table(new)) == sum(raw for _, raw in seek_table(old))
        assert entry["name"] == golden[entry["file"]]["name"]
        was, now = parse_ref(golden[entry["file"]]["ref"]), parse_ref(entry["ref"])
        assert isinstance(was, BlobRef)
        assert isinstance(now, BlobRef)
        assert (was.url, was.raw, was.codec, was.frames, was.about) == (
            now.url, now.raw, now.codec, now.frames, now.about
        )  # fmt: skip
        assert was.digest == blake3.blake3(old[-was.seal :]).hexdigest()
        assert was.size == len(old)


def test_the_golden_blobs_of_the_first_format_are_still_those_that_their_refs_pin():
    for entry in entries("blobs_v1.jsonl"):
        old, was = (BLOBS / entry["file"]).read_bytes(), parse_ref(entry["ref"])
        assert isinstance(was, BlobRef)
        assert (was.digest, was.size) == (hashlib.sha256(old).hexdigest(), len(old))
        assert json.loads(header_of(old)[8:])["offload"] == 1


def header_of(data: bytes) -> bytes:
    return data[: 8 + struct.unpack_from("<I", data, 4)[0]]


def value_frames(file: Path) -> list[bytes]:
    """The frames of the encoded value."""
    return frames_of(file.read_bytes())[1:-1]
