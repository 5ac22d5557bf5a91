"""Worker processes: upload, commit, and the reclaimer; and the host's answers to their requests."""

from __future__ import annotations

from tests.model.machine import WAITS, Machine, Moves
from tests.model.world import (
    APPLIED,
    DONE,
    GONE,
    LOOSE,
    NEW,
    NOTHING,
    RUNNING,
    SENT,
    STORED,
    UPLOADING,
    WAITING,
    Process,
    State,
    Step,
    Write,
    bits,
    put,
)


def moves(machine: Machine, state: State) -> Moves:
    """Everything that processes, and requests on their way, may do next."""
    for number, process in enumerate(state.processes):
        if process.status == RUNNING:
            yield from _step(machine, state, number)
            yield ("crash", (number,)), crashed(machine, state, number)
            if process.dead:
                yield ("reclaim", (number,)), _reclaimed(machine, state, number)
        elif process.status == WAITING and state.processes[number - 1].status != WAITING:
            yield ("next attempt", (number,)), _next_attempt(machine, state, number)
    for blob, write in enumerate(state.writes):
        if write.phase == LOOSE:
            yield ("apply late", (blob,)), _applied(machine, state, blob, Write(DONE, 0))


def _step(machine: Machine, state: State, number: int) -> Moves:
    step = current(machine, state, number)
    if step is None:
        return
    if step.verb == "set":
        yield from _set(machine, state, number, step.subject)
    elif step.verb == "read":
        yield ("read", (number, step.subject)), _read(machine, state, number, step.subject)
    elif step.verb == "delete":
        yield from _delete(machine, state, number, step.subject)
    else:
        yield from _clear(machine, state, number, step.subject)


def current(machine: Machine, state: State, number: int) -> Step | None:
    """The step at which the process is: a set is past when nobody waits for its request."""
    program = machine.world.programs[number]
    for step in program[state.processes[number].place :]:
        if step.verb != "set" or state.writes[step.subject].phase not in (LOOSE, DONE):
            return step
    return None


# set


def _set(machine: Machine, state: State, number: int, blob: int) -> Moves:
    write = state.writes[blob]
    if write.phase == NEW:
        yield ("begin", (number, blob)), _begun(machine, state, number, blob)
    elif write.phase == UPLOADING:
        for extra in range(machine.world.limits.stamp + 1 if machine.world.ticks else 1):
            yield ("store", (blob, write.timer + extra)), _stored(machine, state, number, blob, extra)
    elif write.phase == STORED:
        yield ("send", (number, blob)), _sent(machine, state, number, blob)
        if machine.world.reclaim == "airflow":
            yield from _supersede(machine, state, number, blob)
    elif write.phase == SENT:
        yield ("apply", (blob,)), _applied(machine, state, blob, Write(APPLIED, write.timer))
        if machine.world.gives_up:
            yield ("give up", (number, blob)), _gave_up(machine, state, blob)
    elif write.phase == APPLIED:
        yield ("acknowledge", (number, blob)), _acknowledged(machine, state, number, blob)
        if machine.world.retries:
            again = put(state.writes, blob, Write(SENT, write.timer))
            yield ("repeat", (number, blob)), state._replace(writes=again)


def _begun(machine: Machine, state: State, number: int, blob: int) -> State:
    own = [step.subject for step in machine.world.programs[number] if step.verb == "set"]
    writes = put(state.writes, blob, Write(UPLOADING, 0))
    for earlier in own[: max(own.index(blob) - machine.world.overtaken, 0)]:
        if writes[earlier].phase == LOOSE:
            writes = put(writes, earlier, Write(DONE, 0))
    return state._replace(writes=writes)


def _stored(machine: Machine, state: State, number: int, blob: int, extra: int) -> State:
    """The upload ends: LastModified is its start, or by the store's clock a little before."""
    age = state.writes[blob].timer + extra
    after = machine.stored(state, blob, age)
    process = state.processes[number]
    known = process.known | 1 << blob if machine.world.reclaim == "airflow" else 0
    return after._replace(
        writes=put(state.writes, blob, Write(STORED, 0)),
        processes=put(state.processes, number, process._replace(known=known)),
    )


def _sent(machine: Machine, state: State, number: int, blob: int) -> State:
    phase = DONE if machine.superseded(state, number) else SENT
    timer = state.writes[blob].timer if phase == SENT else 0
    return state._replace(writes=put(state.writes, blob, Write(phase, timer)))


def _applied(machine: Machine, state: State, blob: int, write: Write) -> State:
    """The database commits the row."""
    key = machine.world.key_of[blob]
    replaced = state.rows[key]
    after = machine.with_rows(state, put(state.rows, key, blob))
    if machine.world.reclaim == "embedded" and replaced not in (NOTHING, blob) and write.phase == APPLIED:
        number = machine.writer_of(blob)[0]
        process = state.processes[number]._replace(stage=1 << replaced)
        after = after._replace(processes=put(state.processes, number, process))
    return after._replace(writes=put(state.writes, blob, write))


def _acknowledged(machine: Machine, state: State, number: int, blob: int) -> State:
    write = Write(LOOSE, state.writes[blob].timer) if machine.world.repeated else Write(DONE, 0)
    process = state.processes[number]
    if machine.world.reclaim == "embedded":
        process = process._replace(dead=process.dead | process.stage, stage=0)
    return state._replace(writes=put(state.writes, blob, write), processes=put(state.processes, number, process))


