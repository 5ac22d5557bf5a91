"""Whoever has not the key reads nothing, and can make nothing that is read."""

from __future__ import annotations

import pickle
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.blobfile import CHUNK, BlobFile, SealedBlob
from offload_backend.blobfile import writer as writing
from offload_backend.blobfile.encrypted import MOST_CLOSING, Encryption, FrameCipher
from offload_backend.crypto import Secret
from offload_backend.crypto.source import MOST_WRAPPED
from offload_backend.errors import BlobCorruptError, OffloadError, StoreError, UnreadableBlobError, WrongKeyError
from tests.inner.blobs import ID, MIB, NOISE, OTHER, TEXT, Fetched, Stored, compressed, limits, skippable
from tests.inner.encrypted import ANOTHER_KEY, KEY, Encrypted, Resealed
from tests.inner.values import QUICK, THOROUGH

PIECES = [TEXT[:500], memoryview(NOISE)[:500], TEXT[500:1000], memoryview(NOISE)[500:640]]
CONTENT = b"".join(PIECES)


def small(blob_id: str = ID, level: int = 1, **header: str) -> Encrypted:
    """A blob of a header, four frames and the closing frame."""
    with limits(chunk=500, own=100):
        return Encrypted(*PIECES, blob_id=blob_id, level=level, **header)


@pytest.fixture(params=["by one request", "by ranges"])
def way(request):
    """Both ways to read a blob, with as many frames as one likes."""
    with limits(own=5, few=0, **({"whole": 0, "fetch": 64} if request.param == "by ranges" else {})):
        yield request.param


@QUICK
@given(
    st.lists(st.binary(max_size=700) | st.sampled_from([NOISE[:800], bytes(900), TEXT[:600]]), max_size=6),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([{}, {"whole": 0, "fetch": 64}, {"whole": 0, "fetch": 700}]),
    st.data(),
)
def test_any_stretch_of_what_was_encrypted_comes_back(pieces, level, ways, data):
    with limits(chunk=300, own=64, few=0, **ways):
        stored = Encrypted(*map(memoryview, pieces), level=level)
        content = b"".join(pieces)
        assert stored.read() == content
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, len(content) - start))
        assert stored.open().read(start, length) == content[start : start + length]


def test_large_values_come_back_through_threads_and_several_frames():
    content = NOISE + TEXT * 3000
    stored = Encrypted(memoryview(content[: len(NOISE)]), content[len(NOISE) :])
    assert len(stored.frames()) > 5
    assert stored.read() == content
    with limits(whole=0):
        assert stored.open().read(CHUNK - 7, CHUNK) == content[CHUNK - 7 : 2 * CHUNK - 7]


def test_the_same_value_is_never_encrypted_alike_and_shows_nowhere():
    for level in (0, 1):
        first, second = Encrypted(TEXT, level=level), Encrypted(TEXT, level=level)
        assert TEXT[20:60] not in first.data
        assert b"rows" not in first.data
        [one], [other] = ([frame for frame, raw in blob.frames() if raw] for blob in (first, second))
        assert one[8:] != other[8:]
        assert first.read() == second.read() == TEXT


def test_equal_frames_of_one_blob_are_not_encrypted_alike():
    with limits(chunk=500):
        stored = Encrypted(memoryview(bytes(500)), memoryview(bytes(500)))
    _, (first, _), (second, _), _ = stored.frames()
    assert len(first) == len(second)
    assert first[8:-16] != second[8:-16]


def test_every_flipped_byte_is_found_also_under_a_seal_that_fits(way):
    genuine = small()
    frames = genuine.frames()
    assert Resealed(frames).read() == CONTENT
    for number, (frame, raw) in enumerate(frames):
        for at in range(0, len(frame), 1 if way == "by one request" else 7):
            changed = bytearray(frame)
            changed[at] ^= 1 << at % 8
            forged = Resealed([*frames[:number], (bytes(changed), raw), *frames[number + 1 :]])
            with pytest.raises(OffloadError):
                forged.open()
            damaged = genuine.data.replace(frame, bytes(changed))
            with pytest.raises(BlobCorruptError):
                genuine.read(damaged)


