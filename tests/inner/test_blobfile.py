"""Writing blobs: every byte of the format, by readers of its own, and what is in memory meanwhile."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import shutil
import struct
import subprocess
import weakref
from concurrent.futures import Future

import blake3
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.blobfile import (
    CHUNK,
    BlobFile,
    header_at_start,
    most_sealed_bytes,
    most_stored_bytes,
    writer,
)
from offload_backend.blobfile.frames import FLOW, OWN_FRAME
from offload_backend.errors import BlobCorruptError, InvalidKeyError, StoreError, UnsupportedValueError
from tests.inner.blobs import HEADER, MIB, NOISE, OTHER, TEXT, Stored, frames_of, limits, seek_table, threads
from tests.inner.stores import BIG, HOME, TASK
from tests.inner.values import QUICK

SHELL = shutil.which("zstd") is None or shutil.which("jq") is None
KINDS = [bytes, bytearray, memoryview, lambda piece: memoryview(bytearray(piece))]


@QUICK
@given(
    st.binary(max_size=300) | st.integers(1, 300).map(bytes),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 19),
    st.lists(st.tuples(st.integers(0, 300), st.sampled_from(KINDS)), max_size=5),
)
@example(b"", 1, 1, 1, [])
@example(b"x" * 64, 32, 8, 1, [])
@example(b"x" * 65, 32, 8, 1, [(32, bytes)])
@example(b"x" * 65, 32, 8, 0, [(32, memoryview), (40, bytearray)])
def test_what_went_in_comes_out_however_it_is_cut(content, chunk, own, level, cuts):
    bounds = [0, *sorted(min(at, len(content)) for at, _ in cuts), len(content)]
    kinds = [bytes, *(kind for _, kind in cuts)]
    pieces = [kind(content[a:b]) for kind, (a, b) in zip(kinds, itertools.pairwise(bounds), strict=True)]
    with limits(chunk=chunk, own=min(own, chunk)):
        stored = Stored(*pieces, level=level)
        assert stored.facts["size"] == len(stored.data)
        assert stored.facts["raw"] == len(content)
        assert stored.facts["seal"] <= most_sealed_bytes(len(content))
        assert len(stored.data) <= most_stored_bytes(len(content))
        assert stored.read() == content
    raws = [raw for _, raw in seek_table(stored.data)]
    assert sum(raws) == len(content)
    assert all(raw <= chunk for raw in raws)
    assert zstandard.ZstdDecompressor().stream_reader(stored.data, read_across_frames=True).read() == content


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
def test_the_frames_hold_exactly_so_much_each_and_the_rest(size):
    pieces = [NOISE[start : min(start + MIB - 7, size)] for start in range(0, size, MIB - 7)]
    for stored, most in ((Stored(NOISE[:size]), CHUNK if size >= CHUNK else FLOW), (Stored(*pieces), FLOW)):
        assert stored.read() == NOISE[:size]
        chunks = [raw for _, raw in seek_table(stored.data)][1:-1]
        assert sum(chunks) == size
        assert all(raw == most for raw in chunks[:-1])
        assert all(0 < raw <= most for raw in chunks)


@pytest.mark.parametrize("content", [NOISE, TEXT * 2000], ids=["noise", "text"])
def test_any_frame_can_be_found_by_the_seek_table_and_read_alone(content):
    stored = Stored(content)
    entries, frames = seek_table(stored.data), frames_of(stored.data)
    assert sum(size for size, _ in entries) + 8 + 8 * len(entries) + 9 == len(stored.data)
    read = 0
    for (_, raw), frame in zip(entries, frames, strict=True):
        if raw:
            parameters = zstandard.get_frame_parameters(frame)
            assert (parameters.content_size, parameters.dict_id) == (raw, 0)
            assert zstandard.ZstdDecompressor().decompress(frame) == content[read : read + raw]
        read += raw
    assert read == len(content)


def test_the_index_holds_the_digest_of_the_header_and_of_every_frame():
    data = Stored(NOISE).data
    *frames, index = frames_of(data)
    assert struct.unpack_from("<II", index) == (0x184D2A51, 32 * len(frames))
    assert index[8:] == b"".join(blake3.blake3(frame).digest() for frame in frames)


def test_the_seal_is_the_end_of_the_blob_and_pins_it():
    stored = Stored(TEXT)
    seal = stored.data[-stored.facts["seal"] :]
    assert seal.startswith(frames_of(stored.data)[-1])
    assert blake3.blake3(seal).hexdigest() == stored.facts["blake3"]


def test_the_places_of_the_frames_are_told_with_their_digests():
    """By which what is in one blob already can be found in another."""
    blob = BlobFile(HEADER, [memoryview(NOISE), TEXT], level=1, max_raw=2**40)
    data = b"".join(blob)
    assert [digest for digest, _, _ in blob.places] == [
        blake3.blake3(frame).digest() for frame in frames_of(data)[:-1]
    ]
    assert [data[start : start + size] for _, size, start in blob.places] == frames_of(data)[:-1]


def test_the_header_tells_whose_blob_it_is():
    data = Stored(TEXT).data
    magic, length = struct.unpack("<II", data[:8])
    assert magic == 0x184D2A50
    assert json.loads(data[8 : 8 + length]) == {"offload": 2, **HEADER} == header_at_start(data)


@pytest.mark.parametrize(
    "start", [b"", b"P*M", b"\x28\xb5\x2f\xfd" + bytes(60), struct.pack("<II", 0x184D2A50, 70_000)]
)
def test_the_start_of_what_is_no_blob_has_no_header(start):
    with pytest.raises(BlobCorruptError):
        header_at_start(start)


def test_what_compresses_has_a_checksum_and_what_does_not_is_stored_as_it_is():
    text, noise = frames_of(Stored(TEXT).data)[1], frames_of(Stored(NOISE[:CHUNK]).data)[1]
    assert zstandard.get_frame_parameters(text).has_checksum
    assert len(text) < len(TEXT) / 2
    blocks = [NOISE[start : min(start + 131072, CHUNK)] for start in range(0, CHUNK, 131072)]
    heads = [struct.pack("<I", len(block) << 3 | (n == 31))[:3] for n, block in enumerate(blocks)]
    expected = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", CHUNK)
    assert noise == expected + b"".join(map(b"".join, zip(heads, blocks, strict=True)))


@pytest.mark.parametrize("content", [bytes(300_000), TEXT, bytes(3 * CHUNK), b"x"])
def test_at_level_0_nothing_is_compressed(content):
    stored = Stored(content, level=0)
    assert stored.read() == content
    assert len(stored.data) > len(content)
    assert not any(zstandard.get_frame_parameters(frame).has_checksum for frame in frames_of(stored.data)[1:-1])


@pytest.mark.parametrize("where", [0, (FLOW - 8192) // 2, FLOW - 8192])
def test_whichever_sample_of_a_chunk_promises_something_it_is_compressed(where):
    chunk = bytearray(NOISE[:FLOW])
    chunk[where : where + 8192] = bytes(8192)
    assert len(Stored(bytes(chunk)).data) > FLOW  # a gain of 1.6 % is not worth it
    start = max(0, min(where - 100_000, FLOW - 200_000))
    chunk[start : start + 200_000] = bytes(200_000)
    assert len(Stored(bytes(chunk)).data) < 0.75 * FLOW


def test_a_chunk_of_which_no_sample_promises_anything_is_not_even_compressed():
    chunk = bytearray(NOISE[:FLOW])
    chunk[10_000:250_000] = bytes(240_000)
    assert len(Stored(bytes(chunk)).data) > FLOW
    assert len(Stored(bytes(chunk[: 256 * 1024 - 1])).data) < 30_000  # short of that, all of it is tried


def test_a_compressed_frame_that_gains_little_is_not_kept():
    for zeros, kept in ((300, False), (1000, True)):
        frame = frames_of(Stored(NOISE[: 5000 - zeros] + bytes(zeros)).data)[1]
        assert zstandard.get_frame_parameters(frame).has_checksum == kept


def test_equal_chunks_make_equal_frames():
    first, second = Stored(NOISE), Stored(NOISE[:CHUNK] + b"changed", blob_id=OTHER)
    assert frames_of(first.data)[1] == frames_of(second.data)[1]


PROSE = " ".join(f"{'lorem ipsum dolor sit amet'[n % 17 :]} {chr(97 + n % 26)}" for n in range(60_000)).encode()[
    :FLOW
]
FIGURES = ",".join(str(n**3 / 7) for n in range(60_000)).encode()[:FLOW]


@pytest.mark.parametrize(("content", "min_match", "hash_log"), [(PROSE, 5, 14), (FIGURES, 6, 13)])
@pytest.mark.parametrize("before", [PROSE, FIGURES, NOISE[:FLOW]])
def test_digits_about_the_middle_of_a_chunk_decide_how_it_is_compressed(content, min_match, hash_log, before):
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, min_match=min_match, hash_log=hash_log, write_checksum=True, write_content_size=True
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(content)
    assert frames_of(Stored(content).data)[1] == frame
    assert frames_of(Stored(before + content).data)[2] == frame


@pytest.mark.parametrize("content", [PROSE, FIGURES, PROSE[:3000]])
def test_at_other_levels_a_chunk_is_compressed_as_zstandard_itself_would(content):
    """Whose parameters fit the size of the chunk."""
    frame = zstandard.ZstdCompressor(level=9, write_checksum=True, write_content_size=True).compress(content)
    assert frames_of(Stored(content, level=9).data)[1] == frame


@pytest.mark.parametrize("before", [b"", b"x", NOISE[:MIB], NOISE[: MIB + 3], NOISE[: CHUNK - 1]])
@pytest.mark.parametrize("content", [NOISE[: CHUNK + 9], bytes(2 * CHUNK), NOISE[:OWN_FRAME]])
def test_a_large_view_has_the_same_frames_whatever_came_before_and_comes_after(before, content):
    view = memoryview(content)
    alone = frames_of(Stored(view).data)[1:-1]
    for around in ([before], [before[:100], before[100:]]):
        beside = frames_of(Stored(*around, view, b"after").data)[1:-2]
        assert beside[-len(alone) :] == alone
        assert len(beside) == len(alone) + -(-len(before) // FLOW)


def test_small_views_and_bytes_share_frames():
    pieces = [memoryview(NOISE)[: OWN_FRAME - 1], b"x", memoryview(bytearray(OWN_FRAME - 1)), bytearray(OWN_FRAME)]
    assert [raw for _, raw in seek_table(Stored(*pieces).data)] == [0, *[FLOW] * 5, FLOW - 1, 0]


@QUICK
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 9]), st.sampled_from(KINDS)), max_size=60))
@example([(4, memoryview), (1, bytes)] * 30)
@example([(1, bytes), (4, memoryview)] * 30)
@example([(17, memoryview), (1, bytes)] * 10)
@example([(16, bytes), (1, bytes)] * 10)
def test_no_blob_is_larger_than_the_most_that_is_said_of_it(shape):
    """With a chunk of 16 and frames of their own from 4 bytes on; the proportions are the format's."""
    with limits(chunk=16, own=4):
        stored = Stored(*(kind(NOISE[:size]) for size, kind in shape), level=0)
        assert stored.facts["seal"] <= most_sealed_bytes(stored.facts["raw"])


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("between", [1, 2])
def test_no_blob_is_larger_than_the_most_that_is_said_of_it_in_earnest(level, between):
    one = memoryview(NOISE)[:OWN_FRAME]
    stored = Stored(*[b"x" * between, one] * 40, b"x", level=level)
    assert len(seek_table(stored.data)) == 1 + 81 + 1
    assert stored.facts["seal"] <= most_sealed_bytes(stored.facts["raw"])
    assert len(stored.data) <= most_stored_bytes(stored.facts["raw"])


