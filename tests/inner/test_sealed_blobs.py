"""Reading sealed blobs: any stretch, by one request or by several, in threads."""

from __future__ import annotations

import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.blobfile import CHUNK, reader
from offload_backend.errors import BlobCorruptError, StoreError
from tests.inner.blobs import MIB, NOISE, OTHER, TEXT, Fetched, Stored, frames_of, limits, threads
from tests.inner.values import QUICK

PIECE = st.tuples(
    st.sampled_from([bytes, bytearray, lambda data: memoryview(bytes(data))]),
    st.integers(0, 60),
    st.booleans(),
)


@QUICK
@given(
    st.lists(PIECE, max_size=8),
    st.integers(0, 3),
    st.integers(1, 60),
    st.lists(st.integers(0, 400), max_size=12),
    st.tuples(
        st.sampled_from([{}, {"whole": 0, "fetch": 1}, {"whole": 0, "fetch": 100}, {"whole": 200, "fetch": 300}]),
        st.sampled_from([0, 50]),
        st.integers(1, 4),
    ),
)
@example([(bytes, 60, True)] * 4, 1, 7, [0, 3, 3, 100, 200, 240], ({"whole": 0, "fetch": 1}, 0, 2))
def test_any_stretches_are_read_as_they_were_written(pieces, level, chunk, bounds, way):
    way, few, concurrency = way
    contents = [(NOISE[:size] if noisy else bytes(size)) for _, size, noisy in pieces]
    content = b"".join(contents)
    made = [kind(data) for (kind, _, _), data in zip(pieces, contents, strict=True)]
    bounds = sorted(min(bound, len(content)) for bound in bounds)
    with limits(chunk=chunk, own=max(1, chunk // 3), few=few, **way):
        blob = Stored(*made, level=level).open(concurrency=concurrency)
        assert blob.size == len(content)
        assert blob.read(0, blob.size) == content
        targets = [(a, memoryview(bytearray(b - a))) for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
        blob.fill(iter(targets))
        for start, memory in targets:
            assert memory == content[start : start + len(memory)]
            assert blob.read(start, len(memory)) == memory
    assert threads() == []


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK + 5])
def test_a_small_blob_is_one_request_however_it_is_read(size):
    stored = Stored(NOISE[:size])
    fetch = Fetched(stored.data, len(stored.data))
    blob = stored.open_with(fetch)
    assert blob.read(0, size) == NOISE[:size]
    blob.header()
    assert blob.read(size // 2, size // 3) == NOISE[size // 2 : size // 2 + size // 3]
    assert fetch.asked == [(0, len(stored.data))]


@pytest.fixture
def ten() -> Iterator[Stored]:
    """Ten frames of 100 bytes, which a reader fetches three at a time."""
    with limits(chunk=100, own=50, whole=0, fetch=400, few=0):
        yield Stored(NOISE[:1000])


def places(stored: Stored) -> list[tuple[int, int]]:
    """Start and size of each frame, the header first."""
    sizes = list(map(len, frames_of(stored.data)))
    return [(sum(sizes[:number]), size) for number, size in enumerate(sizes)]


def test_a_large_blob_is_fetched_in_runs_of_frames(ten):
    fetch = Fetched(ten.data, len(ten.data))
    assert ten.open_with(fetch).read(0, 1000) == NOISE[:1000]
    (seal, *runs), head = fetch.asked, places(ten)
    assert seal == (len(ten.data) - ten.facts["seal"], ten.facts["seal"])
    runs.sort()
    assert runs[0][0] == 0
    assert [start for start, _ in runs[1:]] == [start + size for start, size in runs[:-1]]
    assert all(size <= 400 for _, size in runs)
    assert len(runs) == 4
    assert sum(size for _, size in runs) == head[-1][0]


def test_only_what_holds_the_stretch_is_fetched(ten):
    fetch = Fetched(ten.data, len(ten.data))
    blob = ten.open_with(fetch)
    fetch.asked.clear()
    assert blob.read(250, 20) == NOISE[250:270]
    assert fetch.asked == [places(ten)[3]]
    fetch.asked.clear()
    blob.fill([(start, memoryview(bytearray(5))) for start in (10, 250)])
    assert sorted(fetch.asked) == [places(ten)[1], places(ten)[3]]
    fetch.asked.clear()
    targets = [(start, memoryview(bytearray(5))) for start in (10, 30, 199, 500)]
    blob.fill(targets)
    assert all(memory == NOISE[start : start + 5] for start, memory in targets)
    _, first, second, third, *_ = places(ten)
    assert sorted(fetch.asked) == [(first[0], first[1] + second[1] + third[1]), places(ten)[6]]


def test_which_frames_were_verified_is_told(ten):
    blob = ten.open()
    assert blob.verified == {}
    blob.read(250, 100)
    digests = frames_of(ten.data)[-1][8:]
    third, fourth = [(digests[32 * n : 32 * n + 32], *reversed(places(ten)[n])) for n in (3, 4)]
    assert blob.verified == {third[2]: third, fourth[2]: fourth}
    damaged = bytearray(ten.data)
    damaged[third[2] + 20] ^= 1
    blob = ten.open(bytes(damaged), concurrency=1)
    with pytest.raises(BlobCorruptError):
        blob.read(0, 1000)
    assert third[2] not in blob.verified


def test_nothing_is_fetched_for_nothing(ten):
    fetch = Fetched(ten.data, len(ten.data))
    blob = ten.open_with(fetch)
    fetch.asked.clear()
    assert blob.read(500, 0) == b""
    blob.fill([])
    blob.fill([(1000, memoryview(b""))])
    assert fetch.asked == []


def test_the_header_is_checked_by_whoever_reads_the_beginning(ten):
    damaged = ten.data.replace(b"asset", b"essat")
    blob = ten.open(damaged)
    assert blob.read(1, 999) == NOISE[1:1000]
    with pytest.raises(BlobCorruptError):
        blob.read(0, 1)
    with pytest.raises(BlobCorruptError):
        blob.header()
    assert ten.open().header()["asset"] == {"name": "a"}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_requests_are_in_flight_as_the_settings_say(ten, concurrency):
    together, flying, most = threading.Barrier(concurrency), 0, 0
    turn, first = threading.Lock(), iter([True])

    def fetch(start, memory):
        nonlocal flying, most
        if next(first, False):  # the seal
            memory[:] = ten.data[start : start + len(memory)]
            return
        with turn:
            flying += 1
            most = max(most, flying)
            number = next(numbers)
        if number < concurrency:
            together.wait(timeout=60)
        memory[:] = ten.data[start : start + len(memory)]
        with turn:
            flying -= 1

    numbers = iter(range(1000))
    assert ten.open_with(fetch, concurrency).read(0, 1000) == NOISE[:1000]
    assert most == concurrency


def test_what_is_held_is_decompressed_in_threads(monkeypatch):
    monkeypatch.setattr(reader, "threads_for", lambda most: 2)
    together, run = threading.Barrier(2), reader.SealedBlob._run
    seen = set()

    def noted(self, job):
        if threading.current_thread().name not in seen:
            seen.add(threading.current_thread().name)
            together.wait(timeout=60)
        run(self, job)

    monkeypatch.setattr(reader.SealedBlob, "_run", noted)
    assert Stored(NOISE).read() == NOISE
    assert len(seen) == 2
    assert threads() == []


@pytest.mark.parametrize("content", [b"x", TEXT, bytes(CHUNK)])
def test_little_is_read_without_a_thread(monkeypatch, content):
    monkeypatch.setattr(reader, "ThreadPoolExecutor", None)
    assert Stored(content).read() == content
    blob = Stored(bytes(2 * CHUNK)).open()
    assert blob.read(CHUNK - 100, 200) == bytes(200)


def test_when_a_fetch_has_failed_nothing_is_written_any_more_and_the_rest_is_given_up(ten, monkeypatch):
    """Who gets the error may use the memory for something else at once."""
    slow_began, asked = threading.Event(), []
    first = iter([True])

    def fetch(start, memory):
        if next(first, False):
            memory[:] = ten.data[start : start + len(memory)]
            return
        asked.append(start)
        if start == 0:
            slow_began.wait(timeout=60)
            raise StoreError("connection lost", reason="unreachable", retryable=True)
        slow_began.set()
        threading.Event().wait(0.2)
        memory[:] = ten.data[start : start + len(memory)]

    monkeypatch.setattr(reader, "FETCH", 1)  # eleven requests
    memory = bytearray(1000)
    with pytest.raises(StoreError, match="connection lost"):
        ten.open_with(fetch, concurrency=2).fill([(0, memoryview(memory))])
    before = bytes(memory)
    assert threads() == []
    assert len(asked) < 6
    threading.Event().wait(0.3)
    assert memory == before


def test_a_signal_that_raises_while_threads_read_leaves_none(ten):
    """As the time limit of a task does, in the main thread."""
    first = iter([True])
    began = threading.Event()

    def fetch(start, memory):
        memory[:] = ten.data[start : start + len(memory)]
        if not next(first, False):
            began.set()
            threading.Event().wait(0.3)

    def send():
        began.wait(timeout=60)
        threading.Event().wait(0.1)  # until the reader waits
        signal.pthread_kill(main, signal.SIGUSR1)

    def out_of_time(number, frame):
        raise TimeoutError("the task's time is up")

    main, blob, sender = threading.get_ident(), ten.open_with(fetch, concurrency=2), threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, out_of_time)
    sender.start()
    try:
        with pytest.raises(TimeoutError, match="time is up"):
            blob.read(0, 1000)
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert threads() == []


def test_several_threads_may_read_one_blob(ten):
    blob = ten.open(concurrency=2)
    seen = []

    def read(start):
        seen.extend(blob.read(start, 300) == NOISE[start : start + 300] for _ in range(20))

    readers = [threading.Thread(target=read, args=(start,)) for start in (0, 150, 333, 700)]
    for each in readers:
        each.start()
    for each in readers:
        each.join()
    assert seen == [True] * 80


def test_reading_by_ranges_takes_a_few_requests_of_memory():
    content = NOISE * 4
    stored = Stored(content)
    with limits(whole=0, fetch=5 * MIB):
        blob = stored.open(concurrency=2)
        memory = memoryview(bytearray(len(content)))
        tracemalloc.start()
        blob.fill([(0, memory)])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert memory == content
    assert peak < 2 * 8 * MIB


def test_a_frame_that_is_wanted_whole_is_decompressed_where_it_is_wanted():
    content = TEXT * 3500
    blob = Stored(content[:CHUNK]).open()
    memory = memoryview(bytearray(CHUNK))
    tracemalloc.start()
    blob.fill([(0, memory)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory == content[:CHUNK]
    assert peak < MIB


@pytest.mark.parametrize("whole", [reader.WHOLE, 0])
def test_a_closed_blob_holds_and_reads_nothing(whole):
    with limits(whole=whole):
        blob = Stored(NOISE).open()
        assert blob.read(0, blob.size) == NOISE
        blob.close()
        with pytest.raises(ValueError, match="closed"):
            blob.read(0, 1)


# Piece by piece


@pytest.mark.parametrize(
    "content", [b"", b"x", TEXT, NOISE, TEXT * 2000], ids=["empty", "byte", "text", "noise", "long"]
)
@pytest.mark.parametrize("whole", [reader.WHOLE, 0], ids=["held", "fetched"])
def test_the_pieces_are_the_encoded_value_in_order(monkeypatch, content, whole):
    monkeypatch.setattr(reader, "WHOLE", whole)
    monkeypatch.setattr(reader, "FETCH", 3 * CHUNK)
    blob = Stored(content).open()
    pieces = list(blob.pieces())
    assert b"".join(pieces) == content
    assert all(type(piece) is bytearray for piece in pieces)
    assert threads() == []
    if content is NOISE and not whole:
        assert [len(piece) for piece in pieces] == [CHUNK, CHUNK + 5]  # the first comes soon


def test_only_so_many_pieces_are_read_ahead_and_none_before_the_second_is_asked_for(ten, monkeypatch):
    begun, piece, ahead = [], reader.SealedBlob._piece, reader._AHEAD

    def noted(self, start, length):
        begun.append(start)
        return piece(self, start, length)

    monkeypatch.setattr(reader, "FETCH", 1)
    monkeypatch.setattr(reader.SealedBlob, "_piece", noted)
    pieces = ten.open().pieces()
    next(pieces)
    assert len(begun) == 1
    next(pieces)
    until = time.monotonic() + 60
    while len(begun) < 2 + ahead and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(begun) == 2 + ahead
    pieces.close()
    assert threads() == []


def _noted(pieces, got):
    for piece in pieces:
        got += piece
        yield b""


@pytest.mark.parametrize("whole", [reader.WHOLE, 0], ids=["held", "fetched"])
def test_a_damaged_frame_ends_the_pieces_with_an_error_and_no_thread_stays(monkeypatch, whole):
    monkeypatch.setattr(reader, "WHOLE", whole)
    stored = Stored(TEXT * 2000)
    middle = len(stored.data) // 2
    damaged = stored.data[:middle] + bytes([stored.data[middle] ^ 1]) + stored.data[middle + 1 :]
    got = bytearray()
    with pytest.raises(BlobCorruptError, match="not those that were written"):
        list(_noted(stored.open(damaged).pieces(), got))
    assert (TEXT * 2000).startswith(got)
    assert threads() == []


def test_the_first_piece_has_the_header_checked():
    stored = Stored(TEXT)
    with pytest.raises(BlobCorruptError, match="the header names the blob"):
        next(stored.open(blob_id=OTHER).pieces())
