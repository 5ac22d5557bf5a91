"""The soak is as good as its oracle: does it notice rows that are stale, foreign, damaged, dangling or missing?"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offload_backend.address import TaskAddress
from offload_backend.row import row_text
from tests.airflow.rows import Rows, TaskRow
from tests.load.journal import Journal
from tests.load.places import BUCKET, Storage, storage
from tests.load.proofs import Claim, proof
from tests.soak.oracle import Oracle
from tests.soak.witness import journal_of, writer_of

ADDRESS = ("soak", "r", "work", 3)
WRITER, KEY = writer_of(*ADDRESS), "model"


@pytest.fixture(scope="module")
def store() -> Iterator[Storage]:
    with storage(0.0, slow=True) as found:
        yield found


class Place:
    """A journal of two sets, and whatever rows a test puts beside it."""

    def __init__(self, store: Storage, journals: Path) -> None:
        self.rows: list[TaskRow] = []
        database = SimpleNamespace(rows=lambda: Rows(tuple(self.rows), ()), sql=lambda _: [("soak", "r")])
        self.store = store
        self.oracle = Oracle(SimpleNamespace(storage=store, journals=journals, database=database))
        journal = Journal(journal_of(journals, WRITER))
        for count in (1, 2):
            journal.write("begin", "set", KEY, count)
            journal.write("end", "set", KEY, count, "done", 0.1)
        journal.close()

    def put(self, claim: Claim, key: str = KEY, **changes: Any) -> TaskRow:
        value = proof(key, claim, random.Random(1), 500_000) | changes
        text = row_text(self.oracle._offloader.offload(value, TaskAddress(*ADDRESS), KEY))
        row = TaskRow(*ADDRESS, "", KEY, text, None)
        self.rows.append(row)
        return row

    def lost(self) -> str:
        return "\n".join(self.oracle.look().lost)


@pytest.fixture
def place(store: Storage, tmp_path: Path) -> Place:
    return Place(store, tmp_path)


def test_the_last_value_is_right(place: Place) -> None:
    place.put(Claim(WRITER, 2))
    assert place.lost() == ""


def test_an_older_value_is_stale(place: Place) -> None:
    place.put(Claim(WRITER, 1))
    assert "is 1, not" in place.lost()


def test_a_value_of_another_task_is_foreign(place: Place) -> None:
    place.put(Claim(writer_of("soak", "r", "work", 4), 2))
    assert "holds a value of" in place.lost()


@pytest.mark.parametrize("changes", [{"digest": "0"}, {"key": "notes"}])
def test_a_value_that_is_not_as_it_was_set_is_noticed(place: Place, changes: dict[str, str]) -> None:
    place.put(Claim(WRITER, 2), **changes)
    assert "says" in place.lost()


def test_a_row_that_is_missing_is_noticed(place: Place) -> None:
    assert "has no row" in place.lost()


def test_a_row_whose_blob_is_gone_is_noticed(place: Place) -> None:
    row = place.put(Claim(WRITER, 2), bulk=["x" * 100_000])
    name = json.loads(row.value)["__airflow_state_ref__"].partition("#")[0].removeprefix(f"s3://{BUCKET}/")
    place.store.client.delete_object(Bucket=BUCKET, Key=name)
    assert "the row refers to a blob that is gone" in place.lost()
