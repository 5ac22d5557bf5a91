"""SIGKILL at every step of every verb; then it is simply run again.

``make test`` kills ``before`` every step that changes something, ``after`` every commit and the last step, lets
every request that changes something arrive ``late``, and kills before each :data:`EACH` th of the steps that only
read. For a process with one thread, ``after`` any other step is ``before`` the next. That garbage goes in the
end is seen after each ``late`` one, which leaves most of it. ``OFFLOAD_LONG=1`` leaves nothing out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from offload_backend.errors import RefusedError
from tests.drills.scenes import SCENES, Scene
from tests.drills.world import World

EACH = 40
LONG = bool(os.environ.get("OFFLOAD_LONG"))
_REQUESTS = re.compile(r"(PutObject|DeleteObjects?|UploadPart|\w+MultipartUpload) /")
_STATEMENTS = re.compile(r"INSERT|UPDATE|DELETE|CREATE")


def cases(steps: list[str]) -> Iterator[tuple[int, str]]:
    """Step and moment of each kill."""
    open_changes = False
    for number, label in enumerate(steps, start=1):
        is_request, is_statement = _REQUESTS.match(label), _STATEMENTS.match(label)
        is_commit = label == "COMMIT" and open_changes
        open_changes = bool(is_statement) or (open_changes and not is_commit)
        if LONG or is_request or is_statement or is_commit or number % EACH == 0:
            yield number, "before"
        if LONG or is_commit or number == len(steps):
            yield number, "after"
        if is_request:
            yield number, "late"


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if LONG or not scene.is_long])
def test_a_verb_that_is_killed_at_any_step_loses_nothing_and_is_simply_run_again(world: World, name: str) -> None:
    scene = SCENES[name]
    scene.prepare(world)
    begin, before = world.snapshot(), world.values()
    steps = world.run(scene.verb, **scene.arguments)["steps"]
    after = expected(before, scene)
    agree(world.check(), after)
    for number, when in cases(steps):
        world.restore(begin)
        try:
            kill_and_run_again(world, scene, {"at": number, "when": when}, before, after)
        except Exception as error:
            place = f"killed {when} step {number} of {len(steps)}: {steps[number - 1]}"
            raise AssertionError(f"{place}\n{error}") from error


def kill_and_run_again(
    world: World, scene: Scene, kill: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert world.start(scene.verb, kill, **scene.arguments).end() == -9
    found = world.check()
    for key in before.keys() | after.keys():
        assert same(found.get(key), before.get(key)) or same(found.get(key), after.get(key)), key
    world.run(scene.verb, **scene.arguments)
    agree(world.check(), after)
    if kill["when"] == "late":
        world.victims.deliver()
        agree(world.check(), after)
    if LONG or kill["when"] == "late":
        settle(world, scene)
        agree(world.check(), after)
    # Of a multipart upload in the middle of which the writer was killed, for the bucket's own rule to remove.
    assert world.uploads() <= 1


def settle(world: World, scene: Scene) -> None:
    """All garbage goes. An owner who arrives late is one whom nobody knows: somebody has to look and adopt."""
    try:
        world.settle()
    except RefusedError as error:
        if not scene.needs_adoption or {refusal.rule for refusal in error.refusals} - {"owner", "ledger"}:
            raise
        world.adopt()
        world.settle()


def expected(before: dict[str, Any], scene: Scene) -> dict[str, Any]:
    changed = {**before, **scene.changes}
    return {key: value for key, value in changed.items() if value is not None}


def agree(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert all(same(found[key], expected[key]) for key in found)


def same(found: Any, expected: Any) -> bool:
    """``...`` stands for a value that nobody foretold."""
    return found == expected or (expected is ... and isinstance(found, str))
