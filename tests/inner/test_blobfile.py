from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
import struct
import subprocess
import threading

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend import blobfile
from offload_backend.blobfile import CHUNK, BlobFile, read_blob
from offload_backend.errors import (
    InvalidKeyError,
    StoreError,
    UnsupportedValueError,
)
from tests.inner.blobs import HEADER, ID, NOISE, OTHER, TEXT, Stored, seek_table
from tests.inner.values import QUICK

SHELL = shutil.which("zstd") is None or shutil.which("jq") is None


@QUICK
@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 19), st.lists(st.integers(0, 300), max_size=5))
@example(b"", 1, 1, [])
@example(b"x" * 64, 32, 1, [])
@example(b"x" * 65, 32, 1, [32])
def test_what_went_in_comes_out_however_it_is_cut(content, chunk, level, cuts):
    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobfile, "CHUNK", chunk)
        pieces = [content[a:b] for a, b in itertools.pairwise(bounds)]
        blob = BlobFile(HEADER, pieces, level=level, max_raw=len(content))
        data = b"".join(blob)
    facts = {"size": len(data), "raw": len(content), "sha256": hashlib.sha256(data).hexdigest()}
    assert {"size": blob.size, "raw": blob.raw, "sha256": blob.sha256} == facts
    for width in (1, 7, 10**6):
        stored = (data[n : n + width] for n in range(0, len(data), width))
        assert read_blob(stored, **facts, blob_id=ID) == content


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
def test_the_frames_hold_exactly_a_chunk_each_and_the_rest(size):
    stored = Stored(NOISE[:size])
    assert stored.read() == NOISE[:size]
    chunks = [raw for _, raw in seek_table(stored.data)][1:]
    assert sum(chunks) == size
    assert all(raw == CHUNK for raw in chunks[:-1])
    assert all(0 < raw <= CHUNK for raw in chunks)


def test_any_frame_can_be_found_by_the_seek_table_and_read_alone():
    stored = Stored(NOISE)
    entries = seek_table(stored.data)
    assert sum(size for size, _ in entries) + 8 + 8 * len(entries) + 9 == len(stored.data)
    start = read = 0
    for size, raw in entries:
        frame = stored.data[start : start + size]
        if raw:
            parameters = zstandard.get_frame_parameters(frame)
            assert (parameters.content_size, parameters.has_checksum, parameters.dict_id) == (raw, True, 0)
            assert zstandard.ZstdDecompressor().decompress(frame) == NOISE[read : read + raw]
        start, read = start + size, read + raw
    assert read == len(NOISE)


def test_the_header_tells_whose_blob_it_is():
    data = Stored(TEXT).data
    magic, length = struct.unpack("<II", data[:8])
    assert magic == 0x184D2A50
    assert json.loads(data[8 : 8 + length]) == {"offload": 1, **HEADER}


def test_equal_chunks_make_equal_frames():
    first, second = Stored(NOISE), Stored(NOISE[:CHUNK] + b"changed", OTHER)
    (header, _), (frame, _) = seek_table(first.data)[:2]
    assert seek_table(second.data)[1] == (frame, CHUNK)
    assert first.data[header : header + frame] == second.data[header : header + frame]


@pytest.mark.skipif(SHELL, reason="needs the commands zstd and jq")
def test_the_commands_zstd_and_jq_open_a_blob(tmp_path):
    file = tmp_path / "blob.json.zst"
    file.write_bytes(Stored(TEXT).data)
    subprocess.run(["zstd", "--test", "--quiet", file], check=True, timeout=60)
    text = subprocess.run(["zstd", "-dc", file], check=True, timeout=60, capture_output=True).stdout
    assert text == TEXT
    rows = subprocess.run(["jq", ".rows | length"], input=text, check=True, timeout=60, capture_output=True)
    assert rows.stdout == b"60\n"


def test_the_blob_is_made_while_it_is_iterated():
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield bytes(CHUNK // 2)

    frames = iter(BlobFile(HEADER, endless(), level=1, max_raw=2**40))
    next(frames)
    assert not taken
    next(frames)
    assert len(taken) <= 2 * 3
    frames.close()
    assert compressing() == []


@pytest.mark.parametrize(
    "ends", ["by itself", "when it is closed", "by an error of the encoder", "beyond the limit"]
)
def test_no_thread_is_left_behind(ends):
    def chunks():
        yield bytes(3 * CHUNK)
        if ends == "by an encoder's error":
            raise KeyboardInterrupt
        yield bytes(3 * CHUNK)

    limit = 5 * CHUNK if ends == "at the limit" else 2**40
    frames = iter(BlobFile(HEADER, chunks(), level=1, max_raw=limit))
    next(frames)
    next(frames)
    assert len(compressing()) == 1
    with contextlib.suppress(KeyboardInterrupt, UnsupportedValueError):
        frames.close() if ends == "when it is closed" else list(frames)
    assert compressing() == []


def test_a_value_of_one_chunk_needs_no_thread():
    for _ in BlobFile(HEADER, [bytes(CHUNK)], level=1, max_raw=2**40):
        assert compressing() == []


def compressing():
    return [thread for thread in threading.enumerate() if thread.name.startswith("offload-compress")]


def test_a_value_beyond_the_limit_is_refused_and_one_at_the_limit_is_not():
    blob = BlobFile(HEADER, [b"x" * 10, b"x" * 90], level=1, max_raw=100)
    assert b"".join(blob)
    with pytest.raises(UnsupportedValueError, match="larger than 100 bytes") as caught:
        list(BlobFile(HEADER, [b"x" * 10, b"x" * 91], level=1, max_raw=100))
    assert caught.value.path == "value"
    assert "max_value_bytes" in caught.value.hint


def test_names_too_long_for_any_reader_are_refused_when_writing():
    fits = BlobFile({"id": ID, "key": "k" * 65_000}, [b"1"], level=1, max_raw=10)
    data = b"".join(fits)
    assert read_blob([data], size=fits.size, raw=1, sha256=fits.sha256, blob_id=ID) == b"1"
    with pytest.raises(InvalidKeyError):
        next(iter(BlobFile({"id": ID, "key": "k" * 66_000}, [b"1"], level=1, max_raw=10)))


def test_an_error_of_the_store_in_the_middle_comes_through():
    stored = Stored(NOISE)

    def failing():
        yield stored.data[: CHUNK + 100]
        raise StoreError("connection lost", reason="unreachable", retryable=True)

    with pytest.raises(StoreError, match="connection lost"):
        read_blob(failing(), **stored.facts)


def test_an_error_of_the_codec_in_the_middle_comes_through():
    def failing():
        yield NOISE[: CHUNK + 1]
        raise UnsupportedValueError("NaN is not JSON", path="value[7]")

    with pytest.raises(UnsupportedValueError, match=r"value\[7\]"):
        list(BlobFile(HEADER, failing(), level=1, max_raw=2**40))


def test_chunks_of_nothing_and_views_are_bytes_too():
    stored = Stored(TEXT)
    view = memoryview(stored.data)
    assert read_blob([b"", bytes(view[:50]), b"", bytes(view[50:]), b""], **stored.facts) == TEXT
