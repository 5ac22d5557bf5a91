"""What every core store must do, as a test class to inherit from.

::

    class TestMyCoreStore(CoreStoreContract):
        @pytest.fixture
        def core_store(self):
            store = MyCoreStore(...)  # empty
            yield store
            store.close()
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import UUID

from offload_backend.address import AssetAddress, StateAddress, TaskAddress

if TYPE_CHECKING:
    from offload_backend.corestore import CoreStore

__all__ = ["HOSTILE_TEXTS", "CoreStoreContract"]

TASK = TaskAddress("dag", "run", "task")
REGION = UUID("01890000-0000-7000-8000-000000000001")
HOSTILE_TEXTS = (
    "",
    " ",
    "trailing ",
    ".",
    "..",
    "a/b\\c",
    "\\u0000",
    "%",
    "_",
    "'; DROP TABLE offload_task_state; --",
    "line\nbreak",
    "nul\0nul",
    "\ud800",
    "\ud83d\ude00",
    "\U0001f600",
    "é",
    "e\u0301",
    "A",
    "a",
    "\U0001f600" * 512,
)
"""Ids and keys that are all different and that databases tend to refuse, fold or mix up."""


class CoreStoreContract:
    """Needs a fixture ``core_store``: an empty core store, fresh for every test."""

    def test_a_missing_row_is_none(self, core_store: CoreStore) -> None:
        assert core_store.get(TASK, "key") is None

    def test_a_row_comes_back_as_it_was_set(self, core_store: CoreStore) -> None:
        expires_at = datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=timezone(timedelta(hours=2)))
        before = datetime.now(timezone.utc)
        core_store.set(TASK, "key", '{"a": "é\U0001f600"}', expires_at=expires_at)
        row = core_store.get(TASK, "key")
        assert row is not None
        assert (row.address, row.key, row.text) == (TASK, "key", '{"a": "é\U0001f600"}')
        assert row.expires_at == expires_at
        assert row.expires_at.utcoffset() is not None
        assert before <= row.updated_at <= datetime.now(timezone.utc)

    def test_set_returns_the_text_it_replaced(self, core_store: CoreStore) -> None:
        soon = datetime.now(timezone.utc) + timedelta(days=1)
        assert core_store.set(TASK, "key", "1", expires_at=soon) is None
        assert core_store.set(TASK, "key", "2", expires_at=None) == "1"
        row = core_store.get(TASK, "key")
        assert row is not None
        assert (row.text, row.expires_at) == ("2", None)

    def test_an_expired_row_can_be_read_until_it_is_removed(self, core_store: CoreStore) -> None:
        core_store.set(TASK, "key", "1", expires_at=datetime(2001, 1, 1, tzinfo=timezone.utc))
        assert core_store.get(TASK, "key") is not None

    def test_delete_returns_the_text_and_does_nothing_the_second_time(self, core_store: CoreStore) -> None:
        core_store.set(TASK, "key", "1", expires_at=None)
        core_store.set(TASK, "other", "2", expires_at=None)
        assert core_store.delete(TASK, "key") == "1"
        assert core_store.delete(TASK, "key") is None
        assert core_store.get(TASK, "key") is None
        assert core_store.get(TASK, "other") is not None

    def test_a_deleted_key_can_be_set_again(self, core_store: CoreStore) -> None:
        core_store.set(TASK, "key", "1", expires_at=None)
        core_store.delete(TASK, "key")
        assert core_store.set(TASK, "key", "2", expires_at=None) is None

    def test_addresses_do_not_see_each_other(self, core_store: CoreStore) -> None:
        for number, address in enumerate(NEIGHBOURS):
            assert core_store.set(address, "key", str(number), expires_at=None) is None
        for number, address in enumerate(NEIGHBOURS):
            row = core_store.get(address, "key")
            assert row is not None
            assert (row.text, row.address) == (str(number), address)

    def test_clear_removes_this_map_index_and_region_only(self, core_store: CoreStore) -> None:
        for address in NEIGHBOURS:
            core_store.set(address, "a", f"a of {address}", expires_at=None)
            core_store.set(address, "b", f"b of {address}", expires_at=None)
        assert sorted(core_store.clear(TASK)) == [f"a of {TASK}", f"b of {TASK}"]
        assert core_store.clear(TASK) == []
        assert {row.address for row in core_store.rows()} == set(NEIGHBOURS) - {TASK}

    def test_clear_of_all_map_indices_spares_other_tasks_and_runs(self, core_store: CoreStore) -> None:
        for address in NEIGHBOURS:
            core_store.set(address, "key", str(address), expires_at=None)
        removed = core_store.clear(TaskAddress("dag", "run", "task", 1), all_map_indices=True)
        assert sorted(removed) == sorted(map(str, SAME_TASK))
        assert {row.address for row in core_store.rows()} == set(NEIGHBOURS) - set(SAME_TASK)

    def test_clear_of_an_asset_is_the_same_with_all_map_indices(self, core_store: CoreStore) -> None:
        for address in NEIGHBOURS:
            core_store.set(address, "key", str(address), expires_at=None)
        asset = AssetAddress(name="same")
        assert core_store.clear(asset, all_map_indices=True) == [str(asset)]
        assert {row.address for row in core_store.rows()} == set(NEIGHBOURS) - {asset}

    def test_clear_removes_hundreds_of_rows(self, core_store: CoreStore) -> None:
        for number in range(520):
            core_store.set(TASK, str(number), str(number), expires_at=None)
        assert sorted(core_store.clear(TASK), key=int) == [str(number) for number in range(520)]
        assert list(core_store.rows()) == []

    def test_hostile_keys_and_ids_are_kept_apart_and_come_back_unchanged(self, core_store: CoreStore) -> None:
        places: list[tuple[StateAddress, str]] = []
        for text in HOSTILE_TEXTS:
            places += [(TASK, text), (TaskAddress(text, "r", "t"), "k"), (TaskAddress("d", text, "t"), "k")]
            places += [(TaskAddress("d", "r", text), "k"), (AssetAddress(name=text), "k")]
            places += [(AssetAddress(uri=text), "k")]
        for number, (address, key) in enumerate(places):
            assert core_store.set(address, key, str(number), expires_at=None) is None
        assert {(row.address, row.key): row.text for row in core_store.rows()} == {
            place: str(number) for number, place in enumerate(places)
        }

    def test_ids_that_run_together_are_kept_apart(self, core_store: CoreStore) -> None:
        for address in (TaskAddress("a", "b\0c", "d"), TaskAddress("a\0b", "c", "d")):
            assert core_store.set(address, "key", "1", expires_at=None) is None

    def test_a_long_text_comes_back_unchanged(self, core_store: CoreStore) -> None:
        text = '"' + "é0" * 100_000 + '"'
        core_store.set(TASK, "key", text, expires_at=None)
        assert [row.text for row in core_store.rows()] == [text]

    def test_rows_of_an_address_are_its_own(self, core_store: CoreStore) -> None:
        for address in NEIGHBOURS:
            core_store.set(address, "a", "1", expires_at=None)
            core_store.set(address, "b", "2", expires_at=None)
        for address in NEIGHBOURS:
            rows = sorted((row.address, row.key, row.text) for row in core_store.rows(address))
            assert rows == [(address, "a", "1"), (address, "b", "2")]

    def test_rows_are_one_snapshot(self, core_store: CoreStore) -> None:
        for number in range(5):
            core_store.set(TASK, str(number), "old", expires_at=None)
        rows = core_store.rows()
        first = next(rows)
        for number in range(10):
            core_store.set(TASK, str(number), "new", expires_at=None)
        core_store.set(AssetAddress(name="late"), "key", "new", expires_at=None)
        assert sorted((row.key, row.text) for row in (first, *rows)) == [(str(n), "old") for n in range(5)]

    def test_threads_that_set_one_key_each_get_another_predecessor(self, core_store: CoreStore) -> None:
        texts = [str(number) for number in range(64)]
        with ThreadPoolExecutor(8) as pool:
            replaced = list(pool.map(lambda text: core_store.set(TASK, "key", text, expires_at=None), texts))
        last = core_store.delete(TASK, "key")
        assert replaced.count(None) == 1
        assert sorted(text for text in (*replaced, last) if text is not None) == sorted(texts)


SAME_TASK = (
    TASK,
    TaskAddress("dag", "run", "task", 0),
    TaskAddress("dag", "run", "task", 1),
    TaskAddress("dag", "run", "task", -1, REGION),
    TaskAddress("dag", "run", "task", 1, REGION),
)
NEIGHBOURS: tuple[StateAddress, ...] = (
    *SAME_TASK,
    TaskAddress("dag", "run", "task2"),
    TaskAddress("dag", "run2", "task"),
    TaskAddress("dag2", "run", "task"),
    AssetAddress(name="same"),
    AssetAddress(uri="same"),
    AssetAddress(name="other"),
)
