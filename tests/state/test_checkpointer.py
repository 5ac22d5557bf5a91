from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from offload_backend import NEVER_EXPIRE, Checkpointer, connect
from offload_backend.address import TaskAddress
from offload_backend.errors import CheckpointError, StoreError

PROGRESS = "model"
INLINE = {"inline_limit": 1000}
"""So that progress is inline, as it is by default, and each state a blob."""
BIG = "x" * 10_000


@pytest.fixture
def stores(local):
    return local.open(**INLINE)


def new():
    return {"seen": [], "bulk": BIG}


def after(step):
    return {"seen": list(range(step)), "bulk": BIG}


def train(store, *, items, fail_at=None, name=PROGRESS, **options):
    """One attempt; what it resumed from."""
    with Checkpointer(store, name, **options) as checkpoint:
        state = checkpoint.resume(start=new)
        assert state == after(checkpoint.step)
        resumed_at = checkpoint.step
        for item in checkpoint.remaining(range(items)):
            state["seen"].append(item)
            if item == fail_at:
                raise InterruptedError
            checkpoint.offer(state)
    return resumed_at


def keys(store):
    return sorted(row.key for row in store._namespace._core_store.rows())


def saved(store, name=PROGRESS):
    """After how many steps there is a checkpoint, as the progress says."""
    return [each["step"] for each in (store.get(name) or {"checkpoints": []})["checkpoints"]]


def slot_of(store, step):
    return next(each["slot"] for each in store.get(PROGRESS)["checkpoints"] if each["step"] == step)


class Watched:
    """A store that counts its changes, and in which no slot that the progress names may be changed."""

    def __init__(self, store, before=lambda number: None, done=lambda number, call: None):
        self.store, self.before, self.done, self.number = store, before, done, 0

    def get(self, key):
        return self.store.get(key)

    def set(self, key, value, **options):
        self._change("set", key, lambda: self.store.set(key, value, **options))

    def delete(self, key):
        self._change("delete", key, lambda: self.store.delete(key))

    def _change(self, verb, key, change):
        named = {f"{PROGRESS}.{each['slot']}" for each in (self.store.get(PROGRESS) or {}).get("checkpoints", ())}
        assert key not in named, f"{verb} of {key}, which the progress names"
        self.number += 1
        self.before(self.number)
        change()
        self.done(self.number, f"{verb} {key}")


# --- when it saves


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, [1, 2, 3, 4, 5, 6, 7]), ({"every": 3}, [3, 6, 7]), ({"every": 7}, [7]), ({"every": 100}, [7])],
)
def test_every_so_many_steps_and_at_the_end(task_store, options, steps):
    train(task_store, items=7, keep=100, **options)
    assert saved(task_store) == steps


@pytest.mark.parametrize(
    ("options", "steps"),
    [({"seconds": 60}, [2, 4, 6]), ({"every": 3, "seconds": 60}, [2, 4, 6]), ({}, range(1, 7))],
)
def test_when_so_many_seconds_have_passed_since_the_last_save(task_store, options, steps):
    now = [1000.0]
    checkpoint = Checkpointer(task_store, PROGRESS, keep=9, clock=lambda: now[0], **options)
    state = checkpoint.resume(start=new)
    for item in range(6):
        state["seen"].append(item)
        now[0] += 30
        checkpoint.offer(state)
    assert saved(task_store) == [*steps]


def test_the_time_that_a_save_takes_does_not_make_the_next_one_due(task_store):
    now = [0.0]

    def slow(number, call):
        now[0] += 60

    checkpoint = Checkpointer(Watched(task_store, done=slow), PROGRESS, seconds=60, clock=lambda: now[0])
    checkpoint.resume(start=new)
    now[0] += 60
    checkpoint.offer(after(1))
    now[0] += 59
    checkpoint.offer(after(2))
    assert saved(task_store) == [1]


def test_what_is_due_is_durable_when_offer_returns_and_may_be_changed_then(task_store):
    checkpoint = Checkpointer(task_store, PROGRESS)
    state = checkpoint.resume(start=new)
    state["seen"].append(0)
    checkpoint.offer(state)
    state["seen"].append("torn")
    assert Checkpointer(task_store, PROGRESS).resume(start=new) == after(1)


