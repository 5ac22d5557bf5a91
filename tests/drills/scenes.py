"""Deployments in the state that a verb is about to meet, and what it makes of the rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from offload_backend.address import AssetAddress
from tests.drills.world import ADDRESS, PATIENCE, QUARANTINE, World

BIG = 11 * 2**20
"""Two parts, once it is compressed."""


@dataclass(frozen=True)
class Scene:
    """``changes`` tells, of the keys whose rows the verb changes, the new value, ``None`` if it goes.

    ``needs_adoption``: what arrives late may make another adoption necessary. ``is_long``: only with OFFLOAD_LONG.
    """

    prepare: Callable[[World], None]
    verb: str
    arguments: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    needs_adoption: bool = False
    is_long: bool = False


def value(word: str) -> list[str]:
    return [word] * 60


def rows(world: World) -> None:
    """Three live values, and the blobs of two former ones."""
    world.put("kept", value("kept"), address=AssetAddress(name="asset"))
    for key in ("a", "b"):
        for word in ("former", "current"):
            world.put(key, value(f"{word} {key}"))


def adopted(world: World) -> None:
    rows(world)
    world.adopt()


def aged(world: World) -> None:
    adopted(world)
    world.pass_time(PATIENCE)


def marked(world: World) -> None:
    aged(world)
    world.run("mark")


def matured(world: World) -> None:
    marked(world)
    world.pass_time(QUARANTINE)


def moved(world: World) -> None:
    """Adopted by another database's hand, as far as the store knows: the ledger is gone."""
    matured(world)
    world.forget_ledger()


def expired(world: World) -> None:
    adopted(world)
    past = datetime.now(timezone.utc) - timedelta(days=1)
    for key in ("x", "y"):
        world.put(key, value(key), expires_at=past)


def settled(world: World) -> None:
    """Rows that no request on its way can have written."""
    adopted(world)
    world.age_rows()


def at_the_peers(world: World) -> None:
    """What is the same again and again for the peer, and a row that is long."""
    adopted(world)
    for key in ("p", "q"):
        world.put_by_peer(key, value(key))
    world.rows.set(ADDRESS, "long", json.dumps(value("long")), expires_at=None)
    world.age_rows()


def in_an_old_place(world: World) -> None:
    rows(world)
    world.adopt_old_place()
    world.adopt()
    for key in ("p", "q"):
        world.put_in_old_place(key, value(key))
    world.age_rows()


NEW = value("new")
SCENES = {
    "set": Scene(adopted, "set", {"key": "new", "value": NEW}, {"new": NEW}),
    "set of a large value": Scene(
        adopted, "set_random", {"key": "large", "size": BIG}, {"large": ...}, is_long=True
    ),
    "overwrite": Scene(adopted, "set", {"key": "a", "value": NEW}, {"a": NEW}),
    "delete": Scene(adopted, "delete", {"key": "a"}, {"a": None}),
    "clear": Scene(adopted, "clear", {}, {"a": None, "b": None}, is_long=True),
    "expire": Scene(expired, "expire", {}, {"x": None, "y": None}),
    "rekey": Scene(settled, "rekey"),
    "migrate in": Scene(at_the_peers, "migrate_in"),
    "migrate move": Scene(in_an_old_place, "migrate_move"),
    "migrate out to plain rows": Scene(settled, "migrate_out", {"to": "plain"}, is_long=True),
    "migrate out to common-io": Scene(settled, "migrate_out", {"to": "common-io"}),
    "first adoption": Scene(rows, "adopt", needs_adoption=True),
    "adoption": Scene(moved, "adopt", needs_adoption=True, is_long=True),
    "first mark": Scene(aged, "mark"),
    "later mark": Scene(matured, "mark", is_long=True),
    "purge": Scene(matured, "purge"),
}
