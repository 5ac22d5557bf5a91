"""Nothing but what was written is ever read from a sealed blob, however it is damaged, swapped or forged."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import struct
import tracemalloc
from typing import Any

import blake3
import pytest

from offload_backend.blobfile import CHUNK, MAX_HEADER, most_sealed_bytes
from offload_backend.errors import BlobCorruptError, OffloadError, StoreError, UnreadableBlobError
from tests.inner.blobs import (
    HEADER,
    ID,
    MIB,
    NOISE,
    OTHER,
    TEXT,
    Forged,
    Stored,
    compressed,
    frames_of,
    limits,
    repeated,
    skippable,
    threads,
)
from tests.inner.stores import BIG, HOME, TASK, a_ref, changed, name_in

TEN = compressed(b"x" * 10)
HEAD = skippable(json.dumps({"offload": 2, **HEADER}).encode())
THREE = [TEXT[:500], NOISE[:500], TEXT[500:1000]]


@pytest.fixture(autouse=True, params=["by one request", "by ranges"])
def way(request):
    """Both ways to read a blob, with the threads that a large one has, and as many frames as one likes."""
    ranges = {"whole": 0, "fetch": 64} if request.param == "by ranges" else {}
    with limits(own=5, few=0, **ranges):
        yield request.param


def three_frames(blob_id: str = ID) -> Stored:
    with limits(chunk=500, own=100):
        return Stored(*THREE, blob_id=blob_id)


def test_every_flipped_bit_is_found(way):
    stored = Stored(TEXT) if way == "by one request" else three_frames()
    for position in range(len(stored.data)):
        for bit in range(8) if way == "by one request" else (position % 8,):
            damaged = bytearray(stored.data)
            damaged[position] ^= 1 << bit
            with pytest.raises(BlobCorruptError):
                stored.read(bytes(damaged))


@pytest.mark.parametrize("replacement", [0x00, 0xFF, 0x28, 0x32, 0x39])
def test_every_overwritten_byte_is_found(replacement):
    stored = Stored(TEXT)
    for position, old in enumerate(stored.data):
        if old != replacement:
            damaged = stored.data[:position] + bytes([replacement]) + stored.data[position + 1 :]
            with pytest.raises(BlobCorruptError):
                stored.read(damaged)


def test_every_truncation_is_found():
    stored = Stored(TEXT)
    for size in range(len(stored.data)):
        with pytest.raises(BlobCorruptError):
            stored.read(stored.data[:size])


def test_a_truncation_never_gives_a_part_of_the_value_even_with_a_ref_that_fits_it():
    """The end of what is left is then said to be the seal, however long."""
    stored = Stored(TEXT)
    for size in range(len(stored.data)):
        left = stored.data[:size]
        for seal in {stored.facts["seal"], size // 2, size} - {0}:
            with pytest.raises(BlobCorruptError):
                stored.read(left, size=size, seal=seal, blake3=blake3.blake3(left[-seal:]).hexdigest())


EXTRA = [b"\0", b"x", b"PK\3\4", skippable(b""), skippable(b"", 0x184D2A5E), compressed(b""), compressed(b"1")]


@pytest.mark.parametrize("extra", EXTRA)
def test_appended_bytes_are_found(extra):
    stored = Stored(TEXT)
    with pytest.raises(BlobCorruptError):
        stored.read(stored.data + extra)


@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("seal", [0, 1])
def test_appended_bytes_are_found_even_with_a_ref_that_fits_them(extra, seal):
    stored = Stored(TEXT)
    data = stored.data + extra
    length = stored.facts["seal"] + seal * len(extra)
    with pytest.raises(BlobCorruptError):
        stored.read(data, size=len(data), seal=length, blake3=blake3.blake3(data[-length:]).hexdigest())


def test_another_blob_in_its_place_is_found():
    mine, other = Stored(TEXT), Stored(TEXT, blob_id=OTHER)
    assert len(mine.data) == len(other.data)
    with pytest.raises(BlobCorruptError, match="expected a seal with blake3"):
        mine.read(other.data)
    with pytest.raises(BlobCorruptError, match="the header names the blob"):
        other.read(blob_id=ID)
    with pytest.raises(BlobCorruptError, match="the header names the blob"):
        other.open(blob_id=ID).header()


def test_the_seal_of_another_blob_is_found():
    mine, other = three_frames(), three_frames(OTHER)
    seal = mine.facts["seal"]
    with pytest.raises(BlobCorruptError, match="expected a seal with blake3"):
        mine.read(mine.data[:-seal] + other.data[-seal:])
    with pytest.raises(BlobCorruptError, match="are not those that were written"):
        mine.read(mine.data[:-seal] + other.data[-seal:], blake3=other.facts["blake3"], blob_id=OTHER)


def test_frames_that_change_places_are_found():
    with limits(chunk=500, own=100):
        stored = Stored(*(NOISE[start : start + 500] for start in (0, 500, 1000)))
    head, first, second, third, _ = frames_of(stored.data)
    assert len(first) == len(second) == len(third)
    seal = stored.data[-stored.facts["seal"] :]
    for order in [(second, first, third), (first, third, second), (first, first, third)]:
        with pytest.raises(BlobCorruptError, match="are not those that were written"):
            stored.read(head + b"".join(order) + seal)
    with pytest.raises(BlobCorruptError):
        stored.read(first + head + second + third + seal)


def test_a_frame_of_another_blob_is_found():
    with limits(chunk=500, own=100):
        mine, other = Stored(NOISE[:1000]), Stored(NOISE[1000:2000])
    head, first, _, _ = frames_of(mine.data)
    _, _, last, _ = frames_of(other.data)
    with pytest.raises(BlobCorruptError, match=f"the {len(last)} bytes from {len(head + first)} are not those"):
        mine.read(head + first + last + mine.data[-mine.facts["seal"] :])


def test_damage_to_one_frame_is_told_where_it_is_and_leaves_the_others_readable():
    stored = three_frames()
    head, first, second, _, _ = frames_of(stored.data)
    damaged = bytearray(stored.data)
    damaged[len(head + first) + 20] ^= 1
    blob = stored.open(bytes(damaged))
    assert blob.read(0, 500) == THREE[0]
    assert blob.read(1000, 500) == THREE[2]
    for start, length in ((0, 501), (500, 1), (999, 1), (0, 1500)):
        with pytest.raises(
            BlobCorruptError, match=f"the {len(second)} bytes from {len(head + first)} are not those"
        ):
            blob.read(start, length)


@pytest.mark.parametrize("raw", [len(TEXT) - 1, len(TEXT) + 1, 0, 10**19])
def test_a_wrong_size_after_decompression_is_found(raw):
    with pytest.raises(BlobCorruptError):
        Stored(TEXT).open(raw=raw)


@pytest.mark.parametrize("seal", [0, -1, 10**6, 10**18])
def test_a_seal_that_no_blob_of_that_size_has_is_found_before_anything_is_fetched(seal):
    stored = Stored(TEXT)
    with pytest.raises(BlobCorruptError, match="has no seal of"):
        stored.open(b"", seal=seal)
    with pytest.raises(BlobCorruptError, match="has no seal of"):
        stored.open(b"", size=10**19, seal=most_sealed_bytes(len(TEXT)) + 1)


@pytest.mark.parametrize("difference", [-1, 1, -40, 40])
def test_a_seal_of_another_length_is_found_even_with_its_digest(difference):
    stored = Stored(TEXT)
    seal = stored.facts["seal"] + difference
    with pytest.raises(BlobCorruptError):
        stored.read(seal=seal, blake3=blake3.blake3(stored.data[-seal:]).hexdigest())


def test_what_is_forged_as_it_should_be_is_read():
    """So that the tests below fail for no other reason than the one that they name."""
    assert Forged([(TEN, 10), (repeated(CHUNK, CHUNK), CHUNK)]).read() == b"x" * (10 + CHUNK)
    assert Forged([]).read() == b""
    assert Forged([(compressed(TEXT), len(TEXT))]).open().header()["key"] == "k\ud800"
    window = b"\x28\xb5\x2f\xfd\x80" + bytes([(22 - 10) << 3]) + struct.pack("<I", 10) + struct.pack("<I", 81)[:3]
    assert Forged([(window + b"x" * 10, 10)]).read() == b"x" * 10


def index(count: int) -> int:
    """Bytes of an index with so many digests."""
    return 8 + 32 * count


SEALS: dict[str, tuple[list[tuple[bytes, int]], dict[str, Any]]] = {
    "stored sizes below": ([(TEN, 10)], {"entries": [(len(HEAD), 0), (len(TEN) - 1, 10)]}),
    "stored sizes above": ([(TEN, 10)], {"entries": [(len(HEAD), 0), (len(TEN) + 1, 10)]}),
    "stored sizes that wrap": ([(TEN, 10)], {"entries": [(len(HEAD), 0), (2**32 - 1, 10)]}),
    "stored bytes of no frame": ([(TEN, 10)], {"hidden": compressed(b"hidden from everything but zstd")}),
    "raw sizes below": ([(TEN, 10)], {"raw": 11}),
    "raw sizes above": ([(TEN, 10)], {"raw": 9}),
    "a frame of more than a chunk": ([(repeated(CHUNK + 1, CHUNK + 1), CHUNK + 1)], {}),
    "a frame of 4 GiB": ([(repeated(2**32 - 1, 131072), 2**32 - 1)], {}),
    "a frame stored in more than it can be": ([(skippable(bytes(MIB)) + TEN, 10)], {}),
    "an empty frame": ([(TEN, 10), (compressed(b""), 0)], {}),
    "a frame of nothing": ([(b"", 0), (TEN, 10)], {}),
    "a skippable frame": ([(skippable(b"x"), 0), (TEN, 10)], {}),
    "not even the header": ([], {"entries": [], "digests": []}),
    "the header only, of a value": (
        [(TEN, 10)],
        {"entries": [(len(HEAD) + len(TEN), 0)], "digests": [bytes(32)], "raw": 10},
    ),
    "a header with content": ([(TEN, 10)], {"entries": [(len(HEAD), 10), (len(TEN), 10)]}),
    "a header with all the content": ([(TEN, 10)], {"entries": [(len(HEAD), 10), (len(TEN), 0)]}),
    "a digest too few": ([(TEN, 10)], {"digests": [bytes(32)]}),
    "a digest too many": ([(TEN, 10)], {"digests": [bytes(32)] * 3}),
    "an entry too many": ([(TEN, 10)], {"last_entries": [(0, 0), (index(2), 0)]}),
    "no entry for the index": ([(TEN, 10)], {"last_entries": []}),
    "an index of another size": ([(TEN, 10)], {"last_entries": [(index(2) + 1, 0)]}),
    "an index with content": ([(TEN, 10)], {"last_entries": [(index(2), 1)]}),
    "count 0": ([(TEN, 10)], {"count": 0}),
    "count 1": ([(TEN, 10)], {"count": 1}),
    "count one less": ([(TEN, 10)], {"count": 2}),
    "count one more": ([(TEN, 10)], {"count": 4}),
    "count 2³²-1": ([(TEN, 10)], {"count": 2**32 - 1}),
    "flags": ([(TEN, 10)], {"flags": 0x80}),
    "another magic number of the index": ([(TEN, 10)], {"index_magic": 0x184D2A50}),
    "another magic number of the seek table": ([(TEN, 10)], {"table_magic": 0x184D2A5F}),
    "another magic number at the end": ([(TEN, 10)], {"magic": 0x8F92EAB0}),
    "a header longer than any": ([(TEN, 10)], {"header": skippable(b" " * MAX_HEADER)}),
}


@pytest.mark.parametrize("name", SEALS)
def test_a_forged_seal_is_found_even_with_a_ref_that_fits_it(name):
    """Before any frame is fetched."""
    frames, options = SEALS[name]
    forged = Forged(frames, **options)
    with pytest.raises(BlobCorruptError):
        forged.open()


def test_a_seal_whose_frames_have_another_length_inside_is_found():
    forged = Forged([(TEN, 10)])
    seal = bytearray(forged.data[-forged.facts["seal"] :])
    for at in (4, index(2) + 4):
        for change in (-1, 1):
            wrong = bytearray(seal)
            struct.pack_into("<I", wrong, at, struct.unpack_from("<I", wrong, at)[0] + change)
            with pytest.raises(BlobCorruptError, match="not one that this backend wrote"):
                forged.read(forged.data[: -len(seal)] + wrong, blake3=blake3.blake3(wrong).hexdigest())


def window_of(log: int, content: bytes = b"x" * 10) -> bytes:
    """A frame of one raw block that asks for a window of so many bits."""
    head = b"\x28\xb5\x2f\xfd\x80" + bytes([(log - 10) << 3]) + struct.pack("<I", len(content))
    return head + (len(content) << 3 | 1).to_bytes(3, "little") + content


def block_of(kind: int) -> bytes:
    return (
        b"\x28\xb5\x2f\xfd\xa0"
        + struct.pack("<I", 10)
        + (10 << 3 | kind << 1 | 1).to_bytes(3, "little")
        + b"x" * 10
    )


WITH_CHECKSUM = compressed(TEXT, write_checksum=True)
FRAMES: dict[str, tuple[bytes, int]] = {
    "content that goes on": (repeated(CHUNK, 64 * CHUNK), CHUNK),
    "content that ends early": (repeated(CHUNK, CHUNK - 1), CHUNK),
    "content that says to be more": (repeated(CHUNK, CHUNK), CHUNK - 1),
    "content that says to be less": (repeated(CHUNK - 1, CHUNK - 1), CHUNK),
    "content of unknown size": (compressed(b"x" * 10, write_content_size=False), 10),
    "no content": (repeated(10, 0), 10),
    "two frames": (compressed(b"x" * 5) + compressed(b"x" * 5), 10),
    "a second frame behind": (TEN + compressed(b"more"), 10),
    "an empty frame behind": (TEN + compressed(b""), 10),
    "an empty frame before": (compressed(b"") + TEN, 10),
    "a skippable frame behind": (TEN + skippable(b"hidden"), 10),
    "a skippable frame before": (skippable(b"hidden") + TEN, 10),
    "a skippable frame alone": (skippable(b"x" * 10), 10),
    "a header's bytes": (HEAD, len(HEAD) - 8),
    "bytes behind": (TEN + b"x", 10),
    "bytes before": (b"x" + TEN, 10),
    "half of it": (compressed(TEXT)[:100], len(TEXT)),
    "a byte less": (TEN[:-1], 10),
    "no last block": (repeated(131072, 262144)[:-4], 131072),
    "half a block's head": (repeated(10, 10)[:-2], 10),
    "nothing but its head": (TEN[:6], 10),
    "no checksum": (WITH_CHECKSUM[:-4], len(TEXT)),
    "another checksum": (WITH_CHECKSUM[:-1] + bytes([WITH_CHECKSUM[-1] ^ 1]), len(TEXT)),
    "a block of no known type": (block_of(3), 10),
    "a compressed block that is none": (block_of(2), 10),
    "a window beyond a chunk": (window_of(23), 10),
    "a huge window": (window_of(41), 10),
    "plain bytes": (b"x" * 10, 10),
    "a byte": (b"x", 10),
    "nothing": (b"", 10),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), 10),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("beside", [[], [(TEN, 10)]], ids=["alone", "beside another"])
def test_what_is_not_one_frame_of_its_size_is_found_even_with_a_seal_and_a_ref_that_fit_it(name, beside):
    forged = Forged([*beside, FRAMES[name], *beside])
    blob = forged.open()
    assert blob.size == FRAMES[name][1] + 20 * len(beside)
    with pytest.raises(BlobCorruptError, match=r"does not decompress|does not hold"):
        blob.read(0, blob.size)
    with pytest.raises(BlobCorruptError, match=r"does not decompress|does not hold"):
        blob.read(10 * len(beside) + 1, 1)


@pytest.mark.parametrize("name", FRAMES)
def test_a_forged_frame_takes_no_more_memory_than_a_chunk(name):
    blob = Forged([FRAMES[name]]).open()
    assert peak_of_damage(lambda: blob.read(0, 1)) < CHUNK + 2 * MIB


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"\x28\xb5\x2f\xfd" + bytes(20),
        struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + b"{}",
        struct.pack("<II", 0x184D2A51, 2) + b"{}",
        skippable(b""),
        skippable(b"not json"),
        skippable(b"\xff"),
        skippable(b"[]"),
        skippable(b"{}"),
        skippable(b'{"offload":"2"}'),
        skippable(b'{"offload":null}'),
        skippable(b"[" * 60_000),
        skippable(json.dumps({"offload": 2, **HEADER}).encode(), 0x184D2A51),
        skippable(json.dumps({"offload": 2}).encode()),
        skippable(json.dumps({"offload": 2, "id": [ID]}).encode()),
        HEAD + compressed(b"hidden from everything but zstd"),
        HEAD + b" ",
        HEAD[:-1],
        compressed(b""),
    ],
)
def test_what_is_no_header_is_found_even_with_a_seal_and_a_ref_that_fit_it(header):
    for frames in ([(TEN, 10)], []):
        blob = Forged(frames, header=header).open()
        with pytest.raises(BlobCorruptError):
            blob.read(0, blob.size)
        with pytest.raises(BlobCorruptError):
            blob.header()


def test_a_newer_format_says_upgrade_once_its_digest_is_right():
    newer = Forged([(TEN, 10)], header=skippable(json.dumps({"offload": 3, "id": ID, "surprise": True}).encode()))
    with pytest.raises(UnreadableBlobError, match="format 3 is newer") as caught:
        newer.read()
    assert "upgrade" in caught.value.hint
    damaged = newer.data.replace(b'"offload": 3', b'"offload": 4')
    with pytest.raises(BlobCorruptError, match="are not those that were written"):
        newer.read(damaged)


def test_an_empty_value_has_its_header_checked():
    stored = Stored()
    assert stored.read() == b""
    damaged = stored.data.replace(b"asset", b"essat")
    with pytest.raises(BlobCorruptError):
        stored.read(damaged)


def peak_of_damage(call: Any) -> int:
    """The most bytes in use while the call finds out that a blob is damaged."""
    tracemalloc.start()
    try:
        with pytest.raises(BlobCorruptError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_stopped_at_the_size_its_ref_states():
    bomb = repeated(CHUNK, 1024 * CHUNK)
    assert peak_of_damage(lambda: Forged([(bomb, CHUNK)]).read()) < 3 * CHUNK


def test_a_ref_that_claims_ten_terabytes_takes_no_memory():
    stored, ten = Stored(TEXT), 10 * 2**40
    for facts in ({"raw": ten}, {"size": ten, "raw": ten}):
        assert peak_of_damage(lambda facts=facts: stored.open(**facts)) < MIB


def test_a_stretch_that_the_value_does_not_have_takes_no_memory():
    blob = Stored(TEXT).open()
    for start, length in ((0, 10**15), (len(TEXT), 1), (-1, 1), (-1, 0), (5, -1), (len(TEXT) + 1, 0), (10**30, 1)):
        with pytest.raises(ValueError, match="no such stretch"):
            blob.read(start, length)
    with pytest.raises(ValueError, match="no such stretch"):
        blob.fill([(0, memoryview(bytearray(1))), (len(TEXT), memoryview(bytearray(1)))])
    with pytest.raises(ValueError, match="no such stretch"):
        blob.fill([(-1, memoryview(bytearray(2)))])


def test_a_store_that_says_something_else_each_time_gives_the_value_or_an_error():
    stored = three_frames()
    for good in range(12):
        left = itertools.count(good, -1)

        def fetch(start, memory, left=left):
            data = stored.data if next(left) > 0 else bytes(len(stored.data))
            memory[:] = data[start : start + len(memory)]

        with contextlib.suppress(BlobCorruptError):
            blob = stored.open_with(fetch)
            for _ in range(3):
                assert blob.read(0, 1500) == b"".join(THREE)
        assert threads() == []


@pytest.mark.parametrize("facts", [{"seal": 0}, {"seal": 1}, {"blake3": "0" * 64}, {"raw": 0}, {"size": 10}])
def test_a_forged_ref_in_a_row_is_an_error(stores, facts):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    renamed = {"digest" if name == "blake3" else name: value for name, value in facts.items()}
    with pytest.raises(BlobCorruptError):
        offloader.resolve(changed(text, **renamed))


@pytest.mark.parametrize("facts", [{"seal": 10**18}, {"raw": 10**18}, {"size": 10**18}])
def test_a_ref_in_a_row_that_claims_too_much_is_an_error_and_nothing_is_fetched(stores, facts):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    stores.at[HOME].calls.clear()
    with pytest.raises(UnreadableBlobError):
        offloader.resolve(changed(text, **facts))
    assert stores.at[HOME].calls == []


def test_a_sealed_blob_with_a_ref_of_the_older_framing_and_the_other_way_round_is_an_error(stores):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    data = b"".join(stores.at[HOME].get(name_in(text)))
    with pytest.raises(OffloadError):
        offloader.resolve(changed(text, frames="zstd", digest=hashlib.sha256(data).hexdigest(), seal=0))
    assert a_ref(text).frames == "sealed"


@pytest.mark.parametrize("good", [0, 1, 2, 3])
def test_an_error_of_the_store_in_the_middle_comes_through(good, way):
    stored, left = three_frames(), [good if way == "by ranges" else 0]

    def fetch(start, memory):
        left[0] -= 1
        if left[0] < 0:
            raise StoreError("connection lost", reason="unreachable", retryable=True)
        memory[:] = stored.data[start : start + len(memory)]

    with pytest.raises(StoreError, match="connection lost"):
        stored.open_with(fetch).read(0, 1500)
    assert threads() == []
