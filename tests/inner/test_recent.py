"""What of a key's next blob need not be sent, because its last one has it."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.blobfile import BlobFile
from offload_backend.blobfile.frames import Frame
from offload_backend.blobstore import CopiesRefusedError
from offload_backend.errors import BlobCorruptError
from offload_backend.recent import LIMIT, WORTH, RecentBlobs
from offload_backend.stores.memory import MemoryBlobStore
from tests.inner.stores import HOME, TASK, a_ref, name_in
from tests.inner.values import QUICK

ROW = ("task/d", "k")


class CopyingStore(MemoryBlobStore):
    """Copies ranges, as S3 does, and tells what was sent."""

    def __init__(self, location):
        super().__init__(location)
        self.sent = 0
        self.sources = []

    def put(self, name, chunks):
        chunks = [bytes(chunk) for chunk in chunks]
        self.sent += sum(map(len, chunks))
        super().put(name, chunks)

    def put_with_copies(self, name, stretches, source):
        self.sources.append(source)
        data, copied = bytearray(), 0
        for stretch in stretches:
            sent = b"".join(map(bytes, stretch.buffers))
            assert len(sent) == stretch.size
            if stretch.offset is None:
                self.sent += len(sent)
            else:
                kept = self.get_range(source, stretch.offset, stretch.size)
                assert kept == sent, "the last blob does not have there what is said to be there"
                copied += len(kept)
            data += sent
        super().put(name, [bytes(data)])
        return copied


@pytest.fixture
def store(stores, monkeypatch):
    store = CopyingStore(HOME)
    monkeypatch.setattr(stores, "open", lambda path: store)
    return store


def noise(size, seed=1):
    return np.frombuffer(random.Random(seed).randbytes(size), "u1").copy()


def test_only_what_changed_is_sent(stores, store):
    offloader = stores.offloader()
    model = {"frozen": noise(24 * 2**20), "head": noise(3 * 2**20, 2), "epoch": 9}
    first = offloader.offload(model, TASK, "k")
    assert store.sent == a_ref(first).size
    store.sent = 0
    model["head"][5] ^= 1
    model["epoch"] = 10
    second = offloader.offload(model, TASK, "k")
    assert store.sources == [name_in(first)]
    assert store.sent < 3.1 * 2**20
    assert a_ref(second).size > 27 * 2**20
    found = offloader.resolve(second)
    assert found["epoch"] == 10
    assert np.array_equal(found["head"], model["head"])
    assert np.array_equal(found["frozen"], model["frozen"])


def test_a_process_that_only_read_the_last_value_knows_it_as_well(stores, store):
    value = {"w": noise(12 * 2**20)}
    first = stores.offloader().offload(value, TASK, "k")
    later = stores.offloader()
    assert np.array_equal(later.resolve(first)["w"], value["w"])
    store.sent = 0
    later.offload(value, TASK, "k")
    assert store.sources == [name_in(first)]
    assert store.sent < 2**20


@pytest.mark.parametrize("knows", ["who wrote it", "who read it"])
@pytest.mark.parametrize("where", [100, 10_000_000, -60])
def test_a_damaged_blob_is_not_copied_by_who_sets_the_key_again(stores, store, knows, where):
    """That is what the error's hint says to do."""
    value = {"w": noise(24 * 2**20)}
    writer = stores.offloader()
    first = writer.offload(value, TASK, "k")
    data = bytearray(b"".join(store.get(name_in(first))))
    data[where] ^= 1
    store.delete([name_in(first)])
    MemoryBlobStore.put(store, name_in(first), [bytes(data)])
    offloader = writer if knows == "who wrote it" else stores.offloader()
    with pytest.raises(BlobCorruptError):
        offloader.resolve(first)
    second = offloader.offload(value, TASK, "k")
    assert store.sources == []
    assert np.array_equal(offloader.resolve(second)["w"], value["w"])


def test_a_store_that_refuses_what_it_copied_gets_everything_from_then_on(stores, store, monkeypatch, caplog):
    offloader = stores.offloader()
    value = {"w": noise(12 * 2**20)}
    offloader.offload(value, TASK, "k")
    refused = []

    def refuse(name, stretches, source):
        refused.append(sum(stretch.size for stretch in stretches))
        raise CopiesRefusedError("S3 refused CompleteMultipartUpload: InvalidPart", reason="failed")

    monkeypatch.setattr(store, "put_with_copies", refuse)
    for _ in range(2):
        text = offloader.offload(value, TASK, "k")
        assert np.array_equal(offloader.resolve(text)["w"], value["w"])
    assert len(refused) == 1
    assert "nothing is copied any more" in caplog.text


