"""The collector's runs: mark and purge, one step at a time, killed at any of them; and the operator's adopt."""

from __future__ import annotations

from tests.model.machine import Machine, Moves
from tests.model.world import (
    CONCLUDING,
    DELETING,
    IDLE,
    LISTING,
    LISTING_MORE,
    NO_ARCHIVE,
    NO_RUN,
    NOTHING,
    NUMBERED,
    READING,
    RELISTING,
    REREADING,
    Run,
    Snapshot,
    State,
    put,
)


def moves(machine: Machine, state: State) -> Moves:
    """Everything that runs of the collector, and their operator, may do next."""
    for number, run in enumerate(state.runs):
        yield from progress(machine, state, number)
        if run.phase:
            yield ("kill", (number,)), _over(state, number)
    if state.behind & 1:
        yield ("adopt", ()), adopted(state)


def progress(machine: Machine, state: State, number: int) -> Moves:
    """The run's next step; the first move is the one without trouble."""
    phase = state.runs[number].phase
    if phase == IDLE:
        yield from _begin(machine, state, number)
    elif phase == NUMBERED:
        yield from _numbered(machine, state, number)
    elif phase in (LISTING, LISTING_MORE):
        yield from _list(machine, state, number)
    elif phase == READING:
        yield ("read roots", (number,)), _read(machine, state, number)
    elif phase == CONCLUDING:
        yield ("conclude", (number,)), _concluded(machine, state, number)
    elif phase == RELISTING:
        yield ("list again", (number,)), _relisted(machine, state, number)
    elif phase == REREADING:
        yield ("read roots again", (number,)), _reread(machine, state, number)
    else:
        yield from _delete(machine, state, number)


def adopted(state: State) -> State:
    """The operator acknowledges a restored database: manifests and runs of the owner before count for nothing."""
    return state._replace(
        behind=state.behind & ~1,
        candidates=0,
        marked=(NOTHING,) * len(state.marked),
        runs=tuple(run._replace(stale=True) if run.phase else run for run in state.runs),
    )


# beginning


def _database(machine: Machine, number: int) -> int:
    """Which database the run belongs to: the second collector of a cloned one is configured with the clone."""
    return number if machine.world.clones else 0


def _begin(machine: Machine, state: State, number: int) -> Moves:
    database = _database(machine, number)
    if database and state.clone is None:
        return
    if database and machine.protocol.owner == "checked":
        yield ("refuse owner", (number,)), state
        return
    if state.behind >> database & 1 and machine.protocol.sequence == "checked":
        yield ("refuse sequence", (number,)), state
        return
    if machine.protocol.roots == "export" and state.export is None:
        return
    if machine.world.numbered:
        behind = state.behind | 1 if machine.protocol.numbering == "bucket first" else state.behind
        begun = put(state.runs, number, NO_RUN._replace(phase=NUMBERED))
        yield ("number", (number,)), state._replace(runs=begun, behind=behind)
    else:
        yield ("mark", (number,)), _marked(machine, state, number)
    if ripe := _ripe(machine, state):
        purging = put(state.runs, number, NO_RUN._replace(phase=RELISTING, mask=ripe))
        yield ("purge", (number,)), _outrun(machine, state._replace(runs=purging), database)


def _numbered(machine: Machine, state: State, number: int) -> Moves:
    if machine.protocol.numbering == "bucket first":
        state = state._replace(behind=state.behind & ~1)
    yield ("mark", (number,)), _marked(machine, state, number)


def _outrun(machine: Machine, state: State, database: int) -> State:
    """The run's number is recorded: copies and backups of the database are behind it from now on."""
    others = (3 if machine.world.clones else 1) & ~(1 << database)
    backup = state.backup
    return state._replace(
        behind=state.behind | others,
        backup=backup if backup is None else backup._replace(outrun=True),
    )


def _marked(machine: Machine, state: State, number: int) -> State:
    """The marker is written: `t0`, and with it which blobs are old enough."""
    protocol, limits = machine.protocol, machine.world.limits
    old = machine.old(state, limits.skew if protocol.ages == "local" else 0)
    if protocol.roots == "export" and protocol.export_cutoff == "read_at" and state.export:
        old &= state.export.old
    if protocol.cutoff == "listing":
        old = (1 << len(state.blobs)) - 1
    run = Run(
        phase=LISTING if protocol.order == "list first" else READING,
        mask=0,
        old=old,
        age=0 if protocol.quarantine_from == "marker" else NOTHING,
        stale=False,
        second=any(LISTING <= other.phase <= CONCLUDING for other in state.runs),
    )
    marked = state._replace(runs=put(state.runs, number, run))
    return _outrun(machine, marked, _database(machine, number))


def _over(state: State, number: int) -> State:
    """The run ended, one way or another."""
    runs = put(state.runs, number, NO_RUN)
    return state._replace(runs=tuple(run._replace(second=False) if run.second else run for run in runs))


def _with(state: State, number: int, run: Run) -> State:
    return state._replace(runs=put(state.runs, number, run))


# mark


def _list(machine: Machine, state: State, number: int) -> Moves:
    run = state.runs[number]
    listed = sum(
        1 << blob for blob, age in enumerate(state.blobs) if age >= 0 and _on_page(machine, run.phase, blob)
    )
    if machine.protocol.listing == "own":
        listed &= ~machine.world.foreign
    if machine.protocol.cutoff == "listing":
        listed &= machine.old(state)
    fresh = listed & run.old
    after = _after_listing(machine, run.phase)
    yield ("list", (number,)), _with(state, number, run._replace(phase=after, mask=run.mask | fresh))
    if machine.world.short_listings and fresh:
        short = fresh & (fresh - 1)
        yield ("list short", (number,)), _with(state, number, run._replace(phase=after, mask=run.mask | short))


