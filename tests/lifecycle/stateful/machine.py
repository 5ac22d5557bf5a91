"""A deployment to which anything may happen, in any order; what must hold is in the oracle."""

from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine, invariant

from offload_backend.errors import RefusedError
from tests.lifecycle.stateful.rules import (
    MINUTE,
    Archiving,
    Embedding,
    Interleaving,
    Keeping,
    Late,
    Restoring,
    Rules,
    Running,
    Time,
    Trouble,
)
from tests.lifecycle.stateful.world import World

__all__ = ["MACHINES", "Anything", "Embedded", "Interleaved", "Kept", "Lately", "Machine", "Operated", "Restored"]


class Machine(Rules, RuleBasedStateMachine):
    """A host that may be restored, archives rows and repeats requests: ``reclaim = never``.

    Short sequences of a few kinds of rules find what long ones of all kinds hide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World(is_eager=self.is_eager)
        self.world.run("adopt")

    def teardown(self) -> None:
        try:
            self.world.quiet()
            if not self.world.oracle.wrong:
                self.collects_all()
            self.world.oracle.check()
        finally:
            self.world.close()

    @invariant()
    def holds(self):
        self.world.oracle.check()

    def collects_all(self) -> None:
        """Whatever happened: mark, wait, mark, purge, and no garbage is left."""
        world, settings = self.world, self.world.settings
        world.time += settings.gc_min_age + MINUTE
        if world.needs_adoption and isinstance(world.run("mark").error, RefusedError):
            self.succeed("adopt")
            self.succeed("mark")
        else:
            self.succeed("mark")
        world.time += settings.gc_quarantine + MINUTE
        self.succeed("mark")
        self.succeed("purge")
        world.oracle.check()
        live = {world.oracle.blobs[blob_id].name for blob_id in world.oracle.live()}
        assert world.store.blobs() - world.oracle.protected == live
        others = {name for name in world.store.names() - live if "/_gc/" not in name}
        assert others == world.oracle.protected

    def succeed(self, verb: str) -> None:
        actor = self.world.run(verb)
        if actor.error is not None:
            raise actor.error


class Lately(Time, Late, Machine):
    """Rows come late."""


class Kept(Time, Keeping, Machine):
    """Blobs are pinned, or taken out of quarantine."""


class Interleaved(Time, Late, Interleaving, Machine):
    """Runs are interrupted, and overlap."""


class Restored(Time, Restoring, Interleaving, Machine):
    """The database goes back."""


class Operated(Time, Archiving, Keeping, Running, Machine):
    """Rows are archived, blobs pinned, roots exported, databases cloned."""


class Anything(Time, Late, Embedding, Restoring, Archiving, Keeping, Trouble, Running, Interleaving, Machine):
    """All of it."""


class Embedded(Time, Late, Embedding, Keeping, Trouble, Running, Interleaving, Machine):
    """Without Airflow: what a commit proves dead goes at once."""

    is_eager = True


MACHINES = (Lately, Kept, Interleaved, Restored, Operated, Anything, Embedded)
