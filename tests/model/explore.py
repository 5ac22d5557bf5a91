"""Breadth-first exploration of everything that can happen, and the quiet end that every state must lead to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.model import collector, host, processes, rewriter
from tests.model.machine import PROPERTIES, Label, Machine, Moves, dangling
from tests.model.world import DONE, GONE, NO_RUN, NOTHING, State, Write

ENDS = "collected"
"""The property of liveness: once writers stop, mark, wait, mark, purge leaves no garbage and all roots."""


class TooManyStatesError(Exception):
    """The world's bounds are too wide."""


@dataclass
class Exploration:
    """What was seen: `broken` is the property that failed, `trace` the shortest way there."""

    states: int = 0
    moves: int = 0
    seconds: float = 0.0
    fired: set[str] = field(default_factory=set)
    broken: str | None = None
    trace: list[Label] = field(default_factory=list)
    last: State | None = None


def moves(machine: Machine, state: State) -> Moves:
    """Every next action of every actor."""
    yield from processes.moves(machine, state)
    yield from host.moves(machine, state)
    yield from rewriter.moves(machine, state)
    yield from collector.moves(machine, state)
    if machine.world.ticks:
        yield ("tick", ()), machine.tick(state)


def explore(machine: Machine, properties: tuple[str, ...], limit: int = 2_000_000) -> Exploration:
    """All states that can be reached, up to the first that breaks one of the properties."""
    began = time.perf_counter()
    found = Exploration()
    checks = [(name, PROPERTIES[name]) for name in properties if name != ENDS]
    start = machine.start()
    parents: dict[State, tuple[State, Label] | None] = {start: None}
    ends: dict[State, State] = {}
    layer = [start]
    while layer and not found.broken:
        following: list[State] = []
        for state in layer:
            if ENDS in properties:
                ends.setdefault(quiet(machine, state), state)
            for label, after in moves(machine, state):
                found.moves += 1
                found.fired.add(label[0])
                if after in parents:
                    continue
                parents[after] = (state, label)
                following.append(after)
                broken = next((name for name, check in checks if check(machine, after)), None)
                if broken:
                    _conclude(found, broken, after, parents)
                    break
            if found.broken:
                break
        layer = following
        if len(parents) > limit:
            raise TooManyStatesError(machine.world.name)
    found.states = len(parents)
    if not found.broken:
        _check_ends(machine, ends, found, parents)
    found.seconds = time.perf_counter() - began
    return found


def _conclude(
    found: Exploration, broken: str, last: State, parents: dict[State, tuple[State, Label] | None]
) -> None:
    found.broken, found.last = broken, last
    state = last
    while step := parents[state]:
        state, label = step
        found.trace.append(label)
    found.trace.reverse()


# The quiet end


def _check_ends(
    machine: Machine,
    ends: dict[State, State],
    found: Exploration,
    parents: dict[State, tuple[State, Label] | None],
) -> None:
    for end, state in ends.items():
        last = tail(machine, end)
        rooted = machine.rooted(last) | machine.world.foreign
        garbage = any(age >= 0 and not rooted >> blob & 1 for blob, age in enumerate(last.blobs))
        if garbage or dangling(machine, last):
            _conclude(found, ENDS, state, parents)
            found.last = last
            return


def quiet(machine: Machine, state: State) -> State:
    """The state once all processes have ended and much time has passed; many states come to the same."""
    limits = machine.world.limits
    return state._replace(
        writes=(Write(DONE, 0),) * len(state.writes),
        blobs=tuple(age if age < 0 else limits.min_age + 1 for age in state.blobs),
        unrooted=tuple(age if age < 0 else limits.quarantine for age in state.unrooted),
        processes=(GONE,) * len(state.processes),
        runs=(NO_RUN,) * len(state.runs),
        expiring=0,
        expired=NOTHING,
        former=NOTHING,
        young=False,
        replaced=False,
        removes=0,
        restores=0,
        backup=None,
        replica=state.replica and machine.copied(state),
        clone=None,
        export=None,
        marked=tuple(age if age < 0 else limits.quarantine for age in state.marked),
        seen=0,
        early=0,
    )


def tail(machine: Machine, state: State) -> State:
    """Mark, wait, mark, purge, with nothing else going on and no trouble."""
    if not state.runs:
        state = state._replace(runs=(NO_RUN,))
    if state.behind & 1 and (machine.world.restores or machine.world.clones):
        state = collector.adopted(state)
    state = _run(machine, state, "mark")
    for _ in range(machine.world.limits.quarantine + 1):
        state = machine.tick(state)
    state = _run(machine, state, "mark")
    return _run(machine, state, "purge")


def _run(machine: Machine, state: State, verb: str) -> State:
    """One run of the first collector; a source that is an export gets a fresh one."""
    if machine.protocol.roots == "export":
        state = next(after for label, after in host.moves(machine, state) if label[0] == "export roots")
    starts = ("mark", "number") if verb == "mark" else ("purge",)
    begun = [after for label, after in collector.progress(machine, state, 0) if label[0] in starts]
    if not begun:
        return state
    state = begun[-1]
    while state.runs[0].phase:
        _, state = next(collector.progress(machine, state, 0))
    return state
