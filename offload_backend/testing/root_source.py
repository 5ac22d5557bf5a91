"""The contract of :class:`~offload_backend.rootsource.RootSource`, as tests that every adapter passes.

Subclass it, name the class ``Test…``, and supply three fixtures, all of one empty database::

    class TestMine(RootSourceContract):
        @pytest.fixture
        def root_source(self): ...  # the adapter

        @pytest.fixture
        def put_row(self): ...  # put_row(address, key, text): a row with this text, committed

        @pytest.fixture
        def drop_row(self): ...  # drop_row(address, key): the row gone, committed

An adapter that is asked address by address is asked here for every address that has a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from offload_backend.address import AssetAddress, StateAddress, TaskAddress, blob_name, new_blob_id
from offload_backend.ref import BlobRef, format_ref
from offload_backend.rootsource import Hidden, Ledger, Root
from offload_backend.row import row_text

if TYPE_CHECKING:
    from offload_backend.rootsource import RootSource

__all__ = ["ADDRESSES", "RootSourceContract"]

TASK = TaskAddress("dag", "run", "task")
ADDRESSES: tuple[StateAddress, ...] = (
    TASK,
    TaskAddress("dag", "run", "task", 0),
    TaskAddress("dag", "run", "task", 1),
    TaskAddress("dag", "run", "other"),
    AssetAddress(name="orders"),
)
"""What a database of any kind can hold; an adapter with regions may be tested on more."""

PutRow = Callable[[StateAddress, str, str], None]
DropRow = Callable[[StateAddress, str], None]


def ref_to(blob_id: str, address: StateAddress = TASK, key: str = "key") -> str:
    """A ref to the blob of this id."""
    name = blob_name("default", address, key, blob_id, "json.zst")
    return format_ref(BlobRef(f"s3://bucket/prefix/{name}", 1, 1, "0" * 64, "json"))


def canary(sequence: int = 1) -> Ledger:
    """A ledger whose canary has a fresh id."""
    url = f"s3://bucket/prefix/v1/default/_gc/canary/{new_blob_id()}.json.zst"
    return Ledger(sequence, format_ref(BlobRef(url, 1, 1, "0" * 64, "json")))


def read(source: RootSource) -> list[Root]:
    """All its roots; it must hide nothing."""
    found = list(source.roots(ADDRESSES))
    roots = [root for root in found if not isinstance(root, Hidden)]
    assert len(roots) == len(found)
    return roots


def ids_of(source: RootSource) -> set[str]:
    """The ids in all its roots."""
    return {blob_id for root in read(source) for blob_id in root.ids}


class RootSourceContract:
    """Needs the fixtures ``root_source``, ``put_row`` and ``drop_row``."""

    def test_an_empty_database_has_no_roots_and_no_ledger(self, root_source: RootSource) -> None:
        assert read(root_source) == []
        assert root_source.ledger() is None

    def test_the_ledger_is_what_was_recorded_last(self, root_source: RootSource) -> None:
        first, second = canary(7), canary(8)
        root_source.record(first)
        assert root_source.ledger() == first
        root_source.record(second)
        assert root_source.ledger() == second

    def test_the_canary_is_among_the_roots_and_a_replaced_one_is_not(self, root_source: RootSource) -> None:
        first, second = canary(), canary()
        root_source.record(first)
        assert ids_of(root_source) == {_id(first)}
        root_source.record(second)
        assert ids_of(root_source) == {_id(second)}

    def test_a_row_with_a_ref_is_a_root_that_tells_ref_id_and_time(
        self, root_source: RootSource, put_row: PutRow
    ) -> None:
        blob_id = new_blob_id()
        put_row(TASK, "key", row_text(ref_to(blob_id)))
        [root] = read(root_source)
        assert blob_id in root.ids
        assert root.ref == ref_to(blob_id)
        assert root.holder
        assert root.updated_at is None or root.updated_at.utcoffset() is not None

    def test_rows_of_every_address_are_read(self, root_source: RootSource, put_row: PutRow) -> None:
        ids = {address: new_blob_id() for address in ADDRESSES}
        for address, blob_id in ids.items():
            put_row(address, "key", row_text(ref_to(blob_id, address)))
        assert ids_of(root_source) == set(ids.values())

    def test_a_holder_tells_rows_apart_and_shows_no_content(self, root_source: RootSource, put_row: PutRow) -> None:
        keys = ("one", "two")
        for key in keys:
            put_row(TASK, key, row_text(ref_to(new_blob_id())))
        holders = [root.holder for root in read(root_source)]
        assert len(set(holders)) == len(keys)
        assert not any("://" in holder for holder in holders)

    def test_an_id_anywhere_in_a_row_keeps_its_blob(self, root_source: RootSource, put_row: PutRow) -> None:
        blob_id = new_blob_id()
        put_row(TASK, "key", json.dumps({"kept": ["elsewhere", {"as": blob_id.upper()}]}))
        [root] = read(root_source)
        assert (root.ids, root.ref) == ((blob_id,), None)

    def test_a_row_without_an_id_is_no_root(self, root_source: RootSource, put_row: PutRow) -> None:
        put_row(TASK, "key", '{"epoch": 3}')
        put_row(TASK, "peer", row_text("s3://bucket/dag/run/task/-1/key"))
        assert read(root_source) == []

    def test_a_row_that_is_gone_or_replaced_is_no_root(
        self, root_source: RootSource, put_row: PutRow, drop_row: DropRow
    ) -> None:
        gone, replaced, current = new_blob_id(), new_blob_id(), new_blob_id()
        put_row(TASK, "gone", row_text(ref_to(gone)))
        put_row(TASK, "key", row_text(ref_to(replaced)))
        put_row(TASK, "key", row_text(ref_to(current)))
        drop_row(TASK, "gone")
        assert ids_of(root_source) == {current}

    def test_what_is_committed_before_the_call_is_read(self, root_source: RootSource, put_row: PutRow) -> None:
        assert read(root_source) == []
        blob_id = new_blob_id()
        put_row(TASK, "key", row_text(ref_to(blob_id)))
        assert ids_of(root_source) == {blob_id}

    def test_thousands_of_rows_are_all_read(self, root_source: RootSource, put_row: PutRow) -> None:
        ids = {new_blob_id() for _ in range(2_100)}
        for blob_id in ids:
            put_row(TASK, blob_id, row_text(ref_to(blob_id)))
        assert ids_of(root_source) == ids

    def test_the_origin_stays_the_same_and_names_the_database(
        self, root_source: RootSource, put_row: PutRow
    ) -> None:
        before = root_source.origin()
        put_row(TASK, "key", "1")
        root_source.record(canary())
        after = root_source.origin()
        assert (before.kind, before.fingerprint) == (after.kind, after.fingerprint)
        assert before.kind
        assert before.fingerprint
        assert before.location
        assert not before.replica


def _id(ledger: Ledger) -> str:
    name = ledger.canary.partition("#")[0].rpartition("/")[2]
    return str(UUID(name.partition(".")[0]))
