"""What any blob store does with memory that is the caller's: a part of the contract of blob stores."""

from __future__ import annotations

import asyncio
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ForeignRefError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from offload_backend.blobstore import BlobStore, Buffer
    from offload_backend.testing.blob_store import RawClient

__all__ = ["BAD_NAMES", "BufferContract", "distinct_bytes", "on_a_loop"]

BAD_NAMES = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../x",
    "a/../b",
    "a/.",
    "./a",
    "a/..",
    "a\0b",
    "a b",
    "a\nb",
    "a?b",
    "a#b",
    "a\\b",
    "é",
)
_MARGIN = 64
_T = TypeVar("_T")


class BufferContract:
    """Tests of ``read_into``, and of ``put`` with views; :class:`BlobStoreContract` has them and the fixtures."""

    part_size = 5 * 1024 * 1024

    @pytest.mark.parametrize("parts", ["0", "1 byte", "1", "3 + 7 bytes"])
    def test_a_buffer_takes_the_whole_blob(self, store: BlobStore, raw: RawClient, parts: str) -> None:
        """Around every size at which an adapter changes its ways."""
        data = distinct_bytes({"0": 0, "1 byte": 1, "1": self.part_size}.get(parts, 3 * self.part_size + 7))
        raw.put("v1/x/blob", data)
        assert _read(store, "v1/x/blob", 0, len(data), len(data)) == data

    def test_a_buffer_takes_any_stretch(self, store: BlobStore, raw: RawClient) -> None:
        """At the start, in the middle, at the end, and none at all."""
        data = distinct_bytes(100_000)
        raw.put("blob", data)
        stretches = [(0, 1), (0, 99_999), (1, 99_999), (40_000, 7), (99_999, 1), (0, 0), (50, 0), (100_000, 0)]
        for start, length in stretches:
            assert _read(store, "blob", start, length, 100_000) == data[start : start + length]

    def test_a_stretch_may_span_parts(self, store: BlobStore) -> None:
        """And be longer than any chunk."""
        data = distinct_bytes(2 * self.part_size + 100)
        store.put("large", [data])
        start, length = self.part_size - 700_000, self.part_size + 700_001
        assert _read(store, "large", start, length, len(data)) == data[start : start + length]

    def test_a_blob_of_another_size_is_corrupt(self, store: BlobStore, raw: RawClient) -> None:
        """Whatever stretch of it is wanted: the size that its ref states is part of what is read."""
        raw.put("blob", distinct_bytes(1000))
        raw.put("none", b"")
        whole = [("blob", 0, size, size) for size in (0, 1, 999, 1001, 5000)]
        stretches = [("blob", start, 10, total) for start in (0, 500) for total in (999, 1001)]
        behind = [("blob", start, 5, start + 5) for start in (996, 1000, 2000)] + [("blob", 999, 2, 1000)]
        nothing = [("blob", 0, 0, 999), ("blob", 1000, 0, 1001)]
        empty = [("none", start, length, 5) for start, length in ((0, 0), (0, 5), (3, 2))]
        for name, start, length, total in [*whole, *stretches, *behind, *nothing, *empty]:
            with pytest.raises(BlobCorruptError) as caught:
                _read(store, name, start, length, total)
            assert caught.value.location == f"{store.location}/{name}"
        assert _read(store, "none", 0, 0, 0) == b""

    def test_no_buffer_is_filled_from_a_missing_blob(self, store: BlobStore, raw: RawClient) -> None:
        """With its URL in the error, also where a folder has the name."""
        raw.put("v1/a/b", b"x")
        for name in ("missing", "v1/a", "v1/a/b/c"):
            for start, length, total in ((0, 1, 1), (0, 0, 0), (0, 0, 9), (3, 2, 9)):
                with pytest.raises(BlobNotFoundError) as caught:
                    _read(store, name, start, length, total)
                assert caught.value.location == f"{store.location}/{name}"

    def test_no_buffer_is_filled_from_elsewhere(self, store: BlobStore, raw: RawClient) -> None:
        """Neither from names that lead out of the location nor from before a blob."""
        raw.put("kept", b"x")
        for name in BAD_NAMES:
            with pytest.raises(ForeignRefError):
                _read(store, name, 0, 1, 1)
        with pytest.raises(ValueError, match="not negative"):
            _read(store, "kept", -1, 1, 1)

    def test_threads_fill_one_buffer(self, store: BlobStore, raw: RawClient) -> None:
        """Each a stretch of its own, of the same blob; several stretches at once."""
        data = distinct_bytes(self.part_size + 1000)
        raw.put("shared", data)
        found = bytearray(len(data))
        step = len(data) // 40

        def fill(start: int) -> None:
            store.read_into("shared", start, memoryview(found)[start : start + step], len(data))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fill, range(0, len(data), step)))
        assert found == data

    def test_a_buffer_is_filled_inside_a_running_event_loop(self, store: BlobStore, raw: RawClient) -> None:
        """Airflow calls it there, from the loop's own thread."""
        raw.put("blob", b"0123456789")

        async def use() -> tuple[bytes, bytes]:
            return _read(store, "blob", 0, 10, 10), _read(store, "blob", 4, 3, 10)

        assert on_a_loop(use()) == (b"0123456789", b"456")

    def test_chunks_may_be_views_of_what_a_user_owns(self, store: BlobStore, raw: RawClient) -> None:
        """They are written as they are, not changed, and nobody's business once ``put`` has returned."""
        numbers, text = array("d", range(self.part_size // 8)), bytearray(distinct_bytes(self.part_size // 2))
        whole = numbers.tobytes() + b"abc" + text + b"def" + text[100:200] + numbers.tobytes()
        views = [memoryview(numbers).cast("B"), memoryview(text), memoryview(text)[100:200]]
        store.put(
            "large", [views[0], b"abc", views[1], b"", bytearray(b"def"), memoryview(b""), views[2], views[0]]
        )
        store.put("small", [views[2], b"abc", memoryview(b"def")])
        assert numbers.tobytes() + b"abc" + text + b"def" + text[100:200] + numbers.tobytes() == whole
        for view in views:
            view.release()
        numbers[0], text[:] = -1.0, bytes(len(text))
        numbers.append(1.0)  # a BufferError, if anybody still held a view
        text.clear()
        assert raw.get("large") == whole
        assert raw.get("small") == distinct_bytes(200)[100:] + b"abcdef"

    def test_one_view_may_be_the_blob(self, store: BlobStore, raw: RawClient) -> None:
        """Larger than a part, and smaller: nothing may be kept that is the caller's."""
        for name, size in (("small", 1000), ("large", 2 * self.part_size + 1)):
            owned = bytearray(distinct_bytes(size))
            store.put(name, [memoryview(owned)])
            owned[:] = bytes(size)
            owned.clear()
            assert raw.get(name) == distinct_bytes(size)

    def test_thousands_of_chunks_are_one_blob(self, store: BlobStore, raw: RawClient) -> None:
        """Three bytes between large ones, as where every buffer has a mark before it."""
        data = distinct_bytes(self.part_size + 3 * 5000)
        chunks: list[Buffer] = []
        position, step = 0, self.part_size // 5000
        while position < len(data):
            chunks += data[position : position + 3], memoryview(data)[position + 3 : position + 3 + step]
            position += 3 + step
        store.put("many", chunks)
        assert raw.get("many") == data


def on_a_loop(work: Coroutine[Any, Any, _T]) -> _T:
    """What the coroutine returns, run by a loop in a thread of its own: the caller's may have one already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def distinct_bytes(size: int) -> bytes:
    """Bytes in which a lost, doubled or exchanged stretch shows."""
    pattern = b"".join(number.to_bytes(4, "big") for number in range(4096))
    blocks = (pattern[:-8] + number.to_bytes(8, "big") for number in range(size // len(pattern) + 1))
    return b"".join(blocks)[:size]


def _read(store: BlobStore, name: str, start: int, length: int, total: int) -> bytes:
    """The stretch, read into the middle of a larger buffer, around which every byte stays."""
    margin = b"\xa5" * _MARGIN
    owned = bytearray(margin + b"\x5a" * length + margin)
    store.read_into(name, start, memoryview(owned)[_MARGIN : _MARGIN + length], total)
    assert owned[:_MARGIN] == margin == owned[_MARGIN + length :]
    return bytes(owned[_MARGIN : _MARGIN + length])
