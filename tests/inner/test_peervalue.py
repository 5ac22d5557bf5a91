from __future__ import annotations

import io
import itertools
import json
import math
import random
import struct
import tracemalloc
import zipfile
from typing import Any

import fsspec.compression
import fsspec.utils
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.errors import BlobCorruptError, OffloadError, UnreadableBlobError
from offload_backend.peervalue import read_peer_value
from tests.inner.values import QUICK, json_values, same

MIB = 2**20
VALUE = {"rows": [{"n": n, "text": "x" * 5} for n in range(50)], "note": "Grüße 한글 😀", "none": None, "r": 0.1}

COMPRESSIONS = [None, *sorted(set(fsspec.utils.compressions.values()))]
"""What the peer accepts in [common.io] state_store_objectstorage_compression here: all with a file name suffix."""
CHECKED = [name for name in ("bz2", "gzip", "xz", "zip") if name in COMPRESSIONS]
"""Those that carry a checksum of the content."""


class Kept(io.BytesIO):
    def close(self):
        """Keep the bytes: some of fsspec's codecs close the file they write to."""


def peer_bytes(text: bytes, compression: str | None) -> bytes:
    """What the peer stores: it opens the path with fsspec's codec and writes once."""
    file = Kept()
    writer = fsspec.compression.compr[compression](file, mode="wb")
    writer.write(text)
    if writer is not file:
        writer.close()
    return file.getvalue()


def stored(value: Any, compression: str | None) -> bytes:
    return peer_bytes(json.dumps(value).encode(), compression)


def read(data: bytes, max_bytes: int = MIB) -> Any:
    return read_peer_value([data], max_bytes=max_bytes)


def test_every_compression_that_the_peer_has_is_tried_here():
    assert {None, "gzip", "bz2", "xz", "lzma", "zip", "zstd", "lz4"} == set(COMPRESSIONS)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_the_peer_wrote_is_read(compression):
    data = stored(VALUE, compression)
    assert same(read(data), VALUE)
    pieces = [bytes([byte]) for byte in data]
    assert same(read_peer_value(pieces, max_bytes=MIB), VALUE)


@QUICK
@given(json_values | st.floats(), st.sampled_from(COMPRESSIONS))
def test_any_value_the_peer_wrote_comes_back(value, compression):
    back = read(stored(value, compression), 2**40)
    assert same(back, value) or (isinstance(value, float) and math.isnan(value) and math.isnan(back))


@pytest.mark.parametrize("value", [math.inf, -math.inf, "\ud800", 2**70, 0, False, "", [], {}])
def test_values_only_the_peer_would_write_come_back_too(value):
    assert same(read(stored(value, None)), value)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_value_of_many_reads_comes_back(compression):
    value = [random.Random(3).random() for _ in range(60_000)]
    assert read(stored(value, compression), 4 * MIB) == value


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_truncation_is_found(compression):
    data = stored(VALUE, compression)
    for size in range(len(data)):
        with pytest.raises(BlobCorruptError):
            read(data[:size])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_bit_is_an_error_of_ours_or_leaves_a_whole_value(compression):
    data = stored(VALUE, compression)
    found = 0
    for position, bit in itertools.product(range(len(data)), range(8)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << bit
        try:
            value = read(bytes(damaged))
        except OffloadError as error:
            found += isinstance(error, BlobCorruptError)
        else:
            assert value == VALUE or compression not in CHECKED
    assert found > len(data)


@QUICK
@given(st.sampled_from(COMPRESSIONS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
def test_arbitrary_damage_is_an_error_of_ours_or_leaves_a_whole_value(compression, changes):
    damaged = bytearray(stored(VALUE, compression))
    for position, byte in changes:
        damaged[position % len(damaged)] = byte
    try:
        read(bytes(damaged))
    except OffloadError as error:
        assert error.hint  # noqa: PT017 - either outcome is right
    else:
        assert compression not in CHECKED or read(bytes(damaged)) == VALUE


def empty_zip_with_a_stray_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("file", b"[1]")
        end = archive.fp.tell()
    return file.getvalue()[:end] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, end, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text",
        b"{",
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b"1" * 5000,
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ\x00",
        b"\x28\xb5\x2f\xfd",
        b"\x04\x22\x4d\x18",
        empty_zip_with_a_stray_file(),
        *(peer_bytes(b"plain text", name) for name in COMPRESSIONS),
        *(peer_bytes(b"", name) for name in COMPRESSIONS),
        *(peer_bytes(peer_bytes(b"[1]", "gzip"), name) for name in COMPRESSIONS if name),
    ],
)
def test_bytes_that_give_no_json_are_damage_and_the_hint_tells_what_to_do(data):
    with pytest.raises(BlobCorruptError) as caught:
        read(data)
    assert "set the key again" in caught.value.hint


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_value_of_exactly_the_limit_is_read_and_a_larger_one_is_not(compression):
    text = json.dumps("x" * 5000).encode()
    data = peer_bytes(text, compression)
    assert len(data) <= len(text) or compression == "zip"
    limit = max(len(text), len(data))
    assert read(data, limit) == "x" * 5000
    with pytest.raises(UnreadableBlobError, match=f"larger than {len(text) - 1} bytes") as caught:
        read(data, len(text) - 1)
    assert "max_value_bytes" in caught.value.hint


def bomb(compression: str) -> bytes:
    text = b"[" + b" " * (64 * MIB)
    if compression != "zip":
        return peer_bytes(text, compression)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # the peer's own are not compressed
        archive.writestr("file", text)
    return file.getvalue()


@pytest.mark.parametrize("compression", [name for name in COMPRESSIONS if name])
def test_a_decompression_bomb_is_stopped_at_the_limit(compression):
    data = bomb(compression)
    assert len(data) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableBlobError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", ["bz2", "gzip", "lz4", "xz", "zstd"])
def test_a_file_of_several_compressed_streams_is_one_value(compression):
    text = json.dumps(VALUE).encode()
    assert read(peer_bytes(text[:100], compression) + peer_bytes(text[100:], compression)) == VALUE


def test_an_endless_blob_is_read_no_further_than_the_limit():
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield bytes(1000)

    with pytest.raises(UnreadableBlobError):
        read_peer_value(endless(), max_bytes=10_500)
    assert len(taken) == 11


def test_a_missing_library_is_named(monkeypatch):
    data = stored(VALUE, "lz4")
    monkeypatch.delitem(fsspec.compression.compr, "lz4")
    with pytest.raises(UnreadableBlobError, match="compressed with lz4") as caught:
        read(data)
    assert caught.value.hint == "pip install lz4 where it is read"


def test_no_json_text_begins_like_a_compressed_file():
    from offload_backend.peervalue import _FORMATS

    for start in _FORMATS:
        with pytest.raises(ValueError):  # noqa: PT011 - which one is json's own affair
            json.loads(start)
        assert start[:1] not in b'{["-0123456789tfnNI \t\r\n'
