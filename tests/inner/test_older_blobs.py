"""Blobs of format 1, which nothing writes any more: they are read, or found to be damaged, as ever."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import struct
import tracemalloc
from typing import Any

import pytest
import zstandard

from offload_backend.blobfile import read_whole
from offload_backend.errors import (
    BlobCorruptError,
    StoreError,
    UnreadableBlobError,
)
from tests.inner.blobs import CHUNK, ID, NOISE, OTHER, TEXT, OldStored, compressed, skippable


def forged(data: bytes, raw: int = 10, blob_id: str = ID) -> bytearray:
    """Read with facts that fit the bytes, as somebody who can write both the row and the bucket would."""
    return read_whole([data], size=len(data), raw=raw, sha256=hashlib.sha256(data).hexdigest(), blob_id=blob_id)


@pytest.mark.parametrize("size", [0, 1, 300, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
@pytest.mark.parametrize("width", [7, 2**16, 10**8])
def test_what_was_written_is_read_however_it_comes(size, width):
    size = min(size, CHUNK // 4) if width == 7 else size
    stored = OldStored(NOISE[:size])
    cut = [stored.data[start : start + width] for start in range(0, len(stored.data), width)]
    assert stored.read_chunks(cut) == NOISE[:size]


def test_names_as_long_as_were_ever_written_are_read():
    data = skippable(json.dumps({"offload": 1, "id": ID, "key": "k" * 65_000}).encode()) + compressed(b"x" * 10)
    assert forged(data) == b"x" * 10


def test_an_error_of_the_store_in_the_middle_comes_through():
    stored = OldStored(NOISE)

    def failing():
        yield stored.data[: CHUNK + 100]
        raise StoreError("connection lost", reason="unreachable", retryable=True)

    with pytest.raises(StoreError, match="connection lost"):
        stored.read_chunks(failing())


def test_chunks_of_nothing_and_views_are_bytes_too():
    stored = OldStored(TEXT)
    view = memoryview(stored.data)
    assert stored.read_chunks([b"", bytes(view[:50]), b"", bytes(view[50:]), b""]) == TEXT


def test_every_flipped_bit_is_found():
    stored = OldStored(TEXT)
    for position in range(len(stored.data)):
        for bit in range(8):
            damaged = bytearray(stored.data)
            damaged[position] ^= 1 << bit
            with pytest.raises(BlobCorruptError):
                stored.read(bytes(damaged))


@pytest.mark.parametrize("replacement", [0x00, 0xFF, 0x28, 0x31, 0x39])
def test_every_overwritten_byte_is_found(replacement):
    stored = OldStored(TEXT)
    for position, old in enumerate(stored.data):
        if old != replacement:
            damaged = stored.data[:position] + bytes([replacement]) + stored.data[position + 1 :]
            with pytest.raises(BlobCorruptError):
                stored.read(damaged)


def test_every_truncation_is_found():
    stored = OldStored(TEXT)
    for size in range(len(stored.data)):
        with pytest.raises(BlobCorruptError):
            stored.read(stored.data[:size])


def test_a_truncation_never_gives_a_part_of_the_value_even_with_a_ref_that_fits_it():
    stored = OldStored(TEXT)
    needless = 4 + 8 + 2 * 8 + 9  # the frame's checksum and the seek table
    for size in range(len(stored.data) - needless):
        with pytest.raises(BlobCorruptError):
            forged(stored.data[:size], raw=len(TEXT))
    for size in range(len(stored.data) - needless, len(stored.data)):
        with contextlib.suppress(BlobCorruptError):
            assert forged(stored.data[:size], raw=len(TEXT)) == TEXT


@pytest.mark.parametrize("extra", [b"\0", b"x", skippable(b""), compressed(b""), compressed(b"1")])
def test_appended_bytes_are_found(extra):
    stored = OldStored(TEXT)
    with pytest.raises(BlobCorruptError):
        stored.read(stored.data + extra)


@pytest.mark.parametrize("extra", [b"\0", b"x", b"PK\3\4", compressed(b"1")])
def test_appended_bytes_are_found_even_with_a_ref_that_fits_them(extra):
    with pytest.raises(BlobCorruptError):
        forged(OldStored(TEXT).data + extra, raw=len(TEXT))


def test_another_blob_in_its_place_is_found():
    mine, other = OldStored(TEXT), OldStored(TEXT, OTHER)
    assert len(mine.data) == len(other.data)
    with pytest.raises(BlobCorruptError, match="sha256"):
        mine.read(other.data)
    with pytest.raises(BlobCorruptError, match="the header names the blob"):
        other.read(blob_id=ID)


@pytest.mark.parametrize("change", [{"raw": len(TEXT) - 1}, {"raw": len(TEXT) + 1}, {"raw": 0}])
def test_a_wrong_size_after_decompression_is_found(change):
    with pytest.raises(BlobCorruptError, match="after decompression"):
        OldStored(TEXT).read(**change)


def test_the_message_tells_the_expected_and_the_found():
    stored = OldStored(TEXT)
    with pytest.raises(BlobCorruptError, match=f"expected {len(stored.data)} bytes, got {len(stored.data) - 1}$"):
        stored.read(stored.data[:-1])
    with pytest.raises(BlobCorruptError, match=f"expected {len(stored.data)} bytes, got more"):
        stored.read(stored.data + b"x")


def test_a_newer_format_says_upgrade_once_its_digest_is_right():
    data = skippable(b'{"offload":2,"id":"x","surprise":true}') + os.urandom(100)
    with pytest.raises(UnreadableBlobError, match="format 2 is newer") as caught:
        forged(data)
    assert "upgrade" in caught.value.hint


def test_a_newer_format_with_a_wrong_digest_is_damage():
    data = skippable(b'{"offload":2,"id":"x"}')
    with pytest.raises(BlobCorruptError, match="sha256"):
        read_whole([data], size=len(data), raw=1, sha256="0" * 64, blob_id=ID)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\x28\xb5\x2f\xfd",
        struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + b"{}",
        struct.pack("<II", 0x184D2A50, 65537) + b" " * 70_000,
        struct.pack("<II", 0x184D2A51, 2) + b"{}",
        skippable(b""),
        skippable(b"not json"),
        skippable(b"\xff"),
        skippable(b"[]"),
        skippable(b"{}"),
        skippable(b'{"offload":"1"}'),
        skippable(b'{"offload":null}'),
        skippable(b"[" * 60_000),
        skippable(json.dumps({"offload": 1, "id": ID}).encode()),
        skippable(json.dumps({"offload": 1, "id": ID}).encode(), 0x184D2A51) + compressed(b"x" * 10),
        skippable(json.dumps({"offload": 1, "id": ID}).encode()) + b"plain text",
        skippable(json.dumps({"offload": 1}).encode()) + compressed(b"x" * 10),
        skippable(json.dumps({"offload": 1, "id": [ID]}).encode()) + compressed(b"x" * 10),
    ],
)
def test_files_that_are_not_blobs_are_damage_even_with_a_ref_that_fits_them(data):
    with pytest.raises(BlobCorruptError):
        forged(data)


def test_a_forged_length_of_the_header_takes_no_memory():
    data = struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + bytes(100)
    assert peak_of_damage(lambda: forged(data)) < 2**20


def test_a_header_longer_than_any_is_not_even_read():
    taken = []

    def chunks():
        yield struct.pack("<II", 0x184D2A50, 2**24)
        for n in range(2**8):
            taken.append(n)
            yield b" " * 2**16

    with pytest.raises(BlobCorruptError, match="does not begin with the header"):
        read_whole(chunks(), size=2**24 + 8, raw=1, sha256="0" * 64, blob_id=ID)
    assert not taken


def test_a_frame_that_wants_a_huge_window_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = compressor.compress(bytes(1000)) + compressor.flush()
    data = skippable(json.dumps({"offload": 1, "id": ID}).encode()) + frame
    with pytest.raises(BlobCorruptError, match="does not decompress"):
        forged(data, raw=1000)


def peak_of_damage(call: Any) -> int:
    """The most bytes in use while the call finds out that a blob is damaged."""
    tracemalloc.start()
    try:
        with pytest.raises(BlobCorruptError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(size: int, frames: int) -> list[bytes]:
    compressor = zstandard.ZstdCompressor().compressobj()
    frame = b"".join(compressor.compress(bytes(2**20)) for _ in range(size >> 20)) + compressor.flush()
    return [skippable(json.dumps({"offload": 1, "id": ID}).encode()), *[frame] * frames]


@pytest.mark.parametrize("frames", [1, 50])
def test_a_decompression_bomb_is_stopped_at_the_size_its_ref_states(frames):
    parts = bomb(2**26, frames)
    data = b"".join(parts)
    taken = []

    def chunks():
        for part in parts:
            taken.append(part)
            yield part

    facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "blob_id": ID}
    peak = peak_of_damage(lambda: read_whole(chunks(), raw=3 * 2**20, **facts))
    assert peak < 16 * 2**20
    assert len(taken) == 2


def test_a_ref_that_claims_ten_terabytes_takes_no_memory():
    stored = OldStored(TEXT)
    ten = 10 * 2**40
    assert peak_of_damage(lambda: stored.read(raw=ten)) < 2**23
    assert peak_of_damage(lambda: stored.read(size=ten, raw=ten)) < 2**23


def test_a_source_longer_than_the_ref_says_is_not_read_to_its_end():
    stored = OldStored(NOISE[:1000])
    taken = []

    def endless():
        yield stored.data
        for n in itertools.count():
            taken.append(n)
            yield bytes(2**16)

    with pytest.raises(BlobCorruptError, match="got more"):
        read_whole(endless(), **stored.facts)
    assert len(taken) == 1
