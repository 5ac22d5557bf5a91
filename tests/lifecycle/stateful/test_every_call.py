"""What happens between any two calls of a mark or a purge, or ends it there, loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lifecycle.stateful.machine import Anything
from tests.lifecycle.stateful.rules import DAY, MINUTE
from tests.lifecycle.stateful.turns import OUTCOMES, Actor
from tests.lifecycle.stateful.world import World

LONGEST = 60


def with_garbage(world: World) -> None:
    """Two live blobs and two orphans, old enough to be marked."""
    for place in (0, 1):
        world.commit(kept(world.upload(place)))
    for place in (2, 3):
        world.upload(place)
    world.time += 4 * DAY


def kept(thing):
    assert thing is not None
    return thing


def vanish(world: World) -> None:
    row = next(iter(world.database.rows()))
    world.database.delete(row.address, row.key)
    world.oracle.changed()


def step(actor: Actor, calls: int) -> bool:
    """Whether it is still under way after so many calls."""
    for _ in range(calls):
        if not actor.has_ended:
            actor.step()
    return not actor.has_ended


def positions() -> Iterator[tuple[int, Anything]]:
    """A new deployment for every call there may be."""
    for calls in range(LONGEST):
        machine = Anything()
        try:
            yield calls, machine
        finally:
            machine.world.close()


@pytest.mark.parametrize("outcome", [*OUTCOMES[1:], "killed"])
@pytest.mark.parametrize("verb", ["adopt", "mark", "purge"])
def test_a_verb_that_fails_at_any_call_is_run_again(verb, outcome) -> None:
    for calls, machine in positions():
        world = machine.world
        with_garbage(world)
        world.run("mark")
        world.time += 8 * DAY
        actor = world.start(verb)
        is_under_way = step(actor, calls)
        if is_under_way:
            machine.advance(actor, 0, outcome)
            world.oracle.check()
        machine.teardown()
        if not is_under_way:
            return
    raise AssertionError("the verb makes more calls than were tried")


def test_a_row_that_vanishes_at_any_call_of_a_mark_has_its_whole_quarantine() -> None:
    for calls, machine in positions():
        world = machine.world
        with_garbage(world)
        actor = world.start("mark")
        is_under_way = step(actor, calls)
        began = world.time
        world.time += DAY
        vanish(world)
        if is_under_way:
            actor.finish()
        world.reap()
        for moment in (world.settings.gc_quarantine, world.settings.gc_quarantine + DAY - MINUTE):
            world.time = began + moment
            world.run("purge")
            world.oracle.check()
        if not is_under_way:
            return


@pytest.mark.xfail(reason="a mark reads the roots and records its number in two transactions")
@pytest.mark.parametrize("marks", [0, 1])
def test_a_row_that_a_backup_brings_back_during_a_mark_has_its_whole_quarantine(marks) -> None:
    """Backed up before any call, removed at once, back before any later one, and removed for good."""
    found = [lost for place in pairs_of_calls(marks) if (lost := loses(marks, *place))]
    assert not found, found


def pairs_of_calls(marks: int) -> list[tuple[int, int]]:
    """Before each call that the database, or who reads the bucket later, can see."""
    machine = Anything()
    with_garbage(machine.world)
    for _ in range(marks):
        machine.world.run("mark")
    actor = machine.world.start("mark")
    seen = []
    for calls in range(LONGEST):
        if actor.at is not None and not actor.at.startswith(("list", "get")):
            seen.append(calls)
        actor.step()
    machine.world.close()
    return [(first, second) for second in seen for first in seen if first <= second]


def loses(marks: int, first: int, second: int) -> str | None:
    """The calls in question, if the blob was deleted too early."""
    machine = Anything()
    world = machine.world
    with_garbage(world)
    for _ in range(marks):
        world.run("mark")
    actor = world.start("mark")
    step(actor, first)
    places = [actor.at]
    backup = world.database.backup()
    vanish(world)
    step(actor, second - first)
    places.append(actor.at)
    world.restore_backup(backup)
    actor.finish()
    world.reap()
    world.time += 3 * DAY
    vanish(world)
    for verb in ("mark", "purge"):
        world.run(verb)
        world.time += 4 * DAY + MINUTE
    for verb in ("mark", "purge"):
        world.run(verb)
    world.close()
    return " to ".join(map(str, places)) if world.oracle.wrong else None