def test_save_saves_what_was_offered_last_and_only_once(task_store):
    watched = Watched(task_store)
    checkpoint = Checkpointer(watched, PROGRESS, every=100)
    checkpoint.resume(start=new)
    checkpoint.save()
    assert watched.number == 0
    checkpoint.offer(after(1))
    checkpoint.save()
    checkpoint.save()
    assert (watched.number, saved(task_store)) == (2, [1])


def test_an_exception_saves_nothing_for_the_state_may_be_half_changed(task_store):
    with pytest.raises(InterruptedError):
        train(task_store, items=9, every=4, fail_at=6)
    assert saved(task_store) == [4]
    assert train(task_store, items=9, every=4) == 4
    assert saved(task_store) == [9]


def test_a_state_that_is_saved_is_held_no_longer(task_store):
    class State(dict):
        pass

    checkpoint = Checkpointer(Watched(task_store), PROGRESS, every=2)
    checkpoint._store.set = lambda key, value, **_: None
    checkpoint.resume(start=new)
    state = State()
    held = weakref.ref(state)
    checkpoint.offer(state)
    checkpoint.offer(state)
    del state
    assert held() is None


# --- what it gives back


@pytest.mark.parametrize(
    "state", [None, 0, "text", {"a": [1]}, (1, {2}), b"bytes" * 50_000], ids=lambda s: repr(s)[:9]
)
def test_any_state_comes_back_as_it_was(task_store, state):
    checkpoint = Checkpointer(task_store, PROGRESS)
    checkpoint.resume(start=new)
    checkpoint.offer(state)
    again = Checkpointer(task_store, PROGRESS)
    back = again.resume(start=new)
    assert (back, type(back), again.step) == (state, type(state), 1)


def test_without_a_checkpoint_it_starts(task_store):
    checkpoint = Checkpointer(task_store, PROGRESS)
    assert checkpoint.resume(start=new) == new()
    assert checkpoint.step == 0
    assert keys(task_store) == []


def test_the_last_few_are_kept_and_each_can_be_asked_for(places):
    with places.open(**INLINE) as stores:
        train(stores.task_store("d", "r", "t"), items=10, every=2, keep=3)
    assert len(places.blobs()) == 3
    with places.open(**INLINE) as stores:
        store = stores.task_store("d", "r", "t")
        assert saved(store) == [6, 8, 10]
        for step in (6, 8, 10):
            checkpoint = Checkpointer(store, PROGRESS)
            assert checkpoint.saved_steps == ()
            assert checkpoint.resume(start=new, step=step) == after(step)
            assert checkpoint.step == step
            assert checkpoint.saved_steps == tuple(range(6, step + 1, 2))
        assert len(keys(store)) == 1 + 3


def test_going_back_forgets_what_came_later_with_the_next_save_and_not_before(task_store):
    train(task_store, items=10, every=2, keep=3)
    checkpoint = Checkpointer(Watched(task_store), PROGRESS, every=3, keep=3)
    checkpoint.resume(start=new, step=6)
    checkpoint.offer(after(7))
    assert saved(task_store) == [6, 8, 10]
    checkpoint.offer(after(8))
    checkpoint.offer(after(9))
    assert saved(task_store) == [*checkpoint.saved_steps] == [6, 9]
    assert len(keys(task_store)) == 1 + 2
    assert Checkpointer(task_store, PROGRESS).resume(start=new) == after(9)


def test_fewer_are_kept_once_fewer_are_asked_for(task_store):
    train(task_store, items=10, every=2, keep=5)
    train(Watched(task_store), items=12, every=2, keep=2)
    assert saved(task_store) == [10, 12]
    assert len(keys(task_store)) == 1 + 2


def test_two_loops_of_one_task_have_names_of_their_own(task_store):
    train(task_store, items=4, every=2, keep=2)
    train(task_store, items=5, every=3, keep=2, name="other")
    assert (saved(task_store), saved(task_store, "other")) == ([2, 4], [3, 5])


# --- the loop


def test_the_items_that_are_done_are_left_out(task_store):
    train(task_store, items=4)
    for items in (range(7), [0, 1, 2, 3, 4, 5, 6], iter(range(7))):
        checkpoint = Checkpointer(task_store, PROGRESS, every=100)
        checkpoint.resume(start=new)
        left = []
        for item in checkpoint.remaining(items):
            left.append(item)
            checkpoint.offer(None)
        assert left == [4, 5, 6]
    checkpoint.resume(start=new)
    assert next(checkpoint.remaining(itertools.count())) == 4
    assert list(checkpoint.remaining([0])) == []