GENUINE, TWIN, ANOTHER = small(), small(), small(blob_id=OTHER)
POOL = [*GENUINE.frames(), *TWIN.frames(), *ANOTHER.frames(), *Encrypted(TEXT).frames()]
PLAIN = [(compressed(b"x" * 10), 10), (skippable(compressed(b"x" * 10) + bytes(16), 0x184D2A52), 10)]


@THOROUGH
@given(st.data(), st.booleans())
def test_no_choice_of_genuine_frames_makes_another_blob(data, by_ranges):
    """Swapped, moved, left out, repeated, of another blob with the same key, or not encrypted at all."""
    frames = list(GENUINE.frames())
    for _ in range(data.draw(st.integers(1, 4))):
        act = data.draw(st.sampled_from(["swap", "replace", "drop", "repeat", "insert", "claim"]))
        at = data.draw(st.integers(0, len(frames) - 1))
        if act == "swap":
            to = data.draw(st.integers(0, len(frames) - 1))
            frames[at], frames[to] = frames[to], frames[at]
        elif act == "replace":
            frames[at] = data.draw(st.sampled_from([*POOL, *PLAIN]))
        elif act == "drop" and len(frames) > 1:
            del frames[at]
        elif act == "repeat":
            frames.insert(at, frames[at])
        elif act == "insert":
            frames.insert(at, data.draw(st.sampled_from([*POOL, *PLAIN])))
        elif act == "claim":
            frames[at] = (frames[at][0], data.draw(st.integers(0, 600)))
    if frames in (GENUINE.frames(), TWIN.frames(), ANOTHER.frames(), POOL[-3:]):
        return
    forged = Resealed(frames, blob_id=data.draw(st.sampled_from([ID, OTHER])))
    with limits(own=5, few=0, **({"whole": 0, "fetch": 64} if by_ranges else {})):
        assert Resealed(GENUINE.frames()).read() == CONTENT
        with pytest.raises(OffloadError):
            forged.open()


def test_a_whole_blob_cannot_take_anothers_place(way):
    with pytest.raises(BlobCorruptError, match="the header names the blob"):
        Resealed(GENUINE.frames(), blob_id=OTHER).read()
    renamed = GENUINE.frames()
    renamed[0] = (renamed[0][0].replace(ID.encode(), OTHER.encode()), 0)
    with pytest.raises(BlobCorruptError, match="was not encrypted as this one"):
        Resealed(renamed, blob_id=OTHER).open()


@pytest.mark.parametrize("bound", ["number", "header", "key"])
def test_each_frame_is_bound_by_its_own_tag(bound):
    """Also if the closing frame said nothing of it."""
    secret, header = Secret(KEY), b"h" * 32
    encryption = Encryption(secret, header)
    frame = memoryview(b"".join(encryption.frame(3, [b"content"])))
    salt = encryption._salt
    cipher = FrameCipher(KEY if bound != "key" else ANOTHER_KEY, salt)
    number, aad = (4 if bound == "number" else 3), (b"i" * 32 if bound == "header" else header)
    with pytest.raises(BlobCorruptError):
        cipher.decrypted(number, (aad,), frame[8:-16], frame[-16:])
    assert FrameCipher(KEY, salt).decrypted(3, (header,), frame[8:-16], frame[-16:]) == b"content"


def test_a_view_of_one_stretch_believes_nothing_that_the_closing_frame_does_not_say(way):
    """The frames that are read may be genuine: another one was taken away, or comes from elsewhere."""
    frames = GENUINE.frames()
    shorter = [*frames[:3], frames[-1]]
    swapped = [*frames[:4], TWIN.frames()[4], frames[-1]]
    for forged in (Resealed(shorter), Resealed(swapped)):
        with pytest.raises(BlobCorruptError, match="was not encrypted as this one"):
            forged.open().read(0, 10)


def test_the_wrong_key_is_told_from_damage(way):
    with pytest.raises(WrongKeyError, match="another key") as caught:
        GENUINE.open(keys=lambda wrapped: [ANOTHER_KEY])
    assert "[offload_backend] encryption_keys" in caught.value.hint
    with pytest.raises(WrongKeyError):
        GENUINE.open(keys=lambda wrapped: [])
    assert GENUINE.open(keys=lambda wrapped: [ANOTHER_KEY, KEY]).read(0, 5) == CONTENT[:5]


