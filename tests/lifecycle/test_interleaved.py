"""Whatever comes between any two steps of a walk that moves values, nothing is lost and nothing is old."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from offload_backend.lifecycle.migrate import MovingHere, MovingIn
from offload_backend.lifecycle.migrate_out import MovingToCommonIo, MovingToPlainRows
from offload_backend.namespace import Namespace, OffloadedValues
from tests.lifecycle.migrating import HERE, OLD, PEER, TASK, Estate

WAYS = ["in", "move", "plain", "peer"]
CASES = [(way, step) for way in WAYS for step in ("page", "remake", "replace", "delete")]
CASES.remove(("in", "delete"))  # of the peer's, nothing ever is
OLD_VALUE, VALUE, NEWER = ["old", "x" * 200], ["new", "x" * 200], ["newer", "x" * 200]


class Walks(Estate):
    """A deployment whose values are about to go some ``way``, and a task that has one of them."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.task = Namespace(self.rows, OffloadedValues(self.offloader()), TASK)
        self.begin("key", OLD_VALUE)
        self.begin("other", OLD_VALUE)

    def begin(self, key, value):
        if self.way == "in":
            self.set_by_peer(key, value)
        else:
            self.set(key, value, path=OLD if self.way == "move" else HERE)

    def moving(self):
        given = self.settings, self.stores.open
        if self.way == "in":
            return MovingIn(*given)
        if self.way == "move":
            return MovingHere(*given, OLD)
        return (
            MovingToPlainRows(*given, row_limit=0) if self.way == "plain" else MovingToCommonIo(*given, path=PEER)
        )

    def walk(self, moving=None):
        report = self.migrate(moving or self.moving(), old=OLD if self.way == "move" else None)
        assert (report.failures, report.undeleted) == (0, {}), report.failed
        return report


def get(walks):
    assert walks.task.get("key", None) == OLD_VALUE
    return OLD_VALUE


def set_anew(walks):
    walks.task.set("key", VALUE, None)
    assert walks.task.get("key", None) == VALUE
    return VALUE


def set_the_same(walks):
    walks.task.set("key", OLD_VALUE, None)
    return OLD_VALUE


def set_by_who_goes_the_way(walks):
    """A worker that has not yet been told of the way: one of the peer's, or with the old path."""
    walks.begin("key", VALUE)
    return VALUE


def delete(walks):
    walks.task.delete("key")
    assert walks.task.get("key", "gone") == "gone"
    return "gone"


def delete_and_set(walks):
    delete(walks)
    return set_anew(walks)


def walk_too(walks):
    walks.walk()
    return get(walks)


def walk_and_set(walks):
    walks.walk()
    return set_anew(walks)


def walk_and_come_back(walks):
    """Out, in and out: the text of a plain row is the same again."""
    walks.walk()
    walks.migrate(MovingIn(walks.settings.replaced({"inline_limit": 1}), walks.stores.open))
    if walks.way in ("plain", "peer"):
        walks.walk()
    return get(walks)


MEANWHILE = [
    *(get, set_anew, set_the_same, set_by_who_goes_the_way, delete, delete_and_set),
    *(walk_too, walk_and_set, walk_and_come_back),
]


@contextmanager
def between(owner, name, when, meanwhile):
    """Let it happen once, right before or after the method does for the first time what it does."""
    method, left = getattr(owner, name), [meanwhile]

    def called(*arguments, **options):
        if when == "before" and left:
            left.pop()()
        answer = method(*arguments, **options)
        if when == "after" and left:
            left.pop()()
        return answer

    setattr(owner, name, called)
    yield
    setattr(owner, name, method)
    assert not left


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=lambda action: action.__name__)
@pytest.mark.parametrize(("way", "step"), CASES)
def test_a_walk_and_whoever_comes_between_two_of_its_steps(way, step, meanwhile, when):
    walks = Walks(way)
    moving, expected = walks.moving(), [OLD_VALUE]
    blobs = walks.stores.open(OLD if way == "move" else HERE)
    owner = {"page": walks.rows, "remake": moving, "replace": walks.rows, "delete": blobs}[step]
    with between(owner, step, when, lambda: expected.append(meanwhile(walks))):
        walks.walk(moving)
    assert walks.task.get("key", "gone") == expected[-1]
    assert walks.task.get("other", None) == OLD_VALUE
    walks.walk()
    assert walks.task.get("key", "gone") == expected[-1]
    walks.task.set("key", NEWER, None)
    assert walks.task.get("key", None) == NEWER


@pytest.mark.parametrize("reads", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_a_reader_and_whole_walks_after_each_of_its_looks_at_the_row(way, reads):
    walks = Walks(way)
    read, left = walks.rows.get, [walk_too_and_back] * reads

    def overtaken(*arguments):
        row = read(*arguments)
        if left:
            walks.rows.get = read
            left.pop()(walks)
            walks.rows.get = overtaken
        return row

    walks.rows.get = overtaken
    assert walks.task.get("key", None) == OLD_VALUE


def walk_too_and_back(walks):
    """The row names another blob than before, and the one before is gone."""
    walks.walk()
    back = walks.settings.replaced({"path": OLD, "read_paths": f"{HERE} s3://conn@bucket/peer"})
    if walks.way == "move":
        walks.migrate(MovingHere(back, walks.stores.open, HERE), old=HERE)
    elif walks.way != "in":
        walks.migrate(MovingIn(walks.settings, walks.stores.open))
