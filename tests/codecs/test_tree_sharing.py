"""One object that is met twice comes back as one; cycles close where they can, and are refused elsewhere."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.errors import UnsupportedValueError
from tests.codecs.classes import Frozen, Model, Node, Point, Slots
from tests.codecs.values import QUICK, assert_kept, decoded, encoded, returned

MADE = [
    list,
    dict,
    set,
    bytearray,
    deque,
    OrderedDict,
    lambda: defaultdict(list),
    lambda: Point(1),
    lambda: Slots(1),
]


@pytest.mark.parametrize("make", MADE)
def test_one_object_comes_back_as_one(make):
    one = make()
    back = assert_kept([one, {"x": one}, (one, make())])
    assert back[0] is back[1]["x"] is back[2][0]
    assert back[2][1] is not back[0]


def test_objects_in_bulk_are_told_apart_too():
    tags = ["a", "b"]
    records = [{"id": place, "tags": tags} for place in range(500)]
    back = assert_kept({"records": records, "raw": b"x" * 100})
    assert all(record["tags"] is back["records"][0]["tags"] for record in back["records"])
    back = assert_kept({"again": tags, "records": [{"tags": [place]} for place in range(500)] + [tags], "raw": b""})
    assert back["records"][-1] is back["again"]
    plain = [{"id": place, "tags": [place, "a text to be long"]} for place in range(500)]
    back = assert_kept({"plain": plain, "one": plain[7], "other": plain[8]["tags"], "x": ()})
    assert back["plain"][7] is back["one"]
    back = assert_kept({"records": records, "one": records[7], "all": records, "x": ()})
    assert back["records"][7] is back["one"]
    assert back["all"] is back["records"]


def test_what_is_shared_is_written_once():
    one = [bytes(1000), b"x" * 100_000]
    assert len(encoded([one] * 50)) < 110_000
    same = b"x" * 100_000
    assert len(encoded([same] * 50)) < 110_000


def test_a_tower_of_shared_tuples_stays_small():
    tower: object = ([],)
    for _ in range(200):
        tower = (tower, tower)
    assert len(encoded(tower)) < 30_000
    back = decoded(encoded(tower))
    is_one = back[0] is back[1]
    assert is_one  # and pytest has no tower to print


def test_lists_dicts_and_objects_may_hold_themselves():
    loop: list = [1]
    loop.append(loop)
    back = returned(loop)
    assert back[1] is back
    entries: dict = {"a": (loop,)}
    entries["self"] = [entries]
    back = returned([entries, loop])
    assert back[0]["self"][0] is back[0]
    assert back[0]["a"][0] is back[1]
    odd: dict = {1: 2}
    odd[3] = odd
    assert returned(odd)[3][3][1] == 2
    queue: deque = deque()
    queue.append(queue)
    back = returned(queue)
    assert back[0] is back
    point = Point(None)
    point.x = Slots([point])
    back = returned(point)
    assert back.x.x[0] is back
    model = Model(a=1)
    model.b = {"me": model}
    back = returned(model)
    assert back.b["me"] is back


def test_parents_and_children_may_know_each_other():
    root = Node()
    root.children = {Node(parent=root), Node(parent=root)}
    back = returned(root)
    assert {child.parent for child in back.children} == {back}


def test_a_tuple_in_a_cycle_is_whole_where_the_cycle_begins_elsewhere():
    loop: list = []
    loop.append((loop, 1))
    back = returned(loop)
    assert back[0][0] is back


def test_a_cycle_that_begins_at_a_tuple_is_refused():
    pair: tuple = ([],)
    pair[0].append(pair)
    with pytest.raises(UnsupportedValueError, match="cycle that goes through a tuple") as raised:
        encoded({"x": pair})
    assert raised.value.path == 'value["x"][0][0]'


def test_a_cycle_that_a_hash_depends_on_is_refused():
    member = Frozen(1, set())
    member.y.add((1, member))
    with pytest.raises(UnsupportedValueError, match="whose hash it is part of"):
        encoded([member])
    key = Frozen(1, {})
    key.y[key] = 1
    with pytest.raises(UnsupportedValueError, match="whose hash it is part of"):
        encoded([key])


@QUICK
@given(st.data())
def test_any_graph_comes_back_in_its_shape(data):
    makers = [list, dict, lambda: Point(None), deque]
    objects = [data.draw(st.sampled_from(makers))() for _ in range(data.draw(st.integers(1, 8)))]
    for _ in range(data.draw(st.integers(0, 16))):
        holder, held = data.draw(st.sampled_from(objects)), data.draw(st.sampled_from(objects))
        wrapped = data.draw(st.sampled_from([lambda one: one, lambda one: (one, 1), lambda one: {"in": one}]))(held)
        if isinstance(holder, dict):
            holder[len(holder)] = wrapped
        elif isinstance(holder, Point):
            holder.x = wrapped
        else:
            holder.append(wrapped)
    assert_kept(objects)


def test_a_kind_may_hand_over_what_it_made_for_the_call():
    assert_kept([deque([1, (2,)]), deque([1, (2,)]), [deque([3])] * 2])


def test_tuples_and_bytes_of_long_lists_are_the_ones_met_elsewhere():
    rows = [(place, "x") for place in range(100)]
    parts = [bytes([place]) * 100 for place in range(100)]
    back = assert_kept([rows, rows[3], parts, parts[5], [None, *rows]])
    assert back[0][3] is back[1] is back[4][4]
    assert back[2][5] is back[3]


def test_bytes_that_a_long_list_repeats_are_written_once():
    part = b"x" * 4000
    data = encoded([part] * 100)
    assert len(data) < 3 * len(part)
    assert len(set(map(id, decoded(data)))) == 1
