"""What everything must do whose rows maintenance may remove or replace, as a test class to inherit from.

::

    class TestMyRows(RemovableRowsContract):
        @pytest.fixture
        def table(self):
            store = MyCoreStore(...)  # empty
            yield Table(rows=store, put=store.set, get=store.get)
            store.close()
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from offload_backend.address import StateAddress, TaskAddress

if TYPE_CHECKING:
    from offload_backend.corestore import FoundRow, RemovableRows, Row

__all__ = ["RemovableRowsContract", "Table"]

NOW = datetime(2026, 1, 2, 3, 4, 5, 6789, tzinfo=timezone.utc)
PAST = NOW - timedelta(days=1)
LATER = NOW + timedelta(days=1)
TASK = TaskAddress("dag", "run", "task")
MAPPED = TaskAddress("dag", "run", "task", 3)


@dataclass(frozen=True)
class Table:
    """Rows under test, and another's way to write and read them: ``put(address, key, text, expires_at=…)``."""

    rows: RemovableRows
    put: Callable[..., Any]
    get: Callable[[StateAddress, str], Row | None]

    def keys(self) -> set[str]:
        """The keys of all rows there are."""
        return {found.row.key for found in self.rows.found()}


class RemovableRowsContract:
    """Needs a fixture ``table``: a :class:`Table` without rows, fresh for every test."""

    def test_only_rows_past_their_end_are_expired(self, table: Table) -> None:
        table.put(TASK, "past", "1", expires_at=PAST)
        table.put(TASK, "never", "2", expires_at=None)
        table.put(TASK, "later", "3", expires_at=LATER)
        table.put(TASK, "this moment", "4", expires_at=NOW)
        table.put(MAPPED, "just past", "5", expires_at=NOW - timedelta(microseconds=1))
        found = table.rows.expired(NOW, limit=100)
        assert [(each.row.address, each.row.key) for each in found] == [(TASK, "past"), (MAPPED, "just past")]
        assert [each.row.text for each in found] == ["1", "5"]
        assert found[0].row.expires_at == PAST

    def test_pages_have_every_expired_row_once_though_many_expired_together(self, table: Table) -> None:
        for number in range(10):
            table.put(TASK, f"together {number}", "1", expires_at=PAST)
            table.put(TASK, f"each {number}", "1", expires_at=PAST + timedelta(seconds=number - 5))
        pages = _pages(table.rows, limit=3)
        assert [len(page) for page in pages] == [3] * 6 + [2]
        keys = [found.row.key for page in pages for found in page]
        assert sorted(keys) == sorted(f"{what} {n}" for what in ("together", "each") for n in range(10))

    def test_a_page_begins_behind_rows_that_are_gone(self, table: Table) -> None:
        for number in range(5):
            table.put(TASK, str(number), "1", expires_at=PAST + timedelta(seconds=number))
        first = table.rows.expired(NOW, limit=2)
        assert table.rows.remove(first) == first
        assert [found.row.key for found in table.rows.expired(NOW, limit=9, after=first[-1])] == ["2", "3", "4"]

    def test_rows_that_are_as_they_were_read_are_removed(self, table: Table) -> None:
        for address in (TASK, MAPPED):
            table.put(address, "past", "1", expires_at=PAST)
            table.put(address, "never", "2", expires_at=None)
        (doomed,) = [found for found in table.rows.expired(NOW, limit=9) if found.row.address == TASK]
        assert table.rows.remove([doomed]) == [doomed]
        assert table.get(TASK, "past") is None
        assert table.get(MAPPED, "past") is not None
        assert table.get(TASK, "never") is not None

    def test_a_row_that_was_written_anew_stays(self, table: Table) -> None:
        table.put(TASK, "key", "old", expires_at=PAST)
        found = table.rows.expired(NOW, limit=9)
        table.put(TASK, "key", "new", expires_at=PAST)
        assert table.rows.remove(found) == []
        assert (row := table.get(TASK, "key")) is not None
        assert row.text == "new"

    def test_a_row_that_was_written_with_the_same_text_and_a_later_end_stays(self, table: Table) -> None:
        for key, renewed in (("later", LATER), ("never", None)):
            table.put(TASK, key, "same", expires_at=PAST)
            found = table.rows.expired(NOW, limit=9)
            table.put(TASK, key, "same", expires_at=renewed)
            assert table.rows.remove(found) == []
            assert table.get(TASK, key) is not None

    def test_a_row_without_an_end_is_removed_as_it_was_read(self, table: Table) -> None:
        table.put(TASK, "key", "1", expires_at=None)
        (found,) = table.rows.found()
        assert table.rows.remove([found]) == [found]
        assert table.get(TASK, "key") is None

    def test_a_row_is_removed_once(self, table: Table) -> None:
        table.put(TASK, "key", "1", expires_at=PAST)
        found = table.rows.expired(NOW, limit=9)
        assert table.rows.remove(found) == found
        assert table.rows.remove(found) == []
        assert table.rows.remove([]) == []

    def test_of_hundreds_the_changed_ones_stay(self, table: Table) -> None:
        for number in range(450):
            table.put(TASK, str(number), "1", expires_at=PAST)
        found = table.rows.expired(NOW, limit=1000)
        changed = {str(number) for number in range(0, 450, 7)}
        for key in changed:
            table.put(TASK, key, "2", expires_at=LATER)
        assert len(table.rows.remove(found)) == 450 - len(changed)
        assert table.keys() == changed

    def test_of_those_who_remove_at_the_same_time_one_gets_each_row(self, table: Table) -> None:
        keys = {str(number) for number in range(200)}
        for key in keys:
            table.put(TASK, key, "1", expires_at=PAST)
        found = table.rows.expired(NOW, limit=1000)
        turns = (found, found[::-1], found[100:] + found[:100], found)
        with ThreadPoolExecutor(4) as pool:
            removed = [each.row.key for rows in pool.map(table.rows.remove, turns) for each in rows]
        assert sorted([*removed, *table.keys()]) == sorted(keys)

    def test_rows_that_are_as_they_were_read_get_another_text_and_keep_the_rest(self, table: Table) -> None:
        for address, end in ((TASK, LATER), (MAPPED, None)):
            table.put(address, "key", "old", expires_at=end)
        table.put(TASK, "other", "old", expires_at=None)
        before = {(each.row.address, each.row.key): each for each in table.rows.found()}
        both = [before[TASK, "key"], before[MAPPED, "key"]]
        assert _same(table.rows.replace([(found, f"new {found.row.address}") for found in both]), both)
        for found in both:
            row = table.get(found.row.address, "key")
            assert row == replace(found.row, text=f"new {found.row.address}")
        assert table.get(TASK, "other") == before[TASK, "other"].row

    def test_a_row_that_was_written_anew_keeps_its_new_text(self, table: Table) -> None:
        table.put(TASK, "key", "old", expires_at=PAST)
        (found,) = table.rows.found()
        table.put(TASK, "key", "new", expires_at=PAST)
        assert table.rows.replace([(found, "remade")]) == []
        assert (row := table.get(TASK, "key")) is not None
        assert row.text == "new"

    def test_a_row_that_was_written_with_the_same_text_and_another_end_is_not_replaced(self, table: Table) -> None:
        for key, renewed in (("later", LATER), ("never", None)):
            table.put(TASK, key, "same", expires_at=PAST)
            (found,) = [each for each in table.rows.found() if each.row.key == key]
            table.put(TASK, key, "same", expires_at=renewed)
            assert table.rows.replace([(found, "remade")]) == []
            assert (row := table.get(TASK, key)) is not None
            assert (row.text, row.expires_at) == ("same", renewed)

    def test_a_row_that_was_written_again_with_the_same_text_is_not_replaced_nor_removed(
        self, table: Table
    ) -> None:
        table.put(TASK, "key", "same", expires_at=LATER)
        (found,) = table.rows.found()
        table.put(TASK, "key", "same", expires_at=LATER)
        assert table.rows.replace([(found, "remade")]) == []
        assert table.rows.remove([found]) == []
        assert (row := table.get(TASK, "key")) is not None
        assert row.text == "same"

    def test_a_row_that_is_gone_does_not_come_back(self, table: Table) -> None:
        table.put(TASK, "key", "old", expires_at=None)
        (found,) = table.rows.found()
        assert table.rows.remove([found]) == [found]
        assert table.rows.replace([(found, "remade")]) == []
        assert table.rows.replace([]) == []
        assert table.get(TASK, "key") is None

    def test_of_hundreds_each_gets_its_own_text_and_the_changed_ones_stay(self, table: Table) -> None:
        for number in range(450):
            table.put(TASK, str(number), "1", expires_at=None)
        found = list(table.rows.found())
        changed = {str(number) for number in range(0, 450, 7)}
        for key in changed:
            table.put(TASK, key, "2", expires_at=None)
        replaced = table.rows.replace([(each, f"of {each.row.key}") for each in found])
        assert {each.row.key for each in replaced} == {each.row.key for each in found} - changed
        texts = {each.row.key: each.row.text for each in table.rows.found()}
        assert texts == {key: "2" if key in changed else f"of {key}" for key in texts}

    def test_of_those_who_replace_at_the_same_time_one_gets_each_row(self, table: Table) -> None:
        for number in range(200):
            table.put(TASK, str(number), "1", expires_at=None)
        found = list(table.rows.found())
        turns = {"a": found, "b": found[::-1], "c": found[100:] + found[:100], "d": found}
        with ThreadPoolExecutor(4) as pool:
            asked = {
                word: pool.submit(table.rows.replace, [(each, word) for each in rows])
                for word, rows in turns.items()
            }
        won = [(each.row.key, word) for word, answer in asked.items() for each in answer.result()]
        # A row that two wanted at the same moment may have been left alone by both.
        texts = {each.row.key: each.row.text for each in table.rows.found() if each.row.text != "1"}
        assert sorted(won) == sorted(texts.items())

    def test_what_a_writer_sets_while_its_row_is_replaced_again_and_again_is_never_lost(self, table: Table) -> None:
        table.put(TASK, "key", "0", expires_at=None)

        def remake() -> None:
            while not done:
                (found,) = table.rows.found()
                table.rows.replace([(found, f"{found.row.text}+")])

        done: list[bool] = []
        with ThreadPoolExecutor(1) as pool:
            remaking = pool.submit(remake)
            try:
                for number in range(1, 60):
                    table.put(TASK, "key", str(number), expires_at=None)
                    row = table.get(TASK, "key")
                    assert row is not None
                    assert row.text.rstrip("+") == str(number)
            finally:
                done.append(True)
            remaking.result()

    def test_pages_have_every_row_once_though_rows_are_replaced_and_removed_meanwhile(self, table: Table) -> None:
        for number in range(10):
            table.put(TASK, str(number), "old", expires_at=PAST if number % 2 else None)
        seen: list[FoundRow] = []
        while page := table.rows.page(limit=3, after=seen[-1] if seen else None):
            seen += page
            assert len(table.rows.replace([(each, "new") for each in page[:2]])) == len(page[:2])
            table.rows.remove(page[2:])
        assert sorted(each.row.key for each in seen) == sorted(str(number) for number in range(10))
        assert {each.row.text for each in seen} == {"old"}
        assert len(table.rows.page(limit=100)) == len(seen) - 3

    def test_found_are_all_rows_of_one_snapshot(self, table: Table) -> None:
        for number in range(5):
            table.put(TASK, str(number), "old", expires_at=PAST if number % 2 else None)
        rows = table.rows.found()
        first = next(rows)
        table.put(TASK, "3", "new", expires_at=None)
        table.put(MAPPED, "late", "new", expires_at=None)
        texts = sorted((found.row.key, found.row.text) for found in (first, *rows))
        assert texts == [(str(number), "old") for number in range(5)]

    def test_the_time_has_a_time_zone_and_is_now(self, table: Table) -> None:
        assert abs(table.rows.now() - datetime.now(timezone.utc)) < timedelta(minutes=1)

    def test_the_location_shows_no_password(self, table: Table) -> None:
        assert "://" in table.rows.location
        assert "@" not in table.rows.location


def _same(some: list[FoundRow], others: list[FoundRow]) -> bool:
    """Whether both hold the same rows, in whatever order."""
    return sorted(each.place for each in some) == sorted(each.place for each in others)


def _pages(rows: RemovableRows, limit: int) -> list[list[FoundRow]]:
    pages: list[list[FoundRow]] = []
    while page := rows.expired(NOW, limit=limit, after=pages[-1][-1] if pages else None):
        pages.append(page)
        if len(page) < limit:
            break
    return pages