@pytest.mark.parametrize("length", [0, 1, 184, MOST_WRAPPED])
def test_a_wrapped_key_is_handed_back_to_its_source(length, way):
    secret = Secret(KEY, NOISE[:length])
    stored = Encrypted(TEXT, secret=secret)
    asked = []
    blob = stored.open(keys=lambda wrapped: asked.append(wrapped) or [KEY])
    assert blob.read(0, blob.size) == TEXT
    assert asked == [secret.wrapped]
    assert len(stored.frames()[-1][0]) == MOST_CLOSING - MOST_WRAPPED + length


@pytest.mark.parametrize("length", [0, 55, 63, MOST_CLOSING - 7])
def test_a_closing_frame_of_an_impossible_length_is_not_looked_into(length, way):
    frames = GENUINE.frames()
    content = (frames[-1][0][8:] + bytes(MOST_CLOSING))[:length]
    asked = []
    with pytest.raises(BlobCorruptError, match=r"not closed as an encrypted one|not those that were written"):
        Resealed([*frames[:-1], (skippable(content, 0x184D2A53), 0)]).open(keys=asked.append)
    assert asked == []


def test_what_finds_the_key_raises_as_it_is(way):
    def failing(wrapped):
        raise StoreError("the service is away", reason="unreachable", retryable=True)

    with pytest.raises(StoreError, match="the service is away"):
        GENUINE.open(keys=failing)


def test_framings_are_not_taken_for_each_other():
    plain = Stored(TEXT)
    with pytest.raises(BlobCorruptError, match="not that of an encrypted blob"):
        plain.open(keys=lambda wrapped: [KEY])
    with pytest.raises(BlobCorruptError, match="impossible frame"):
        Stored.open(Encrypted(TEXT))
    newer = Resealed([(skippable(b'{"offload":3,"id":"%s"}' % ID.encode()), 0)])
    with pytest.raises(UnreadableBlobError, match="newer"):
        Stored.open(newer).header()


def test_a_small_blob_is_fetched_at_once_and_a_large_one_begins_with_its_end():
    small = Encrypted(TEXT)
    fetch = Fetched(small.data, len(small.data))
    SealedBlob(fetch, **small.facts, keys=lambda wrapped: [KEY], concurrency=1).read(0, len(TEXT))
    assert fetch.asked == [(0, len(small.data))]
    stored = Encrypted(memoryview(NOISE))
    fetch = Fetched(stored.data, len(stored.data))
    with limits(whole=0):
        blob = SealedBlob(fetch, **stored.facts, keys=lambda wrapped: [KEY], concurrency=1)
        assert blob.read(CHUNK, 10) == NOISE[CHUNK : CHUNK + 10]
    end = stored.facts["seal"] + MOST_CLOSING
    assert fetch.asked[0] == (len(stored.data) - end, end)
    assert len(fetch.asked) == 2


@pytest.mark.parametrize("threads", [1, 4])
def test_memory_is_bounded_by_a_few_frames_however_large_the_value(threads, monkeypatch):
    monkeypatch.setattr(writing, "threads_for", lambda most: threads)
    value = memoryview(random.Random(5).randbytes(24 * CHUNK))
    blob = BlobFile({"id": ID}, [value], level=1, max_raw=2**40, secret=Secret(KEY))
    tracemalloc.start()
    sent = sum(map(len, blob))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent == blob.size > len(value)
    assert peak < (threads + 3) * CHUNK + MIB


def test_memory_that_changes_meanwhile_harms_nothing():
    value = bytearray(NOISE)
    blob = BlobFile({"id": ID}, [memoryview(value)], level=0, max_raw=2**40, secret=Secret(KEY))
    data = b"".join(blob)
    value[:] = bytes(len(value))
    blob.check_unchanged()
    assert NOISE[:100] not in data


def test_no_key_shows_or_is_pickled():
    secret = Secret(b"hunter2-hunter2-hunter2-hunter2-", b"wrapped-like-this")
    assert "hunter2" not in repr(secret)
    assert "wrapped" not in repr(secret)
    cipher = FrameCipher(secret.key, bytes(32))
    for holder in (secret, cipher, Encryption(secret, bytes(32))):
        assert "hunter2" not in repr(holder)
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder)
