"""`offload rekey`: stores another blob for a row's value, lets the row name it, deletes the former one."""

from __future__ import annotations

from tests.model.machine import Machine, Moves
from tests.model.world import DONE, NEW, NOTHING, STORED, UPLOADING, State, Write, put


def moves(machine: Machine, state: State) -> Moves:
    """Everything that it may do next. It stores one blob, and may be killed between any two steps."""
    blob = machine.world.rewrites
    if blob == NOTHING:
        return
    if state.former == NOTHING:
        former = state.rows[machine.world.key_of[blob]]
        if state.writes[blob].phase == NEW and former >= 0:
            begun = put(state.writes, blob, Write(UPLOADING, 0))
            young = state.writes[former].phase != DONE
            yield ("begin rewrite", (former, blob)), state._replace(writes=begun, former=former, young=young)
        return
    yield ("crash of rewrite", ()), _ended(state, blob)
    phase = state.writes[blob].phase
    if phase == UPLOADING:
        after = machine.stored(state, blob, state.writes[blob].timer)
        yield ("store rewrite", (blob,)), after._replace(writes=put(state.writes, blob, Write(STORED, 0)))
    elif phase == STORED:
        yield from _replace(machine, state, blob)
    elif state.replaced:
        yield from _delete(machine, state, blob)
    else:
        yield ("rewrite too late", (blob,)), machine.deleted(_ended(state, blob), blob)


def _replace(machine: Machine, state: State, blob: int) -> Moves:
    """Compare and replace, in one transaction; what was stored in vain is deleted."""
    key = machine.world.key_of[blob]
    if state.rows[key] == state.former:
        after = machine.with_rows(state, put(state.rows, key, blob))
        committed = put(state.writes, blob, Write(DONE, 0))
        yield ("replace row", (state.former, blob)), after._replace(writes=committed, replaced=True)
    else:
        yield ("rewrite in vain", (blob,)), machine.deleted(_ended(state, blob), blob)


def _delete(machine: Machine, state: State, blob: int) -> Moves:
    """The former blob goes, unless the row was young: then the request that wrote it may still be repeated."""
    if not state.young or machine.protocol.former == "of all rows":
        yield ("delete former", (state.former,)), machine.deleted(_ended(state, blob), state.former)
    else:
        yield ("leave former", (state.former,)), _ended(state, blob)


def _ended(state: State, blob: int) -> State:
    return state._replace(
        writes=put(state.writes, blob, Write(DONE, 0)), former=NOTHING, young=False, replaced=False
    )
