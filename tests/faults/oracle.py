"""What must hold after every trial, once the trouble is over."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from offload_backend.address import parse_blob_name
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import BlobCorruptError, RefusedError
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.verify import verify
from offload_backend.location import relative_name
from offload_backend.ref import parse_ref
from offload_backend.row import open_envelope
from tests.faults.operations import KEPT, PATIENCE, QUARANTINE, TASK, Deployment, past
from tests.faults.places import Objects
from tests.faults.steps import Aim, Steps
from tests.faults.trial import Seen, Trial, error_of
from tests.lifecycle.simulation import Clock, SimulatedStore

KEYS = ("a", "b", "large", "x", "y")
ORPHANS = 1
"""There is one from the beginning on."""
Values = dict[str, Any]


class Corrupt:
    """Stands for a value that is lost, and of which ``get`` says so."""


def values(deployment: Deployment) -> Values:
    """What somebody who knows nothing yet reads."""
    with deployment.stores() as stores:
        task = stores.task_store(*TASK)
        found = {key: _value(task, key) for key in KEYS}
        found["kept"] = stores.asset_store(name=KEPT.name).get("kept")
    return {key: value for key, value in found.items() if value is not None}


def outcome(trial: Trial, before: Values, usual: int, seen: Seen, steps: Steps) -> str:
    """What the caller saw and what is there now, in a few words; raises for what must never be.

    ``usual`` is how often there is such a step in an undisturbed run.
    """
    aim = steps.aim
    _check_error(seen)
    assert steps.children == [0] * len(steps.children), "a forked child failed"
    found = values(trial.deployment())
    state = _state(trial, before, found, aim)
    operation = trial.operation
    if seen.error is None:
        assert seen.value == operation.reads, "a wrong value"
        assert state in ("new", "corrupt"), f"it returned, and yet the value is {state}"
    words = [seen.word]
    if operation.changes and (seen.error is not None or state == "corrupt"):
        words.append(state)
    left = trial.place.unfinished()
    if left:
        words.append("upload left" if trial.place.layer == "s3" else "file left")
    _check_blobs(trial)
    tries = steps.tries(usual)
    if tries > 1:
        words.append(f"{tries} tries")
    return ", ".join(words)


def _value(task: Any, key: str) -> Any:
    try:
        return task.get(key)
    except BlobCorruptError:
        return Corrupt


def _check_error(seen: Seen) -> None:
    error = error_of(seen)
    if error is not None:
        assert error.hint or isinstance(error, RefusedError), f"an error without a hint: {error}"
        assert "test-secret" not in str(error)
    assert seen.word  # and nothing but what has one is raised


def _state(trial: Trial, before: Values, found: Values, aim: Aim | None) -> str:
    """``old``, ``new``, or ``part`` where some rows are the one and some the other."""
    changes = trial.operation.changes
    for key in before.keys() - changes.keys():
        assert found.get(key) == before[key], f"{key} is lost"
    if Corrupt in found.values():
        # Nothing but the value's own bytes on a disk is checked by nobody when they are written.
        assert aim is not None
        assert (aim.step.layer, aim.step.label, aim.fault) == ("file", "writev", "bit flipped")
        return "corrupt"
    states = {_state_of(before.get(key), changes[key], found.get(key)) for key in changes}
    return states.pop() if len(states) == 1 else "part" if states else "new"


def _state_of(old: Any, new: Any, found: Any) -> str:
    if found == new:
        return "new"
    assert found == old, "neither the old value nor the new one"
    return "old"


def _check_blobs(trial: Trial) -> None:
    """No ref dangles; whatever else is there are blobs, and the collector finds them."""
    deployment, objects = trial.deployment(), trial.place.objects()
    names = {name for name in objects if "/_gc/" not in name}
    live = _live(deployment, trial.place.url)
    assert live <= names, "a ref dangles"
    assert all(parse_blob_name(name) for name in names), "something is left that is no blob"
    if trial.operation.collect is not None or len(names - live) > ORPHANS:
        _settle(deployment, objects, live)


def _settle(deployment: Deployment, objects: Objects, live: set[str | None]) -> None:
    """``verify`` says the same; and when the collector has had its time, nothing is left but live blobs.

    It meets them as they are, in a store with a clock that can be set.
    """
    clock = Clock(datetime.now(timezone.utc))
    store = SimulatedStore(clock, deployment.place.url)
    store._blobs = objects
    with deployment.collector(store, clock) as collector, past(clock):
        assert verify(collector, contents=False).dangling == 0
        clock.now += PATIENCE
        mark(collector)
        clock.now += QUARANTINE
        purge(collector, delete=True)
    left = {name for name in store._blobs if "/_gc/" not in name}
    assert left == live, "other blobs than the live ones are left"


def _live(deployment: Deployment, location: str) -> set[str | None]:
    rows = SqlCoreStore(deployment.url)
    texts = [open_envelope(json.loads(row.text)) for row in rows.rows()]
    rows.close()
    return {relative_name(ref.url, location) for text in texts if text and (ref := parse_ref(text))}
