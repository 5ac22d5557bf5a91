"""The lifecycle's protocol holds in every interleaving of the model, and the model catches those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model import explore as explorer
from tests.model import worlds
from tests.model.cases import (
    ALSO_HOLDS,
    CASES,
    COLLECTED,
    EDGES,
    HOLDS,
    NAMED,
    OF_COLLECTOR,
    OF_MARK,
    OF_WRITERS,
    PROTECTED,
    RESOLVES,
    Case,
)
from tests.model.explore import explore, moves
from tests.model.machine import PROPERTIES, Label, Machine, Moves
from tests.model.report import explored, with_explorations
from tests.model.story import TELL, story
from tests.model.world import IN_TABLE, Protocol, State

DOCUMENT = Path(__file__).parents[2] / "docs" / "model.md"
LOSING = [case for case in CASES if case.breaks]


def by_name(case: Case) -> str:
    return f"{case.name}, {case.world.name}"


def named(name: str) -> Case:
    (case,) = [case for case in CASES if case.name == name]
    return case


@pytest.mark.parametrize("case", [*HOLDS, *ALSO_HOLDS], ids=by_name)
def test_every_ref_resolves_and_all_garbage_goes(case: Case) -> None:
    found = explored(case)
    assert found.broken is None, "\n".join(story(case.machine, found))


@pytest.mark.parametrize("case", LOSING, ids=by_name)
def test_a_way_that_loses_is_caught(case: Case) -> None:
    assert explored(case).broken == case.breaks


@pytest.mark.parametrize("case", [*OF_WRITERS, *OF_MARK, *OF_COLLECTOR], ids=by_name)
def test_a_way_that_loses_is_one_switch_from_one_that_holds(case: Case) -> None:
    if case.base is NAMED:
        pytest.skip("no way of deleting saves names that are made from keys")
    holds = {other.machine for other in [*HOLDS, *ALSO_HOLDS]}
    assert Machine(case.world, case.base) in holds
    assert case.switch
    assert case.machine not in holds


# The checker itself


def replay(machine: Machine, trace: list[Label]) -> list[set[State]]:
    """All states that the actions can lead to, after each of them."""
    states = [{machine.start()}]
    for action in trace:
        states.append({after for state in states[-1] for label, after in moves(machine, state) if label == action})
    return states


@pytest.mark.parametrize("case", [case for case in LOSING if case.breaks != COLLECTED], ids=by_name)
def test_a_counter_example_can_happen_step_by_step(case: Case) -> None:
    found = explored(case)
    states = replay(case.machine, found.trace)
    assert found.last in states[-1]
    assert all(states)


@pytest.mark.parametrize("case", [case for case in LOSING if case.breaks == RESOLVES], ids=by_name)
def test_a_counter_example_ends_with_a_row_whose_bytes_are_nowhere(case: Case) -> None:
    last = explored(case).last
    assert last is not None
    held = {blob for blob in last.rows if blob >= 0} | ({last.archived} if last.where == IN_TABLE else set())
    assert any(last.blobs[blob] < 0 for blob in held)


def test_every_action_happens_and_has_words() -> None:
    assert {action for case in CASES for action in explored(case).fired} == TELL.keys()


def test_the_ways_that_hold_know_every_action() -> None:
    assert {action for case in [*HOLDS, *ALSO_HOLDS] for action in explored(case).fired} == TELL.keys()


def test_no_exploration_is_trivial() -> None:
    for case in HOLDS:
        assert explored(case).states >= 300, case.name
        assert explored(case).moves >= 2 * explored(case).states, case.name
    assert sum(explored(case).states for case in HOLDS) > 200_000


def test_an_exploration_gives_the_same_again() -> None:
    case = named("purge does not read the roots again")
    again = explore(case.machine, case.properties)
    assert (again.states, again.moves, again.trace) == (
        explored(case).states,
        explored(case).moves,
        explored(case).trace,
    )


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("clear hook", "`clear_on_success` deletes blobs at the hook"),
        ("apply late", "a superseding set spares the newest ref only"),
        ("next attempt", "a zombie takes 404 for proof that the row is gone"),
        ("repeat", "refs of assets that were only read are reclaimed"),
        ("expire blob", "expiry deletes the blob before the row"),
        ("delete former", "a rewrite also deletes what a row just written named"),
        ("import archive", "pins are not roots"),
        ("clone", "a clone's collector is let in"),
        ("tick", "archives are not roots"),
        ("restore database", "no quarantine"),
        ("back up", "the quarantine counts from the marker"),
        ("conclude", "liveness is joined by path"),
        ("remove row", "ages by a local clock that is ahead"),
        ("number", "the marker is written before the number is recorded"),
    ],
)
def test_an_explorer_without_an_action_misses_what_it_leads_to(
    action: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer(machine: Machine, state: State) -> Moves:
        return (move for move in moves(machine, state) if move[0][0] != action)

    monkeypatch.setattr(explorer, "moves", fewer)
    case = named(name)
    assert explore(case.machine, case.properties).broken is None


@pytest.mark.parametrize("blind", [RESOLVES, PROTECTED])
def test_a_blind_property_catches_nothing(blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROPERTIES, blind, lambda machine, state: False)
    for case in EDGES:
        if case.breaks == blind:
            assert explore(case.machine, case.properties).broken is None, case.name


def test_garbage_does_not_go_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "tail", lambda machine, state: state)
    assert explore(Machine(worlds.ONE_WRITER, Protocol()), (COLLECTED,)).broken == COLLECTED


def test_an_end_that_collects_too_much_is_noticed() -> None:
    machine = Machine(worlds.ARCHIVED, Protocol(archives="ignored"))
    assert explore(machine, (COLLECTED,)).broken == COLLECTED


def test_a_world_without_bounds_is_refused() -> None:
    with pytest.raises(explorer.TooManyStatesError):
        explore(Machine(worlds.ONE_WRITER, Protocol()), (), limit=100)


def test_the_document_is_current() -> None:
    document = DOCUMENT.read_text()
    assert document == with_explorations(document), "run: python -m tests.model docs/model.md"