def _gave_up(machine: Machine, state: State, blob: int) -> State:
    after = state._replace(writes=put(state.writes, blob, Write(LOOSE, state.writes[blob].timer)))
    return machine.deleted(after, blob) if machine.protocol.ambiguous == "clean up" else after


def _supersede(machine: Machine, state: State, number: int, blob: int) -> Moves:
    """Read the row while handing over a new ref; what it does not name is dead, but for the newest."""
    named = state.rows[machine.world.key_of[blob]]
    if named < 0 or machine.superseded(state, number):
        return
    process = state.processes[number]
    own = [known for known in bits(process.known) if machine.world.key_of[known] == machine.world.key_of[blob]]
    dead = sum(1 << old for old in own[: -machine.protocol.keep] if old != named)
    if dead:
        process = process._replace(known=process.known & ~dead, dead=process.dead | dead)
        yield ("supersede", (number, named)), state._replace(processes=put(state.processes, number, process))


# read, delete, clear


def _passed(state: State, number: int, **changes: int) -> State:
    process = state.processes[number]._replace(stage=0, **changes)
    return state._replace(processes=put(state.processes, number, process))


def _after(machine: Machine, state: State, number: int) -> int:
    """The place behind the step at which the process is."""
    step = current(machine, state, number)
    return machine.world.programs[number].index(step) + 1 if step else 0


def _read(machine: Machine, state: State, number: int, key: int) -> State:
    found = 0 if machine.superseded(state, number) or state.rows[key] < 0 else 1 << state.rows[key]
    known = state.processes[number].known | found if machine.world.reclaim == "airflow" else 0
    return _passed(state, number, place=_after(machine, state, number), known=known)


def _delete(machine: Machine, state: State, number: int, key: int) -> Moves:
    process = state.processes[number]
    place = _after(machine, state, number)
    if machine.superseded(state, number):
        dead = _proven(machine, process, number) if machine.protocol.gone == "404" else 0
        yield ("delete 404", (number, key)), _passed(state, number, place=place, dead=process.dead | dead)
    elif process.stage == 0:
        removed = machine.with_rows(state, put(state.rows, key, NOTHING))
        process = process._replace(stage=1)
        yield ("delete", (number, key)), removed._replace(processes=put(state.processes, number, process))
    else:
        dead = process.dead | _proven(machine, process, number)
        known = process.known & ~dead
        yield ("confirm", (number, key)), _passed(state, number, place=place, known=known, dead=dead)


def _proven(machine: Machine, process: Process, number: int) -> int:
    """The known refs whose row is gone and cannot come back; a program works on one key."""
    own = sum(1 << step.subject for step in machine.world.programs[number] if step.verb == "set")
    if machine.world.attempts or machine.protocol.read_refs == "of all":
        own = process.known
    return process.known & own


def _clear(machine: Machine, state: State, number: int, key: int) -> Moves:
    """`clear_on_success`: the hook, then success and with it the rows, then the listener."""
    process = state.processes[number]
    place = _after(machine, state, number)
    dead = process.dead | _proven(machine, process, number)
    if machine.superseded(state, number):
        yield ("success 409", (number,)), _passed(state, number, place=place)
    elif process.stage == 0:
        at_once = dead if machine.protocol.clear == "at hook" else process.dead
        process = process._replace(stage=1, dead=at_once)
        yield ("clear hook", (number, key)), state._replace(processes=put(state.processes, number, process))
    elif process.stage == 1:
        process = process._replace(stage=2)
        after = machine.with_rows(state, put(state.rows, key, NOTHING))
        yield ("success", (number, key)), after._replace(processes=put(state.processes, number, process))
    else:
        known = process.known & ~dead
        yield ("listener", (number,)), _passed(state, number, place=place, known=known, dead=dead)


def _reclaimed(machine: Machine, state: State, number: int) -> State:
    process = state.processes[number]
    dead = process.dead
    if machine.protocol.on_delete == "prefix":
        keys = {machine.world.key_of[blob] for blob in bits(dead)}
        dead = sum(1 << blob for blob, key in enumerate(machine.world.key_of) if key in keys)
    after = state._replace(processes=put(state.processes, number, process._replace(dead=0)))
    for blob in bits(dead):
        after = machine.deleted(after, blob)
    return after


# crash, and the next attempt


def crashed(machine: Machine, state: State, number: int) -> State:
    """The process is killed: a request on its way may still arrive."""
    writes = state.writes
    for step in machine.world.programs[number]:
        if step.verb == "set" and writes[step.subject].phase in (NEW, *WAITS):
            write = writes[step.subject]
            on_its_way = write.phase == SENT and not machine.superseded(state, number)
            loose = Write(LOOSE, write.timer) if on_its_way else Write(DONE, 0)
            writes = put(writes, step.subject, loose)
    return state._replace(writes=writes, processes=put(state.processes, number, GONE))


def _next_attempt(machine: Machine, state: State, number: int) -> State:
    """The host gives the one before up, and refuses whatever it may still send."""
    writes = state.writes
    for program in machine.world.programs[:number]:
        for step in program:
            if step.verb == "set" and writes[step.subject].phase in (SENT, APPLIED, LOOSE):
                writes = put(writes, step.subject, Write(DONE, 0))
    begun = Process(RUNNING, 0, 0, 0, 0)
    return state._replace(writes=writes, processes=put(state.processes, number, begun))