def test_a_long_range_is_not_walked_through(task_store):
    checkpoint = Checkpointer(task_store, PROGRESS)
    checkpoint.resume(start=new)
    checkpoint._step = 10**15
    assert next(checkpoint.remaining(range(10**18))) == 10**15


@pytest.mark.parametrize("times", [0, 2])
def test_an_item_without_exactly_one_offer_is_an_error_at_once(task_store, times):
    checkpoint = Checkpointer(task_store, PROGRESS, every=100)
    checkpoint.resume(start=new)
    items = checkpoint.remaining(range(3))
    next(items)
    for _ in range(times):
        checkpoint.offer(None)
    with pytest.raises(RuntimeError, match="once for each item"):
        next(items)


def test_nothing_can_be_offered_before_it_is_known_what_there_is(task_store):
    train(task_store, items=3)
    with (
        pytest.raises(RuntimeError, match="resume"),
        Checkpointer(task_store, PROGRESS) as checkpoint,
    ):
        checkpoint.offer(after(1))
    with pytest.raises(RuntimeError, match="resume"):
        next(Checkpointer(task_store, PROGRESS).remaining(range(3)))
    assert saved(task_store) == [3]


def test_the_progress_says_how_far_the_loop_is(local, task_store):
    train(task_store, items=5, every=2)
    (row,) = [row for row in local.core_store.rows() if row.key == PROGRESS]
    progress = json.loads(row.text)
    written = datetime.fromisoformat(progress.pop("saved_at"))
    assert abs(datetime.now(timezone.utc) - written) < timedelta(minutes=5)
    assert progress == {"checkpointer": 1, "step": 5, "of": 5, "checkpoints": [{"step": 5, "slot": 0}]}


def test_what_was_written_by_the_first_release_is_read(task_store):
    """Written out, as docs/formats.md has it: it must be readable for ever."""
    task_store.set("model.1", {"step": 200, "state": ["older"]})
    task_store.set("model.0", {"step": 300, "state": ["newer"]})
    checkpoints = [{"step": 200, "slot": 1}, {"step": 300, "slot": 0}]
    at = "2026-11-26T19:26:24+00:00"
    task_store.set(
        "model", {"checkpointer": 1, "step": 300, "of": 1000, "saved_at": at, "checkpoints": checkpoints}
    )
    checkpoint = Checkpointer(task_store, "model")
    assert checkpoint.resume(start=new) == ["newer"]
    assert (checkpoint.step, checkpoint.saved_steps) == (300, (200, 300))
    assert checkpoint.resume(start=new, step=200) == ["older"]


# --- what is wrong with a checkpoint is told, and nothing else is taken in its place


def test_a_checkpoint_whose_row_is_gone(task_store):
    train(task_store, items=6, every=2, keep=3)
    task_store.delete(f"{PROGRESS}.{slot_of(task_store, 6)}")
    with pytest.raises(CheckpointError, match=r"after 6 steps.*row is gone") as caught:
        Checkpointer(task_store, PROGRESS).resume(start=new)
    assert caught.value.steps == (2, 4)
    assert "step=N) takes one of [2, 4]" in caught.value.hint
    checkpoint = Checkpointer(task_store, PROGRESS)
    assert checkpoint.resume(start=new, step=caught.value.steps[-1]) == after(4)


@pytest.mark.parametrize("damage", [Path.unlink, lambda blob: blob.write_bytes(b"not what was stored")])
def test_a_checkpoint_whose_blob_is_gone_or_damaged(local, task_store, damage):
    train(task_store, items=6, every=3, keep=2)
    older = task_store.get(f"{PROGRESS}.{slot_of(task_store, 3)}")
    slot = f"{PROGRESS}.{slot_of(task_store, 6)}"
    damage(next(blob for blob in local.blobs() if slot in blob.parts))
    with pytest.raises(CheckpointError) as caught:
        Checkpointer(task_store, PROGRESS).resume(start=new)
    assert caught.value.steps == (3,)
    assert caught.value.__cause__ is not None
    assert Checkpointer(task_store, PROGRESS).resume(start=new, step=3) == older["state"]


@pytest.mark.parametrize("other", [{"step": 9, "state": 1}, "text", {"state": 1}])
def test_a_slot_that_holds_something_else(task_store, other):
    train(task_store, items=2)
    task_store.set(f"{PROGRESS}.{slot_of(task_store, 2)}", other)
    with pytest.raises(CheckpointError, match="something else") as caught:
        Checkpointer(task_store, PROGRESS).resume(start=new)
    assert caught.value.steps == ()
    assert "clear() forgets all" in caught.value.hint