@pytest.mark.parametrize("raw", [0, 1, OWN_FRAME - 1, OWN_FRAME, CHUNK, 10**9, 2**36])
def test_the_most_that_is_said_of_a_blob_is_little_more_than_the_value(raw):
    assert raw < most_stored_bytes(raw) < 1.01 * raw + 150_000
    assert most_sealed_bytes(raw) < raw / 10_000 + 200


@pytest.mark.skipif(SHELL, reason="needs the commands zstd and jq")
def test_the_commands_zstd_and_jq_open_a_blob(tmp_path):
    file = tmp_path / "blob.json.zst"
    file.write_bytes(Stored(TEXT).data)
    subprocess.run(["zstd", "--test", "--quiet", file], check=True, timeout=60)
    text = subprocess.run(["zstd", "-dc", file], check=True, timeout=60, capture_output=True).stdout
    assert text == TEXT
    rows = subprocess.run(["jq", ".rows | length"], input=text, check=True, timeout=60, capture_output=True)
    assert rows.stdout == b"60\n"


SHAPES = {
    "nothing": [],
    "a byte": [b"x"],
    "one frame": [TEXT],
    "several frames": [TEXT * 5000],
    "as it is": [NOISE[:100_000]],
    "several as they are": [NOISE],
    "views between pieces": [b"[", memoryview(NOISE)[:MIB], b",", memoryview(bytes(5 * MIB)), b"]"],
}