@pytest.mark.parametrize("wrong", ["longer", "shifted"])
def test_a_store_that_copies_other_bytes_than_it_was_asked_to_is_found_out(stores, store, monkeypatch, wrong):
    offloader = stores.offloader()
    value = {"w": noise(12 * 2**20)}
    offloader.offload(value, TASK, "k")

    def put(name, stretches, source):
        data = b"".join(bytes(buffer) for stretch in stretches for buffer in stretch.buffers)
        MemoryBlobStore.put(store, name, [data + b"x" if wrong == "longer" else data[1:] + b"x"])
        return len(data)

    monkeypatch.setattr(store, "put_with_copies", put)
    text = offloader.offload(value, TASK, "k")
    assert np.array_equal(offloader.resolve(text)["w"], value["w"])
    assert len(list(store.list())) == 2, "the wrong blob stays behind"


@pytest.mark.parametrize("what", ["another key", "another task", "switched off", "small"])
def test_nothing_is_copied_of(stores, store, what):
    value = {"w": noise(2**20 if what == "small" else 12 * 2**20)}
    offloader = stores.offloader(copy_unchanged=what != "switched off")
    offloader.offload(value, TASK, "k")
    address = TASK if what != "another task" else type(TASK)("dag", "run", "task", 4)
    offloader.offload(value, address, "other" if what == "another key" else "k")
    assert store.sources == []


def test_a_store_that_copies_nothing_gets_everything(stores):
    offloader = stores.offloader()
    value = {"w": noise(12 * 2**20)}
    offloader.offload(value, TASK, "k")
    text = offloader.offload(value, TASK, "k")
    assert np.array_equal(offloader.resolve(text)["w"], value["w"])


def test_the_last_blobs_of_the_last_rows_are_remembered():
    recent = RecentBlobs()
    for number in range(LIMIT + 3):
        recent.remember(("task/d", str(number)), f"name-{number}", [(b"d", WORTH, 0)])
    assert recent.of(("task/d", "2")) is None
    assert recent.of(("task/d", "3")) is not None
    recent.remember(("task/d", "3"), "newer", [(b"d", WORTH, 0)])
    newest = recent.of(("task/d", "3"))
    assert newest is not None
    assert newest.name == "newer"
    recent.remember(("task/d", "3"), "small", [(b"d", WORTH - 1, 0)])
    assert recent.of(("task/d", "3")) is None


@QUICK
@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_a_stretch_is_found_where_it_is_and_next_to_its_neighbour(old, new):
    recent = RecentBlobs()
    sizes = [3, 5, 7, 11, 13]
    starts = list(itertools.accumulate((sizes[kind] for kind in old), initial=0))
    places = [(bytes([kind]), sizes[kind], start) for kind, start in zip(old, starts, strict=False)]
    recent.remember(ROW, "name", [*places, (b"end", WORTH, starts[-1])])
    last = recent.of(ROW)
    assert last is not None
    frames = [Frame((bytes(sizes[kind]),), sizes[kind], sizes[kind], bytes([kind])) for kind in new]
    found = list(last.stretches(iter(frames)))
    assert [stretch.size for stretch in found] == [frame.size for frame in frames]
    end = -1
    for kind, stretch in zip(new, found, strict=True):
        at = [start for known, start in zip(old, starts, strict=False) if known == kind]
        assert (stretch.offset is None) == (not at)
        if at:
            assert stretch.offset == (end if end in at else at[0])
            end = stretch.offset + stretch.size
        else:
            end = -1


def test_places_of_a_new_blob_are_where_its_frames_are():
    blob = BlobFile({"id": "x"}, [memoryview(noise(9 * 2**20)), b"tail"], level=1, max_raw=2**30)
    data = b"".join(blob)
    seal = data[-blob.seal :]
    assert sum(size for _, size, _ in blob.places) + len(seal) == len(data)
    for digest, _, start in blob.places:
        assert digest in seal
        assert start < len(data)


def test_frames_may_have_been_read_in_any_order():
    blobs, frames = RecentBlobs(), [(b"b", WORTH, 100), (b"a", 100, 0)]
    for order in (frames, frames[::-1]):
        blobs.remember(ROW, "name", order)
        assert blobs.of(ROW).starts == {b"a": [0], b"b": [100]}