def test_a_step_that_was_not_saved(task_store):
    train(task_store, items=6, every=3, keep=2)
    with pytest.raises(CheckpointError, match="no checkpoint after 4 steps") as caught:
        Checkpointer(task_store, PROGRESS).resume(start=new, step=4)
    assert caught.value.steps == (3, 6)
    with pytest.raises(CheckpointError):
        Checkpointer(task_store, "nothing").resume(start=new, step=0)


@pytest.mark.parametrize(
    "other",
    [
        {"epoch": 3},
        "text",
        {"checkpointer": 2, "checkpoints": [{"step": 1, "slot": 0}]},
        {"checkpointer": 1, "checkpoints": []},
        {"checkpointer": 1, "checkpoints": [1]},
        {"checkpointer": 1, "checkpoints": [{"step": 1, "slot": "0"}]},
        {"checkpointer": 1, "checkpoints": [{"step": 1, "slot": 0}, {"step": 2}]},
    ],
)
def test_a_key_that_is_not_a_checkpointers_is_neither_read_nor_removed(task_store, other):
    task_store.set(PROGRESS, other)
    checkpoint = Checkpointer(task_store, PROGRESS)
    for attempt in (lambda: checkpoint.resume(start=new), checkpoint.clear):
        with pytest.raises(CheckpointError, match="not a checkpointer's progress"):
            attempt()
    assert task_store.get(PROGRESS) == other


def test_trouble_with_the_store_passes_through_and_is_no_reason_to_go_back(task_store):
    train(task_store, items=6, every=3, keep=2)
    trouble = StoreError("no answer", reason="unreachable", retryable=True)

    class Unreachable(Watched):
        def get(self, key):
            if key != PROGRESS:
                raise trouble
            return self.store.get(key)

    with pytest.raises(StoreError) as caught:
        Checkpointer(Unreachable(task_store), PROGRESS).resume(start=new)
    assert caught.value is trouble


# --- clearing, expiring, assets


def test_clear_removes_every_row_and_blob_and_nothing_is_saved_after_it(places):
    with places.open(**INLINE) as stores:
        store = stores.task_store("d", "r", "t")
        store.set(f"{PROGRESS}.1", "left behind by a kill between the state and the progress")
        train(store, items=5, every=2, keep=5)
        with Checkpointer(store, PROGRESS, every=100, keep=1) as checkpoint:
            state = checkpoint.resume(start=new)
            checkpoint.offer(state)
            checkpoint.clear()
            assert checkpoint.step == 0
            with pytest.raises(RuntimeError, match="resume"):
                checkpoint.offer(state)
        assert keys(store) == []
    assert places.blobs() == []


def test_clear_removes_what_a_kill_before_the_first_commit_has_left(task_store):
    task_store.set(f"{PROGRESS}.0", BIG)
    Checkpointer(task_store, PROGRESS).clear()
    assert keys(task_store) == []


@pytest.mark.parametrize("retention", [None, NEVER_EXPIRE, timedelta(hours=2)])
def test_everything_expires_as_it_is_told_to(local, task_store, retention):
    train(task_store, items=2, keep=2, retention=retention)
    for key in keys(task_store):
        row = local.core_store.get(TaskAddress("dag", "run", "task"), key)
        if retention is NEVER_EXPIRE:
            assert row.expires_at is None
        else:
            left = row.expires_at - datetime.now(timezone.utc)
            assert abs(left - (retention or timedelta(days=30))) < timedelta(minutes=5)


def test_an_assets_store_will_do(stores):
    store = stores.asset_store(name="orders")
    train(store, items=6, every=3, keep=2)
    assert train(store, items=9, every=3, keep=2) == 6