@pytest.mark.skipif(SHELL, reason="needs the command zstd")
@pytest.mark.parametrize("level", [0, 1, 19])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_command_zstd_opens_every_shape_of_a_blob(tmp_path, shape, level):
    file = tmp_path / "blob.zst"
    pieces = SHAPES[shape]
    if level == 19:
        pieces = [piece[: MIB + 1] for piece in pieces]  # it is slow
    file.write_bytes(Stored(*pieces, level=level).data)
    text = subprocess.run(["zstd", "-dc", file], check=True, timeout=60, capture_output=True).stdout
    assert text == b"".join(pieces)


def test_the_blob_is_made_while_it_is_iterated():
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield bytes(CHUNK // 2)

    frames = iter(BlobFile(HEADER, endless(), level=1, max_raw=2**40))
    next(frames)
    assert not taken
    ahead = 2 * (writer._MOST_THREADS + 2)
    for n in range(10):
        next(frames)
        assert len(taken) <= ahead + 2 * n
    frames.close()
    assert threads() == []


def test_chunks_are_let_go_once_they_are_stored(monkeypatch):
    """Neither the first ones nor any other stay in memory beside those that threads work on."""
    monkeypatch.setattr(writer, "threads_for", lambda most: 2)
    refs: list[weakref.ref[bytearray]] = []
    most = 0

    class Chunk(bytearray):
        """Can be referred to weakly."""

    def endless():
        for _ in range(30):
            chunk = Chunk(OWN_FRAME)
            refs.append(weakref.ref(chunk))
            yield memoryview(chunk)
            del chunk

    for number, _ in enumerate(BlobFile(HEADER, endless(), level=1, max_raw=2**40)):
        most = max(most, sum(ref() is not None for ref in refs))
        assert number < 10 or refs[0]() is refs[1]() is None
    assert len(refs) == 30
    assert 1 <= most <= 2 + 1


@pytest.mark.parametrize("ends", ["by itself", "closed", "by an encoder's error", "at the limit"])
def test_no_thread_is_left_behind(ends, monkeypatch):
    monkeypatch.setattr(writer, "threads_for", lambda most: 2)

    def chunks():
        yield bytes(3 * CHUNK)
        if ends == "by an encoder's error":
            raise KeyboardInterrupt
        yield bytes(3 * CHUNK)

    limit = 5 * CHUNK if ends == "at the limit" else 2**40
    frames = iter(BlobFile(HEADER, chunks(), level=1, max_raw=limit))
    seen = []
    with contextlib.suppress(KeyboardInterrupt, UnsupportedValueError):
        next(frames)
        next(frames)
        seen = threads()
        frames.close() if ends == "closed" else list(frames)
    assert seen
    assert threads() == []


def test_no_thread_is_left_behind_by_a_store_that_fails_while_its_error_is_kept(stores, monkeypatch):
    monkeypatch.setattr(writer, "CHUNK", 1024)

    def fails(name, chunks):
        for _ in zip(range(5), chunks, strict=False):
            pass
        raise StoreError("the network is down", reason="unreachable", retryable=True)

    monkeypatch.setattr(stores.open(HOME), "put", fails)
    with pytest.raises(StoreError) as kept:
        stores.offloader(inline_limit=0).offload(BIG, TASK, "k")
    assert threads() == []
    assert kept.value.key == "k"


def test_a_value_of_one_chunk_needs_no_thread():
    for _ in BlobFile(HEADER, [bytes(CHUNK)], level=1, max_raw=2**40):
        assert threads() == []


def test_frames_come_in_order_whichever_thread_is_first(monkeypatch):
    made = writer._FrameMaker.__call__
    turns = itertools.count()

    def uneven(self, number, chunk):
        done = Future()
        if next(turns) % 3 == 0:
            with contextlib.suppress(concurrent.futures.TimeoutError):  # not the built-in one before Python 3.11
                done.result(timeout=0.02)
        return made(self, number, chunk)

    monkeypatch.setattr(writer._FrameMaker, "__call__", uneven)
    monkeypatch.setattr(writer, "threads_for", lambda most: 4)
    content = bytes(range(256)) * 40
    with limits(chunk=256, own=64):
        assert Stored(*(bytes([n]) * 300 for n in range(40))).read() == b"".join(
            bytes([n]) * 300 for n in range(40)
        )
        assert Stored(content).read() == content


def test_what_a_producer_uses_again_is_copied_in_time():
    """Only a large view is taken to be of the value's own memory, which stays as it is."""

    def pieces():
        for kind, size in ((bytearray, 2 * CHUNK), (bytearray, 10), (bytearray, CHUNK)):
            memory = kind(b"a" * size)
            yield memory
            memory[:] = b"b" * size
        memory = bytearray(b"a" * 1000)
        yield memoryview(memory)
        memory[:] = b"b" * 1000

    data = b"".join(BlobFile(HEADER, pieces(), level=1, max_raw=2**40))
    content = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    assert content == b"a" * (3 * CHUNK + 1010)


@pytest.mark.parametrize("level", [0, 1])
def test_memory_that_changes_after_it_was_digested_is_told(level):
    memory = bytearray(NOISE[: 2 * CHUNK])
    blob = BlobFile(HEADER, [b"[", memoryview(memory), b"]"], level=level, max_raw=2**40)
    list(blob)
    blob.check_unchanged()
    memory[CHUNK + 100] ^= 1
    with pytest.raises(UnsupportedValueError, match="changed while it was being stored") as caught:
        blob.check_unchanged()
    assert caught.value.path == "value"
    assert "deepcopy" in caught.value.hint
    memory[CHUNK + 100] ^= 1
    blob.check_unchanged()


def test_what_was_compressed_may_change_afterwards():
    memory = bytearray(2 * CHUNK)
    blob = BlobFile(HEADER, [memoryview(memory)], level=1, max_raw=2**40)
    list(blob)
    memory[:] = b"x" * len(memory)
    blob.check_unchanged()


def test_memory_that_changes_while_it_is_compressed_makes_a_frame_that_can_be_read(monkeypatch):
    """Samples and frames are made of copies: Zstandard itself does not stand a change."""
    seen = []
    real = zstandard.ZstdCompressor

    class Watched:
        def __init__(self, **options):
            self.real = real(**options)

        def compress(self, data):
            seen.append(type(data))
            return self.real.compress(data)

    monkeypatch.setattr(writer.zstandard, "ZstdCompressor", Watched)
    memory = bytearray(2 * MIB)
    assert Stored(memoryview(memory)).read() == memory
    assert set(seen) == {bytes}
    seen.clear()
    content = bytes(2 * MIB)
    assert Stored(memoryview(content)).read() == content
    assert memoryview in seen  # a view of bytes needs no copy


@pytest.mark.parametrize("memory", [NOISE[: 2 * MIB], memoryview(NOISE)[: 2 * MIB]])
def test_what_cannot_change_is_not_kept_to_be_compared(memory):
    blob = BlobFile(HEADER, [memory], level=1, max_raw=2**40)
    list(blob)
    assert blob._shared == []


def test_a_value_that_changes_while_it_is_put_is_refused(stores, monkeypatch):
    memory = bytearray(NOISE[: 2 * MIB])
    offloader = stores.offloader(inline_limit=0)
    put = stores.open(HOME).put

    def slow(name, chunks):
        put(name, chunks)
        memory[MIB] ^= 1

    monkeypatch.setattr(stores.open(HOME), "put", slow)
    monkeypatch.setattr(offloader._codecs.json, "encode", lambda value: iter([b"[", memoryview(memory), b"]"]))
    with pytest.raises(UnsupportedValueError, match="changed while it was being stored") as caught:
        offloader.offload("x", TASK, "k")
    assert caught.value.key == "k"


def test_a_value_beyond_the_limit_is_refused_and_one_at_the_limit_is_not():
    blob = BlobFile(HEADER, [b"x" * 10, b"x" * 90], level=1, max_raw=100)
    assert b"".join(blob)
    with pytest.raises(UnsupportedValueError, match="larger than 100 bytes") as caught:
        list(BlobFile(HEADER, [b"x" * 10, b"x" * 91], level=1, max_raw=100))
    assert caught.value.path == "value"
    assert "max_value_bytes" in caught.value.hint


def test_names_too_long_for_any_reader_are_refused_when_writing():
    stored = Stored(b"1", key="k" * 65_000)
    assert stored.read() == b"1"
    assert header_at_start(stored.data)["key"] == "k" * 65_000
    with pytest.raises(InvalidKeyError):
        Stored(b"1", key="k" * 66_000)


def test_an_error_of_the_codec_in_the_middle_comes_through():
    def failing():
        yield NOISE[: CHUNK + 1]
        raise UnsupportedValueError("NaN is not JSON", path="value[7]")

    with pytest.raises(UnsupportedValueError, match=r"value\[7\]"):
        list(BlobFile(HEADER, failing(), level=1, max_raw=2**40))


def test_pieces_of_nothing_are_nothing():
    assert frames_of(Stored(b"", TEXT, memoryview(b""), bytearray(), b"").data) == frames_of(Stored(TEXT).data)
