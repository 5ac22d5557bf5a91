"""What may happen to a deployment, by kind; a machine is made of some of these."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from offload_backend.errors import RefusedError
from tests.lifecycle.stateful.turns import OUTCOMES, Actor
from tests.lifecycle.stateful.world import MAX_ACTORS, World

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
places = st.integers(0, 3)
picks = st.integers(0, 7)
moments = st.sampled_from([5 * MINUTE, HOUR, 7 * HOUR, DAY, 3 * DAY + MINUTE, 7 * DAY - HOUR / 2, 7 * DAY])
offsets = st.sampled_from([timedelta(0), 4 * MINUTE, -4 * MINUTE])
spellings = st.sampled_from(["plain", "plain", "elsewhere", "within"])
verbs = st.sampled_from(["mark", "purge", "mark", "purge", "dry", "adopt"])
staleness = st.frozensets(st.sampled_from(["hides", "shows", "repeats"]))
_T = TypeVar("_T")


class Rules:
    """What all of them need."""

    world: World
    is_eager = False

    def rows(self):
        return sorted(self.world.database.rows(), key=lambda row: (str(row.address), row.key))

    def ids(self):
        """Of blobs that are there."""
        here = self.world.store.names()
        return sorted(blob.id for blob in self.world.oracle.blobs.values() if blob.name in here)

    def pick(self, things: list[_T], number: int) -> _T:
        return things[number % len(things)]

    def advance(self, actor: Actor, calls: int, outcome) -> None:
        """So many calls, and one more with this outcome; in part, only a delete can be done."""
        for _ in range(calls):
            actor.step("done")
        while outcome == "partial" and not (actor.at or "delete").startswith("delete"):
            actor.step("done")
        if outcome != "done":
            actor.step(outcome)
        self.world.reap()


class Time(Rules):
    """Time passes; there is always garbage to come."""

    @rule(moment=moments)
    def wait(self, moment):
        self.world.time += moment

    @rule(pick=picks, more=st.sampled_from([timedelta(0), timedelta(0), MINUTE, HOUR]))
    def wait_for_a_limit(self, pick, more):
        """Until something is just old enough, or a little older."""
        if limits := self.world.limits_ahead():
            self.world.time = self.pick(limits, pick) + more

    @rule(place=places, spelling=spellings, ago=st.sampled_from([3 * DAY + MINUTE, 3 * DAY + MINUTE, timedelta(0)]))
    def set(self, place, spelling, ago):
        """Now, or some time ago."""
        pending = self.world.upload(place, lay=ago, spelling="plain" if self.is_eager else spelling)
        self.world.commit(pending, was_late=False)
        if self.is_eager:
            self.world.pending.remove(pending)

    @precondition(lambda self: self.rows())
    @rule(pick=picks)
    def row_vanishes(self, pick):
        row = self.pick(self.rows(), pick)
        self.world.database.delete(row.address, row.key)
        self.world.oracle.changed()

    @rule()
    def mark(self):
        self.world.run("mark")

    @rule(pick=st.sampled_from([0, 0, 1, 2]), after=st.sampled_from([timedelta(0), -HOUR / 2, None]))
    def purge(self, pick, after):
        """Now, or when what one of the last runs marked may go."""
        if after is not None:
            self.world.time = max(self.world.time, self.world.due(pick) + after)
        self.world.run("purge")


class Late(Rules):
    """Rows are written late, and more than once."""

    @rule(
        place=places,
        spelling=spellings,
        took=st.sampled_from([timedelta(0), timedelta(0), 5 * HOUR, 7 * HOUR]),
        lay=st.sampled_from([3 * DAY + MINUTE, 3 * DAY + MINUTE, DAY, timedelta(0)]),
    )
    def upload(self, place, spelling, took, lay):
        """A blob whose row is not there yet; for a while no listing showed it, and no run began."""
        self.world.upload(place, took, lay, "plain" if self.is_eager else spelling)

    @precondition(lambda self: self.world.pending)
    @rule(pick=picks)
    def commit(self, pick):
        """A row is written late, or once more; the newest blob first."""
        pending = self.pick(self.world.pending[::-1], pick)
        if self.world.may_commit(pending):
            self.world.commit(pending)
        if self.is_eager or not self.world.may_commit(pending):
            self.world.pending.remove(pending)


class Embedding(Rules):
    """What a program without Airflow does."""

    @rule(place=places)
    def put_value(self, place):
        self.world.put_value(place)

    @rule(place=places)
    def delete(self, place):
        store, key = self.world.task_store(place)
        store.delete(key)
        self.world.oracle.changed()

    @rule(place=places, days=st.integers(1, 9))
    def set_that_expires(self, place, days):
        pending = self.world.upload(place)
        self.world.commit(pending, days * DAY)
        self.world.pending.remove(pending)

    @rule()
    def expire(self):
        self.world.expire()


class Restoring(Rules):
    """Backups, and the way back."""

    @precondition(lambda self: not self.is_eager)
    @rule()
    def back_up(self):
        self.world.backups = [*self.world.backups[-2:], (self.world.time, self.world.database.backup())]

    @precondition(lambda self: self.world.backups)
    @rule(pick=picks)
    def restore_backup(self, pick):
        when, backup = self.pick(self.world.backups[::-1], pick)
        if self.world.time - when < self.world.settings.gc_quarantine:
            self.world.restore_backup(backup)
        else:
            self.world.backups.remove((when, backup))


class Archiving(Rules):
    """As ``airflow db clean``."""

    @precondition(lambda self: self.rows() and not self.is_eager)
    @rule(pick=picks)
    def archive(self, pick):
        self.world.database.archive(self.pick(self.rows(), pick))
        self.world.oracle.changed()

    @precondition(lambda self: self.world.database.archives)
    @rule(pick=picks)
    def drop_archive(self, pick):
        archives = self.world.database.archives
        archives.remove(self.pick(archives, pick))
        self.world.oracle.changed()


class Keeping(Rules):
    """What the operator does about single blobs."""

    @precondition(lambda self: self.ids())
    @rule(pick=picks, act=st.sampled_from(["pin", "unmark"]))
    def keep(self, pick, act):
        getattr(self.world, act)([self.pick(self.ids(), pick)])

    @precondition(lambda self: self.world.oracle.pins)
    @rule(pick=picks)
    def unpin(self, pick):
        self.world.unpin([self.pick(sorted(self.world.oracle.pins), pick)])


class Trouble(Rules):
    """Clocks, listings, hooks."""

    @rule(local=offsets, database=offsets, listings=staleness, holds_back=st.booleans())
    def things_are(self, local, database, listings, holds_back):
        self.world.local_offset, self.world.database_offset = local, database
        self.world.store.staleness, self.world.hooks.is_on = listings, holds_back


class Running(Rules):
    """Other runs, from other places."""

    @rule(verb=verbs)
    def run(self, verb):
        self.world.run(verb)

    @rule(days=st.integers(1, 3))
    def run_daily(self, days):
        for _ in range(days):
            self.world.time += DAY
            self.world.run("mark")
            self.world.run("purge")

    @rule(pick=picks, outcome=st.sampled_from(OUTCOMES))
    def purge_in_part(self, pick, outcome):
        """The store does not do, or not tell, all that it is asked for."""
        self.world.time = max(self.world.time, self.world.due(pick))
        actor = self.world.start("purge")
        while not (actor.at or "delete").startswith("delete"):
            actor.step()
        actor.step(outcome)
        actor.finish()
        self.world.reap()

    @rule(verb=st.sampled_from(["mark", "purge"]), is_fresh=st.booleans())
    def run_with_export(self, verb, is_fresh):
        if is_fresh:
            self.world.make_export()
        if self.world.export:
            self.world.run(verb, "export")

    @rule(verb=st.sampled_from(["mark", "purge"]), is_fresh=st.booleans())
    def run_with_clone(self, verb, is_fresh):
        if is_fresh or self.world.clone is None:
            self.world.make_clone()
        assert isinstance(self.world.run(verb, "clone").error, RefusedError)


class Interleaving(Rules):
    """Verbs that go on call by call, two at a time, and end anywhere."""

    @precondition(lambda self: len(self.world.actors) < MAX_ACTORS)
    @rule(verb=verbs, calls=st.integers(0, 30))
    def start(self, verb, calls):
        self.advance(self.world.start(verb), calls, "done")

    @precondition(lambda self: self.world.actors)
    @rule(pick=picks, calls=st.integers(0, 12), outcome=st.sampled_from([*OUTCOMES, "killed"]))
    def go_on(self, pick, calls, outcome):
        self.advance(self.pick(self.world.actors, pick), calls, outcome)

    @precondition(lambda self: self.world.actors)
    @rule(pick=picks)
    def finish(self, pick):
        self.pick(self.world.actors, pick).finish()
        self.world.reap()
