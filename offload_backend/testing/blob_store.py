"""The contract of :class:`~offload_backend.blobstore.BlobStore`, as tests that every adapter passes.

Subclass it, name the class ``Test…``, and supply two fixtures::

    class TestMine(BlobStoreContract):
        @pytest.fixture
        def store(self): ...  # the adapter, empty, cutting parts of part_size bytes

        @pytest.fixture
        def raw(self, store): ...  # the same place through another client, see RawClient
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, pairwise
from typing import Protocol

import pytest

from offload_backend.address import AssetAddress, TaskAddress, blob_name, new_blob_id
from offload_backend.blobstore import BlobStore
from offload_backend.errors import BlobNotFoundError, ForeignRefError, StoreError
from offload_backend.location import location_of, relative_name
from offload_backend.testing.blob_buffers import BAD_NAMES, BufferContract, distinct_bytes, on_a_loop

__all__ = ["BlobStoreContract", "RawClient"]

BAD_PREFIXES = ("/", "../", "a//", "a/../b", "./", "a\0", "a b", "a#")
FAILURES = (RuntimeError("the source broke"), OSError(28, "the source's own disk is full"), KeyboardInterrupt())


class RawClient(Protocol):
    """A second client of the store's place, which must not use the store's methods."""

    def put(self, name: str, data: bytes) -> None:
        """Write a blob."""

    def get(self, name: str) -> bytes:
        """The bytes of a blob."""
        ...

    def names(self) -> set[str]:
        """The names of all blobs."""
        ...

    def unfinished(self) -> list[str]:
        """What a failed put could have left: multipart uploads, temporary files."""
        ...


class BlobStoreContract(BufferContract):
    """What any blob store does. ``part_size``: bytes of its parts; ``many``: more than one listing page."""

    part_size = 5 * 1024 * 1024
    many = 1001

    @pytest.fixture
    def store(self) -> BlobStore:
        """The adapter under test, empty."""
        raise NotImplementedError

    @pytest.fixture
    def raw(self, store: BlobStore) -> RawClient:
        """The same place through another client."""
        raise NotImplementedError

    def test_the_location_is_canonical_and_names_are_relative_to_it(self, store: BlobStore) -> None:
        """Refs begin with the location, and lead back to the name."""
        assert store.location == location_of(store.location)
        assert relative_name(f"{store.location}/v1/a~/b.json.zst", store.location) == "v1/a~/b.json.zst"

    @pytest.mark.parametrize("parts", ["0", "1 byte", "1", "1 + 1 byte", "3"])
    def test_what_is_put_is_there_byte_for_byte(self, store: BlobStore, raw: RawClient, parts: str) -> None:
        """Around every size at which an adapter changes its ways."""
        number, _, extra = parts.partition(" + ")
        size = 1 if parts == "1 byte" else int(number) * self.part_size + bool(extra)
        data = distinct_bytes(size)
        store.put("v1/x/blob", [data])
        assert raw.names() == {"v1/x/blob"}
        assert raw.get("v1/x/blob") == data
        assert b"".join(store.get("v1/x/blob")) == data

    def test_chunks_of_any_size_are_one_blob_in_their_order(self, store: BlobStore, raw: RawClient) -> None:
        """Empty chunks included, and whatever is cut across a part's end."""
        data = distinct_bytes(2 * self.part_size + 12_345)
        cuts = [0, 0, 1, 2, 65_537, self.part_size - 1, self.part_size, self.part_size + 3, len(data)]
        store.put("odd", (data[start:end] for start, end in pairwise(cuts)))
        assert raw.get("odd") == data

    def test_what_another_client_wrote_is_read(self, store: BlobStore, raw: RawClient) -> None:
        """The store keeps bytes as they are, without a wrapping of its own."""
        raw.put("v1/there", b"written elsewhere")
        assert b"".join(store.get("v1/there")) == b"written elsewhere"

    @pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
    @pytest.mark.parametrize("after", ["at the start", "in the first part", "in the third part"])
    def test_a_put_whose_chunks_fail_leaves_nothing(
        self, store: BlobStore, raw: RawClient, after: str, failure: BaseException
    ) -> None:
        """The very exception comes out; neither a blob nor an upload stays."""
        sizes = {"at the start": 0, "in the first part": 100, "in the third part": 2 * self.part_size + 1}
        raw.put("before", b"x")
        with pytest.raises(type(failure)) as raised:
            store.put("v1/half", _failing(sizes[after], failure))
        assert raised.value is failure
        assert raw.names() == {"before"}
        assert raw.unfinished() == []
        assert [info.name for info in store.list()] == ["before"]
        store.put("v1/half", [b"the next try"])
        assert raw.get("v1/half") == b"the next try"

    @pytest.mark.parametrize(
        "name",
        [
            "v1/%2F%2e/a=b/~/A-Z_a.z~0123456789abcdef0123456789abcdef/x.json.zst",
            "name@host/a:b,c;d!$&'()*+[]{}|^`<>\"/%",
            "...",
            ".hidden/..data",
            "v1/-1/x.tmp",
        ],
    )
    def test_a_name_means_its_characters(self, store: BlobStore, raw: RawClient, name: str) -> None:
        """Nothing in it is decoded, expanded as a pattern or normalised."""
        store.put(name, [b"data"])
        assert raw.names() == {name}
        assert b"".join(store.get(name)) == b"data"
        assert store.get_range(name, 1, 2) == b"at"
        assert [info.name for info in store.list(name)] == [name]
        assert store.delete([name]).deleted == (name,)
        assert raw.names() == set()

    def test_the_longest_names_of_the_grammar_fit(self, store: BlobStore, raw: RawClient) -> None:
        """Up to 820 bytes, with segments that other stores would find too long."""
        long = "ü" * 500
        addresses = (TaskAddress(long, long, long, 2**31), AssetAddress(name=long), AssetAddress(uri=long))
        names = [blob_name("d" * 64, address, long, new_blob_id(), "json.zst") for address in addresses]
        for name in names:
            store.put(name, [name.encode()])
        assert raw.names() == set(names)
        assert [b"".join(store.get(name)).decode() for name in names] == names

    def test_a_name_that_leads_elsewhere_is_refused(self, store: BlobStore, raw: RawClient) -> None:
        """By every method, before anything happens."""
        raw.put("kept", b"x")
        for name in BAD_NAMES:
            with pytest.raises(ForeignRefError):
                store.put(name, [b"data"])
            with pytest.raises(ForeignRefError):
                b"".join(store.get(name))
            with pytest.raises(ForeignRefError):
                store.get_range(name, 0, 1)
            with pytest.raises(ForeignRefError):
                store.delete(["kept", name])
        assert raw.names() == {"kept"}

    def test_a_missing_blob_is_not_found(self, store: BlobStore, raw: RawClient) -> None:
        """With its URL in the error, also where a folder or another blob has part of the name."""
        raw.put("v1/a/b", b"x")
        for name in ("missing", "v1", "v1/a", "v1/a/b2", "v1/a/b/c"):
            with pytest.raises(BlobNotFoundError) as caught:
                b"".join(store.get(name))
            assert caught.value.location == f"{store.location}/{name}"
            for start, length in ((0, 1), (0, 0), (5, 5)):
                with pytest.raises(BlobNotFoundError):
                    store.get_range(name, start, length)

    def test_what_is_overwritten_while_it_is_read_is_no_mixture(self, store: BlobStore, raw: RawClient) -> None:
        """Airflow's own backend overwrites a value with every set, and no digest tells one from another."""
        size = 2 * self.part_size + 100
        old, new = b"o" * size, b"n" * size
        raw.put("v1/again", old)
        chunks = store.get("v1/again")
        found = next(chunks)
        raw.put("v1/again", new)
        with suppress(StoreError):
            found += b"".join(chunks)
            is_whole = found in (old, new)
            assert is_whole

    def test_a_range_ends_with_the_blob(self, store: BlobStore, raw: RawClient) -> None:
        """Fewer bytes than asked for come only from the end, none from behind it."""
        raw.put("ten", b"0123456789")
        raw.put("none", b"")
        cases = {(0, 0): b"", (0, 1): b"0", (3, 4): b"3456", (0, 10): b"0123456789", (9, 1): b"9"}
        cases |= {(8, 100): b"89", (9, 0): b"", (10, 1): b"", (10, 0): b"", (10_000, 5): b""}
        assert {case: store.get_range("ten", *case) for case in cases} == cases
        assert [store.get_range("none", *case) for case in ((0, 0), (0, 5), (3, 1))] == [b""] * 3
        for start, length in ((-1, 1), (0, -1)):
            with pytest.raises(ValueError, match="not negative"):
                store.get_range("ten", start, length)

    def test_a_range_may_span_parts(self, store: BlobStore) -> None:
        """And be longer than any chunk."""
        data = distinct_bytes(2 * self.part_size)
        store.put("large", [data])
        start, length = self.part_size - 700_000, 1_400_001
        assert store.get_range("large", start, length) == data[start : start + length]

    def test_a_listing_is_by_prefix_of_the_name(self, store: BlobStore, raw: RawClient) -> None:
        """A prefix is text: it ends at no segment unless it says so."""
        names = {"x/a/1", "x/a/2/3", "x/ab/1", "x/a.1", "y/x/a/1", "x1"}
        for name in names:
            raw.put(name, b"12345")
        prefixes = ("", "x", "x/", "x/a", "x/a/", "x/a/2", "x/a/2/3", "x/a/2/3/", "x/b", "z/", "x/a/1/")
        listed = {prefix: sorted(info.name for info in store.list(prefix)) for prefix in prefixes}
        expected = {prefix: sorted(n for n in names if n.startswith(prefix)) for prefix in prefixes}
        assert listed == expected

    def test_a_prefix_that_leads_elsewhere_is_refused(self, store: BlobStore) -> None:
        """As a name would be."""
        for prefix in BAD_PREFIXES:
            with pytest.raises(ForeignRefError):
                list(store.list(prefix))

    def test_a_listing_tells_size_and_time(self, store: BlobStore) -> None:
        """Later blobs are not older, by the store's clock, which has a time zone."""
        store.put("v1/first", [b"12345"])
        store.put("v1/second", [b""])
        infos = {info.name: info for info in store.list("v1/")}
        assert {name: info.size for name, info in infos.items()} == {"v1/first": 5, "v1/second": 0}
        assert all(info.modified.utcoffset() is not None for info in infos.values())
        assert infos["v1/first"].modified <= infos["v1/second"].modified

    def test_a_long_listing_is_complete_and_can_be_deleted(self, store: BlobStore, raw: RawClient) -> None:
        """Beyond the 1,000 names that S3 lists, and deletes, in one request."""
        names = [f"v1/{number % 3}/{number:05}" for number in range(self.many)]
        for name in names:
            raw.put(name, b"x")
        assert sorted(info.name for info in store.list("v1/")) == sorted(names)
        report = store.delete(names)
        assert set(report.deleted) == set(names)
        assert report.failed == {}
        assert raw.names() == set()

    def test_a_delete_reports_every_name_once(self, store: BlobStore, raw: RawClient) -> None:
        """Missing ones are gone, and a name given twice is one name."""
        for name in ("v1/a/1", "v1/a/2", "v1/a/21", "v1/b"):
            raw.put(name, b"x")
        report = store.delete(["v1/a/2", "v1/missing", "v1/a", "v1/b", "v1/b"])
        assert sorted(report.deleted) == ["v1/a", "v1/a/2", "v1/b", "v1/missing"]
        assert report.failed == {}
        assert raw.names() == {"v1/a/1", "v1/a/21"}
        assert store.delete([]).deleted == ()

    def test_threads_share_a_store(self, store: BlobStore, raw: RawClient) -> None:
        """Eight of them put, read, list and delete at once, in the same folder."""

        def work(number: int) -> bool:
            kept, dropped = f"v1/shared/kept-{number}", f"v1/shared/dropped-{number}"
            data = distinct_bytes(50_000 + number)
            store.put(kept, [data])
            store.put(dropped, [b"x"])
            listed = {info.name for info in store.list("v1/")}
            return (
                b"".join(store.get(kept)) == data
                and {kept, dropped} <= listed
                and store.delete([dropped]).deleted == (dropped,)
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))
        assert raw.names() == {f"v1/shared/kept-{number}" for number in range(24)}

    def test_a_store_works_inside_a_running_event_loop(self, store: BlobStore) -> None:
        """Airflow calls it there, from the loop's own thread."""

        async def use() -> tuple[bytes, list[str], tuple[str, ...]]:
            store.put("v1/a", [distinct_bytes(self.part_size), b"more"])
            data = b"".join(store.get("v1/a"))
            return data, [info.name for info in store.list()], store.delete(["v1/a"]).deleted

        assert on_a_loop(use()) == (distinct_bytes(self.part_size) + b"more", ["v1/a"], ("v1/a",))


def _failing(size: int, failure: BaseException) -> Iterator[bytes]:
    step = 1024 * 1024
    yield from chain((bytes(step) for _ in range(size // step)), [bytes(size % step)])
    raise failure
