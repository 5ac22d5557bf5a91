"""A view reads the structure alone, and of the buffers what is asked for."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree.view import TreeView, open_tree
from tests.codecs.classes import Pair, Point
from tests.codecs.values import CODEC, encoded

ARRAY = np.arange(1_000_000, dtype="f8").reshape(10_000, 100)
SHARED = [b"s" * 100_000]
VALUE = {
    "layers": [{"weight": ARRAY, "bias": b"b" * 100_000}],
    "pair": (1, [b"p" * 100_000]),
    "odd": {1: b"o" * 100_000, "two": 2},
    "point": Point(b"x" * 100_000),
    "columns": np.asfortranarray(ARRAY),
    "shared": [SHARED, SHARED],
    "plain": [1.5, "x", None],
}


class Counting(HeldSource):
    """Knows how many bytes were asked for."""

    def __init__(self, data):
        super().__init__(data)
        self.taken = 0

    def read(self, start, length):
        self.taken += length
        return super().read(start, length)

    def fill(self, targets):
        targets = list(targets)
        self.taken += sum(len(memory) for _, memory in targets)
        super().fill(targets)


@pytest.fixture
def source():
    return Counting(encoded(VALUE))


@pytest.fixture
def view(source):
    return open_tree(source, CODEC._policy)


def test_the_structure_is_shown_without_the_buffers(view, source):
    assert view.keys() == list(VALUE)
    assert view["layers"][0]["weight"].shape == (10_000, 100)
    assert len(view["layers"][0]["weight"]) == 10_000
    assert repr(view["layers"][0]["weight"]) == "TreeView(numpy.ndarray(10000, 100))"
    assert repr(view["pair"]) == "TreeView(tuple)"
    assert [view[key].kind for key in ("odd", "point", "plain")] == ["dict", "dataclass", "list"]
    assert view["point"].keys() == ["x", "y", "norm"]
    assert view["pair"][-1][0].kind == "bytes"
    assert isinstance(view["odd"][1], TreeView)
    assert source.taken < 70_000


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (["layers", 0, "bias"], VALUE["layers"][0]["bias"]),
        (["pair", 1, 0], VALUE["pair"][1][0]),
        (["odd", 1], VALUE["odd"][1]),
        (["odd", "two"], 2),
        (["point", "x"], VALUE["point"].x),
        (["shared", 1, 0], SHARED[0]),
        (["plain"], VALUE["plain"]),
    ],
)
def test_a_part_is_read_alone(view, source, way, expected):
    for key in way:
        view = view[key]
    assert view.value() == expected
    assert view.value() == expected
    assert source.taken < 270_000


@pytest.mark.parametrize(
    "rows", [slice(100, 200), slice(None, 5), slice(-3, None), slice(5, 5), slice(9, 3), slice(0, 9, 2)]
)
def test_rows_of_an_array_are_read_alone(view, source, rows):
    assert (view["layers"][0]["weight"][rows] == ARRAY[rows]).all()
    assert rows.step or source.taken < 70_000 + 80_000


def test_rows_of_an_array_that_lies_by_columns_are_right(view):
    assert (view["columns"][1:3] == ARRAY[1:3]).all()


def test_what_is_not_there_is_an_error(view):
    with pytest.raises(KeyError):
        view["nothing"]
    with pytest.raises(IndexError):
        view["layers"][1]
    with pytest.raises(IndexError):
        view["pair"][-3]


def test_the_whole_value_can_be_read(view):
    back = view.value()
    assert back["shared"][0] is back["shared"][1]
    assert (back["layers"][0]["weight"] == ARRAY).all()


COMPACT = {
    "json": {"a": {str(place): [place] for place in range(3000)}},
    "floats": [0.5, *map(float, range(999))],
    "dict": {place: place / 2 for place in range(500)},
    "tuple": tuple(map(float, range(300))),
    "deque": deque(map(float, range(300))),
    "pair": Pair(1, b"y"),
    "few": [1, (2,), 3],
}


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (["json", "a", "5"], [5]),
        (["floats", 5], 4.0),
        (["floats", -1], 998.0),
        (["dict", 5], 2.5),
        (["tuple", 7], 7.0),
        (["deque", 8], 8.0),
        (["pair", 1], b"y"),
        (["few", 1, 0], 2),
    ],
)
def test_what_was_written_at_once_has_parts_too(way, expected):
    view = open_tree(HeldSource(encoded(COMPACT)), CODEC._policy)
    for name, value in COMPACT.items():
        assert len(view[name]) == len(view[name].keys()) == len(value)
    for key in way:
        view = view[key]
    assert view.value() == expected


def test_a_stretch_of_any_list_can_be_had():
    view = open_tree(HeldSource(encoded(COMPACT)))
    assert view["floats"][1:3] == [0.0, 1.0]
    assert view["few"][1:] == [(2,), 3]
