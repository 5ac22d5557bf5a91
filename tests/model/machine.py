"""A world under a protocol: the rules that all actors share, time, and the properties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.world import (
    APPLIED,
    DONE,
    IN_TABLE,
    LOOSE,
    NEW,
    NO_ARCHIVE,
    NO_RUN,
    NOTHING,
    RUNNING,
    SENT,
    STORED,
    UPLOADING,
    WAITING,
    Process,
    Protocol,
    Run,
    Snapshot,
    State,
    World,
    Write,
    put,
)

Label = tuple[str, tuple[int, ...]]
"""An action, by its name in `story.TELL`, and the numbers of those it concerns."""

Moves = Iterator[tuple[Label, State]]


@dataclass(frozen=True)
class Machine:
    """What may happen next is asked of `processes`, `host` and `collector`; this is what they have in common."""

    world: World
    protocol: Protocol

    def start(self) -> State:
        """Nobody has done anything; the committed blobs are there, and old."""
        world = self.world
        blobs, writes = [], []
        for blob in range(len(world.key_of)):
            there = blob in world.committed
            blobs.append(world.limits.min_age + 1 if there else NOTHING)
            comes = bool(self.writer_of(blob)) or blob == world.rewrites
            writes.append(Write(NEW if comes and not there else DONE, 0))
        rows = world.committed or (NOTHING,) * world.keys
        lagging = self.protocol.roots == "replica"
        return State(
            writes=tuple(writes),
            blobs=tuple(blobs),
            unrooted=tuple(0 if age >= 0 else NOTHING for age in blobs),
            rows=rows,
            archived=NOTHING,
            where=NO_ARCHIVE,
            processes=tuple(
                Process(RUNNING if not world.attempts or number == 0 else WAITING, 0, 0, 0, 0)
                for number in range(len(world.programs))
            ),
            expiring=0,
            expired=NOTHING,
            former=NOTHING,
            young=False,
            replaced=False,
            removes=world.removes,
            restores=world.restores,
            backup=None,
            replica=Snapshot(rows, NOTHING, NO_ARCHIVE, 0, 0, 0, False) if lagging else None,
            clone=None,
            export=None,
            behind=0,
            runs=(NO_RUN,) * world.collectors,
            candidates=0,
            marked=(NOTHING,) * len(blobs),
            seen=0,
            pins=0,
            early=0,
        )

    def writer_of(self, blob: int) -> tuple[int, ...]:
        """The process that sets the blob, if any, as a tuple of at most one."""
        return tuple(
            number
            for number, program in enumerate(self.world.programs)
            if any(step.verb == "set" and step.subject == blob for step in program)
        )

    # Names and bytes. Unique names make all of this the identity.

    def same_name(self, one: int, other: int) -> bool:
        """Whether two blobs have one name, so that the later overwrites the earlier."""
        key_of = self.world.key_of
        return one == other or (self.protocol.names == "deterministic" and key_of[one] == key_of[other])

    def resolves(self, state: State, blob: int) -> bool:
        """Whether a ref to the blob leads to its bytes."""
        if state.blobs[blob] >= 0:
            return True
        return any(
            age >= 0 and self.same_name(blob, other) and self.world.same_bytes
            for other, age in enumerate(state.blobs)
        )

    def stored(self, state: State, blob: int, age: int) -> State:
        """The blob becomes visible, in the place of any other of its name."""
        blobs = tuple(
            NOTHING if other != blob and self.same_name(blob, other) else found
            for other, found in enumerate(state.blobs)
        )
        return state._replace(
            blobs=put(blobs, blob, min(age, self.world.limits.min_age + 1)),
            unrooted=put(state.unrooted, blob, 0),
        )

    def deleted(self, state: State, blob: int) -> State:
        """The object of that name is deleted, whichever blob it holds now."""
        blobs, marked = list(state.blobs), list(state.unrooted)
        for other, age in enumerate(state.blobs):
            same_bytes = other == blob or self.world.same_bytes
            if age >= 0 and self.same_name(blob, other) and (self.protocol.on_delete != "etag" or same_bytes):
                blobs[other] = marked[other] = NOTHING
        return state._replace(blobs=tuple(blobs), unrooted=tuple(marked))

    # Roots

    def roots(self, rows: tuple[int, ...], archived: int, where: int) -> int:
        """The refs of a database, as bits."""
        mask = 0
        for blob in rows:
            if blob >= 0:
                mask |= 1 << blob
        return mask | 1 << archived if where == IN_TABLE else mask

    def rooted(self, state: State) -> int:
        """What is live in truth."""
        return self.roots(state.rows, state.archived, state.where) | state.pins

    def with_rows(self, state: State, rows: tuple[int, ...]) -> State:
        """The rows are these; what became live starts its protection anew."""
        fresh = tuple(0 if blob in rows and age >= 0 else age for blob, age in enumerate(state.unrooted))
        return state._replace(rows=rows, unrooted=fresh)

    def old(self, state: State, ahead: int = 0) -> int:
        """Blobs older than `gc_min_age` now, as bits, by a clock that is `ahead`."""
        limit = self.world.limits.min_age - ahead
        return sum(1 << blob for blob, age in enumerate(state.blobs) if age > limit)

    # Time

    def deadline(self, phase: int) -> int:
        """The last tick at which a write may still be in the phase."""
        limits = self.world.limits
        if phase == UPLOADING:
            return limits.upload
        loose = phase in (SENT, APPLIED, LOOSE) and self.protocol.fence == "client"
        return limits.pause if loose else limits.commit

    def tick(self, state: State) -> State:
        """One tick of the store's clock. What missed its deadline is refused by whoever watches over it."""
        limits = self.world.limits
        rooted = self.rooted(state)
        return state._replace(
            writes=tuple(self._older(write) for write in state.writes),
            blobs=tuple(age if age < 0 else min(age + 1, limits.min_age + 1) for age in state.blobs),
            unrooted=tuple(
                age if age < 0 else 0 if rooted >> blob & 1 else min(age + 1, limits.quarantine)
                for blob, age in enumerate(state.unrooted)
            ),
            backup=self._older_backup(state.backup),
            replica=self._older_replica(state),
            runs=tuple(self._older_run(run) for run in state.runs),
            marked=tuple(age if age < 0 else min(age + 1, limits.quarantine) for age in state.marked),
        )

    def _older(self, write: Write) -> Write:
        if write.phase in (NEW, DONE):
            return write
        if write.timer >= self.deadline(write.phase):
            return Write(DONE, 0)
        return Write(write.phase, write.timer + 1)

    def _older_backup(self, backup: Snapshot | None) -> Snapshot | None:
        if backup is None or backup.age >= self.world.limits.restorable:
            return None
        return backup._replace(age=backup.age + 1)

    def _older_replica(self, state: State) -> Snapshot | None:
        replica = state.replica
        if replica is None:
            return None
        if replica.age >= self.world.limits.lag:
            return self.copied(state)
        return replica._replace(age=replica.age + 1)

    def _older_run(self, run: Run) -> Run:
        if run.age < 0:
            return run
        return run._replace(age=min(run.age + 1, self.world.limits.quarantine))

    def copied(self, state: State) -> Snapshot:
        """The database as it is now."""
        return Snapshot(state.rows, state.archived, state.where, 0, 0, 0, False)

    def superseded(self, state: State, number: int) -> bool:
        """Whether a later attempt has begun: every request of this one is answered with 404."""
        return self.world.attempts and any(later.status != WAITING for later in state.processes[number + 1 :])


def dangling(machine: Machine, state: State) -> bool:
    """Property `resolves`: is there a row, archived ones included, whose ref leads nowhere?"""
    for blob in state.rows:
        if blob >= 0 and state.blobs[blob] < 0 and not machine.resolves(state, blob):
            return True
    return state.where == IN_TABLE and not machine.resolves(state, state.archived)


def premature(machine: Machine, state: State) -> bool:
    """Property `protected`: did the collector delete a blob younger than G, or within Q of its last root?"""
    return bool(state.early)


PROPERTIES = {"resolves": dangling, "protected": premature}
WAITS = (UPLOADING, STORED, SENT, APPLIED)