def _on_page(machine: Machine, phase: int, blob: int) -> bool:
    return not machine.world.two_pages or blob % 2 == (phase == LISTING_MORE)


def _after_listing(machine: Machine, phase: int) -> int:
    if phase == LISTING and machine.world.two_pages:
        return LISTING_MORE
    return READING if machine.protocol.order == "list first" else CONCLUDING


def _roots(machine: Machine, state: State, number: int) -> int:
    """What the source of roots shows to this run, as bits."""
    copies = {"primary": None, "replica": state.replica, "export": state.export}
    source: Snapshot | None = copies[machine.protocol.roots]
    if _database(machine, number):
        source = state.clone
    database = source or state
    where = database.where if machine.protocol.archives == "roots" else NO_ARCHIVE
    roots = machine.roots(database.rows, database.archived, where)
    roots &= ~machine.world.foreign
    if machine.protocol.join == "path":
        roots &= ~machine.world.aliased
    return roots | state.pins if machine.protocol.pins == "roots" else roots


def _read(machine: Machine, state: State, number: int) -> State:
    """In one transaction: the roots, the number once more, and a look at whether it is still the bucket's."""
    database = _database(machine, number)
    recorded, behind = machine.protocol.recorded, state.behind >> database & 1
    if recorded == "with the roots" and behind and machine.protocol.sequence == "checked":
        return _over(state, number)
    if recorded != "at the beginning":
        state = _outrun(machine, state, database)
    if recorded == "blindly":
        state = state._replace(behind=state.behind & ~(1 << database))
    run = state.runs[number]
    live = ~_roots(machine, state, number)
    age = max(run.age, 0)
    if machine.protocol.order == "list first":
        return _with(state, number, run._replace(phase=CONCLUDING, mask=run.mask & run.old & live, old=0, age=age))
    return _with(state, number, run._replace(phase=LISTING, old=run.old & live, age=age))


def _concluded(machine: Machine, state: State, number: int) -> State:
    """The manifest is written; it counts unless a later run's already stands, or another owner's."""
    run = state.runs[number]
    if run.stale:
        return _over(state, number)
    export = state.export
    after = state._replace(
        candidates=run.mask,
        marked=tuple(_first_marked(machine, state, run, blob) for blob in range(len(state.blobs))),
        runs=tuple(_outdated(run, other) for other in state.runs),
        export=export and export._replace(ripe=export.ripe & state.candidates & run.mask),
    )
    if machine.world.seen_rows:
        live = machine.roots(state.rows, state.archived, state.where)
        after = after._replace(seen=state.seen | live & ~run.mask)
    return _over(after, number)


def _first_marked(machine: Machine, state: State, run: Run, blob: int) -> int:
    """Ticks since the blob became a candidate for good, as far as the protocol remembers."""
    carry, age = machine.protocol.carry, state.marked[blob]
    remembered = carry == "ever" or (carry == "unbroken" and state.candidates >> blob & 1)
    if run.mask >> blob & 1:
        return age if remembered and age >= 0 else run.age
    return age if carry == "ever" else NOTHING


def _outdated(concluded: Run, other: Run) -> Run:
    """A run that began before the one that concludes can only be older news."""
    earlier = concluded.second and LISTING <= other.phase <= CONCLUDING and not other.second
    return other._replace(stale=True) if earlier else other


# purge


def _ripe(machine: Machine, state: State) -> int:
    """Candidates whose quarantine is over, as bits."""
    if machine.protocol.quarantine == "none":
        return state.candidates
    if machine.protocol.roots == "export":
        return state.export.ripe & state.candidates if state.export else 0
    limit = machine.world.limits.quarantine
    return sum(1 << blob for blob, age in enumerate(state.marked) if age >= limit) & state.candidates


def _relisted(machine: Machine, state: State, number: int) -> State:
    there = sum(1 << blob for blob, age in enumerate(state.blobs) if age >= 0)
    run = state.runs[number]
    mask = run.mask & there
    if not mask:
        return _over(state, number)
    phase = REREADING if machine.protocol.reread == "rows" else DELETING
    return _with(state, number, run._replace(phase=phase, mask=mask))


def _reread(machine: Machine, state: State, number: int) -> State:
    run = state.runs[number]
    mask = run.mask & ~_roots(machine, state, number)
    return _with(state, number, run._replace(phase=DELETING, mask=mask)) if mask else _over(state, number)


def _delete(machine: Machine, state: State, number: int) -> Moves:
    run = state.runs[number]
    mask = run.mask
    blob = (mask & -mask).bit_length() - 1
    rest = mask & ~(1 << blob)
    kept = _with(state, number, run._replace(mask=rest)) if rest else _over(state, number)
    yield ("purge blob", (number, blob)), _purged(machine, kept, blob)
    yield ("fail to purge", (number, blob)), kept


def _purged(machine: Machine, state: State, blob: int) -> State:
    limits = machine.world.limits
    age, unrooted = state.blobs[blob], state.unrooted[blob]
    protected = age >= 0 and (age <= limits.min_age or unrooted < limits.quarantine)
    after = machine.deleted(state, blob)
    return after._replace(
        early=after.early | 1 << blob if protected else after.early,
        candidates=after.candidates & ~(1 << blob),
        marked=put(after.marked, blob, NOTHING),
    )
