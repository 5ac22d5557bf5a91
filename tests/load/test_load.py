"""The load, small: four processes for some seconds. And: does it notice what it is there to notice?"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.load.journal import Journal, remembered
from tests.load.proofs import Claim, WrongValueError, claim_of, proof
from tests.load.run import Plan, run, troubles

SMALL = Plan(
    processes=4,
    threads=2,
    seconds=5,
    pause=0.05,
    largest=200_000,
    faults=0.03,
    seconds_between_kills=0.7,
    collectors_killed=0,
    commit_window=20,
    min_age=40,
    slow=True,
)


def test_four_processes_lose_nothing_while_they_are_killed_and_requests_fail(tmp_path: Path) -> None:
    result = run(SMALL, tmp_path)
    assert not troubles(result), result
    assert result["values verified"] + result["at the end"]["values looked at"] > 0
    assert result["processes killed"] > 0
    assert result["collector"]["exits"]["gc run: 0"] > 0


@pytest.fixture
def value() -> dict:
    return proof("a", Claim("w0", 7), random.Random(1), 1000)


def test_a_value_tells_whose_it_is(value: dict) -> None:
    assert claim_of(value, "a") == Claim("w0", 7)


@pytest.mark.parametrize("change", [{"count": 6}, {"writer": "w1"}, {"bulk": b"x"}, {"key": "b"}])
def test_a_value_that_is_not_as_it_was_set_is_noticed(value: dict, change: dict) -> None:
    with pytest.raises(WrongValueError):
        claim_of(value | change, "a")


def test_a_journal_knows_what_was_told_and_what_is_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "w0.journal"
    journal = Journal(path)
    lines = [("begin", "set", "a", 1), ("end", "set", "a", 1, "done", 0.1), ("begin", "set", "a", 2), ("again",)]
    for line in lines:
        journal.write(*line)
    after_a_kill = remembered(path, ["a"]).keys["a"]
    assert [count for count in (None, 1, 2, 3) if after_a_kill.may_be(count)] == [1, 2]
    for line in [("begin", "set", "a", 3), ("end", "set", "a", 3, "done", 0.1)]:
        journal.write(*line)
    journal.close()
    memory = remembered(path, ["a"])
    assert [count for count in (None, 1, 2, 3) if memory.keys["a"].may_be(count)] == [3]
    assert (memory.count, memory.cut_off) == (3, 1)
