"""The host and the operators of its database: rows that go without a word, archives, backups, copies, expiry."""

from __future__ import annotations

from tests.model.machine import Machine, Moves
from tests.model.world import DONE, IN_TABLE, NO_ARCHIVE, NOTHING, OUTSIDE, Snapshot, State, put


def moves(machine: Machine, state: State) -> Moves:
    """Everything that happens to rows without any worker's doing."""
    world = machine.world
    if state.removes:
        yield from _remove(machine, state)
    if world.archives:
        yield from _archive(machine, state)
    if world.restores:
        yield from _restore(machine, state)
    if world.expires:
        yield from _expire(machine, state)
    if world.clones and state.clone is None:
        yield ("clone", ()), state._replace(clone=machine.copied(state))
    if world.exports and machine.protocol.roots == "export":
        yield ("export roots", ()), state._replace(export=_exported(machine, state))
    if machine.protocol.roots == "replica" and state.replica != machine.copied(state):
        yield ("replicate", ()), state._replace(replica=machine.copied(state))


def _remove(machine: Machine, state: State) -> Moves:
    for key, blob in enumerate(state.rows):
        if blob >= 0 and not (machine.world.seen_rows and not state.seen >> blob & 1):
            after = machine.with_rows(state, put(state.rows, key, NOTHING))
            yield ("remove row", (key,)), after._replace(removes=state.removes - 1)


def _archive(machine: Machine, state: State) -> Moves:
    if state.where == NO_ARCHIVE:
        for key, blob in enumerate(state.rows):
            if blob >= 0:
                after = machine.with_rows(state, put(state.rows, key, NOTHING))
                yield ("archive", (key,)), after._replace(archived=blob, where=IN_TABLE)
    elif state.where == IN_TABLE:
        dropped = state._replace(archived=NOTHING, where=NO_ARCHIVE)
        yield ("drop archive", ()), dropped
        if machine.world.exports_archive:
            pinned = state._replace(where=OUTSIDE, pins=state.pins | 1 << state.archived)
            yield ("pin and export archive", (state.archived,)), pinned
    elif state.where == OUTSIDE:
        key = machine.world.key_of[state.archived]
        if state.rows[key] < 0:
            after = machine.with_rows(state, put(state.rows, key, state.archived))
            yield ("import archive", (key,)), after._replace(archived=NOTHING, where=NO_ARCHIVE)


def _restore(machine: Machine, state: State) -> Moves:
    backup = state.backup
    if backup is None:
        if state.restores:
            yield ("back up", ()), state._replace(backup=machine.copied(state))
        return
    after = machine.with_rows(state, backup.rows)
    behind = state.behind | 1 if backup.outrun else state.behind
    restored = after._replace(
        archived=backup.archived,
        where=backup.where,
        behind=behind,
        backup=None,
        restores=state.restores - 1,
    )
    yield ("restore database", ()), restored


def _expire(machine: Machine, state: State) -> Moves:
    """`offload expire`: compare-and-delete of the row, and the blob that it named; in which order is the point."""
    if not state.expiring:
        for blob in state.rows:
            if blob >= 0 and state.writes[blob].phase == DONE:
                yield ("find expired", (blob,)), state._replace(expiring=1, expired=blob)
        return
    yield ("crash of expire", ()), state._replace(expiring=0, expired=NOTHING)
    row_now = (state.expiring == 1) == (machine.protocol.expire == "row first")
    if row_now:
        yield ("expire row", (state.expired,)), _row_expired(machine, state)
    else:
        after = machine.deleted(state, state.expired)
        yield ("expire blob", (state.expired,)), _advanced(after)


def _row_expired(machine: Machine, state: State) -> State:
    key = machine.world.key_of[state.expired]
    if state.rows[key] != state.expired:
        return state._replace(expiring=0, expired=NOTHING)
    return _advanced(machine.with_rows(state, put(state.rows, key, NOTHING)))


def _advanced(state: State) -> State:
    if state.expiring == 2:
        return state._replace(expiring=0, expired=NOTHING)
    return state._replace(expiring=2)


def _exported(machine: Machine, state: State) -> Snapshot:
    """Roots for a collector that cannot reach the database, dated by the database's clock."""
    limits = machine.world.limits
    ahead = limits.database_ahead
    quarantine = limits.quarantine - (ahead if machine.protocol.export_age == "as dated" else 0)
    ripe = sum(1 << blob for blob, age in enumerate(state.marked) if age >= quarantine)
    return machine.copied(state)._replace(old=machine.old(state, ahead), ripe=ripe & state.candidates)