@pytest.mark.parametrize("options", [{"every": 0}, {"seconds": -1}, {"seconds": float("nan")}, {"keep": 0}])
def test_what_can_never_be_due_or_kept_is_refused(task_store, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Checkpointer(task_store, PROGRESS, **options)


def test_to_import_it_costs_next_to_nothing():
    script = (
        f"import sys; sys.path[:] = {sys.path!r}; from offload_backend import Checkpointer;"
        "print(sorted(n for n in sys.modules if n.startswith('offload_backend.')), 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['offload_backend.checkpointer', 'offload_backend.errors'] False"


# --- kills and failures


def in_a_process(work):
    """Run it in a fork; the exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("keep", [1, 3])
def test_killed_at_any_change_it_leaves_the_last_committed_checkpoint_whole(tmp_path, keep, when):
    for number in itertools.count(1):
        here, log = tmp_path / str(number), tmp_path / f"{number}.log"
        here.mkdir()

        def kill(at, *_, number=number):
            if at == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def done(at, call, log=log, kill=kill):
            with log.open("a") as file:
                file.write(f"{call}\n")
            if when == "after":
                kill(at)

        def attempt(here=here, done=done, kill=kill):
            with connect(here / "blobs", f"sqlite:///{here}/state.db", **INLINE) as stores:
                watched = Watched(
                    stores.task_store("d", "r", "t"), kill if when == "before" else lambda _: None, done
                )
                train(watched, items=11, every=2, keep=keep)

        code = in_a_process(attempt)
        calls = log.read_text().splitlines() if log.exists() else []
        committed = min(2 * calls.count(f"set {PROGRESS}"), 11)
        with connect(here / "blobs", f"sqlite:///{here}/state.db", **INLINE) as stores:
            store = stores.task_store("d", "r", "t")
            there = saved(store)
            assert there[-1:] == ([committed] if committed else []), calls
            assert there[-keep:] == there
            for step in there:
                assert Checkpointer(store, PROGRESS).resume(start=new, step=step) == after(step)
            assert train(Watched(store), items=11, every=2, keep=keep) == committed
            assert saved(store)[-1] == 11
            if code == 0:
                break
            assert code == -signal.SIGKILL
    assert number > 3 * 4  # two writes and a delete, of most of six saves


class FailedError(Exception):
    pass


def test_what_was_there_and_is_gone_is_no_reason_to_start_anew(task_store):
    checkpoint = Checkpointer(task_store, PROGRESS)
    checkpoint.resume(start=new)
    checkpoint.offer(after(1))
    task_store.delete(PROGRESS)
    with pytest.raises(CheckpointError, match="progress that was written, or may have been, is not there"):
        checkpoint.resume(start=new)
    assert Checkpointer(task_store, PROGRESS).resume(start=new) == new()


def test_a_failure_after_which_nothing_that_is_read_can_be_believed(task_store):
    """As after a time-out that a task catches: Airflow takes the answer to one question for that to the next."""

    class Late(Watched):
        def get(self, key):
            return None if self.number else self.store.get(key)

    def lost(number, call):
        if call == f"set {PROGRESS}" and number < 9:
            raise FailedError

    train(task_store, items=2, every=2)
    checkpoint = Checkpointer(Late(task_store, done=lost), PROGRESS)
    state = checkpoint.resume(start=new)
    for step in (3, 4, 5, 6, 7):
        state["seen"].append(step - 1)
        with suppress(FailedError):
            checkpoint.offer(state)
        assert Checkpointer(task_store, PROGRESS).resume(start=new) == after(step)
        with pytest.raises(CheckpointError):
            checkpoint.resume(start=new)
    assert len(keys(task_store)) == 1 + 1


def test_failures_that_are_caught_leave_whole_checkpoints_whether_they_were_carried_out_or_not():
    """As an answer that is lost on its way: the caller cannot know what was written."""
    chance = random.Random(7)

    def maybe(*_):
        if chance.random() < 0.25:
            raise FailedError

    for round_ in range(60):
        keep, every = chance.randint(1, 3), chance.randint(1, 2)
        with connect("memory://state", "memory://", **INLINE) as stores:
            store = stores.task_store("d", str(round_), "t")
            for _ in range(4):  # attempts
                checkpoint = Checkpointer(Watched(store, maybe, maybe), PROGRESS, every=every, keep=keep)
                state = checkpoint.resume(start=new)
                assert state == after(checkpoint.step)
                for item in range(checkpoint.step, checkpoint.step + 6):
                    state["seen"].append(item)
                    try:
                        checkpoint.offer(state)
                    except FailedError:
                        pass
                    else:
                        assert checkpoint.step - (saved(store) or [0])[-1] < every
                    for step in saved(store):
                        assert Checkpointer(store, PROGRESS).resume(start=new, step=step) == after(step)
            train(Watched(store), items=100, every=10, keep=keep)
            assert saved(store)[-1] == 100
