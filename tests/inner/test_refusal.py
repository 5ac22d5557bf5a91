"""No value is silently changed: what JSON cannot hold exactly is refused, by name and place."""

from __future__ import annotations

import collections
import math
import tracemalloc
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource, JsonCodec
from offload_backend.codecs import json as json_module
from offload_backend.codecs.json import NotJsonError
from offload_backend.codecs.refusal import MAX_DEPTH, explain_refusal
from offload_backend.errors import UnsupportedValueError
from tests.inner.aliens import ALIENS, Colour, Items, Level, Text, Unsteady, Whole, Word
from tests.inner.values import QUICK, THOROUGH, json_keys, json_values, same

CODEC = JsonCodec()
PIECES = st.sampled_from([1, 16, json_module.PIECE])


@st.composite
def wrapped(draw: st.DrawFn, inner: Any) -> Any:
    """``inner`` somewhere inside a value that is JSON otherwise."""
    value = inner
    for _ in range(draw(st.integers(0, 5))):
        before = draw(st.lists(json_values, max_size=3))
        after = draw(st.lists(json_values, max_size=3))
        if draw(st.booleans()):
            value = [*before, value, *after]
        else:
            keys = draw(st.lists(json_keys, min_size=7, max_size=7, unique=True))
            value = dict(zip(keys, [*before, value, *after], strict=False))
    return value


def refuse(value: Any, piece: int = json_module.PIECE) -> UnsupportedValueError:
    with patch.object(json_module, "PIECE", piece), pytest.raises(NotJsonError):
        list(CODEC.encode(value))
    refusal = explain_refusal(value)
    assert refusal.hint
    return refusal


@QUICK
@given(st.data(), st.sampled_from(list(ALIENS)), PIECES)
def test_what_json_cannot_hold_is_refused_wherever_it_is(data, name, piece):
    alien = ALIENS[name]
    value = data.draw(wrapped(alien))
    assert eval(refuse(value, piece).path, {"value": value}) is alien


PLACES: dict[str, Any] = {
    "alone": lambda alien, filler: alien,
    "last": lambda alien, filler: [*filler, alien],
    "first": lambda alien, filler: [alien, *filler],
    "between": lambda alien, filler: {"a": 1, "big": [filler, {"x": filler, "y": [alien]}], "z": filler},
    "deep": lambda alien, filler: {"a": 1, "b": 2, "c": 3, "d": {"e": {"f": [*filler, [alien]]}}, "g": filler},
}


@pytest.mark.parametrize("name", ALIENS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("filler", [[1.5, None, "x"] * 500, ["x" * 1000] * 40], ids=["elements", "texts"])
def test_what_json_cannot_hold_is_refused_in_a_value_of_many_pieces(name, place, filler):
    alien = ALIENS[name]
    value = PLACES[place](alien, filler)
    assert eval(refuse(value, 1024).path, {"value": value}) is alien


anything = st.recursive(
    json_values | st.sampled_from(list(ALIENS.values())) | st.floats() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(json_keys, inner, max_size=5)
        | st.dictionaries(json_keys | st.integers() | st.none() | st.booleans(), inner, max_size=3)
        | st.tuples(inner)
        | st.builds(Items, st.lists(inner, max_size=2))
        | st.builds(collections.OrderedDict, st.dictionaries(json_keys, inner, max_size=2))
    ),
    max_leaves=12,
)


@THOROUGH
@given(anything, PIECES)
@example([math.inf, -math.inf], 1)
@example([1e308, 1e308, 1e308, None], 1)
@example([1e308, 1e308, math.nan], 1)
@example([[math.inf], [1.5], [None]], 1)
@example([{"a": None}, {"b": math.nan}], 1)
@example([math.nan, None, [1.5]], 1)
@example([1.5, None, [math.nan, [1.5]]], json_module.PIECE)
def test_any_python_value_comes_back_type_for_type_or_is_refused(value, piece):
    refusal = None
    try:
        with patch.object(json_module, "PIECE", piece):
            text = b"".join(CODEC.encode(value))
    except NotJsonError:
        refusal = explain_refusal(value)
    if refusal is None:
        assert same(CODEC.decode(HeldSource(text)), value)
    else:
        assert "changed while" not in refusal.message
        eval(refusal.path, {"value": value})


def test_finite_floats_whose_sum_is_not_are_kept_beside_a_null():
    value = [1.7e308, 1.7e308, None]
    assert same(CODEC.decode(HeldSource(b"".join(CODEC.encode(value)))), value)


@pytest.mark.parametrize("extra", [1, 2, 100, 5000])
@pytest.mark.parametrize("piece", [1, json_module.PIECE])
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: [1, {"k": inner}]]
)
def test_nesting_beyond_the_limit_is_refused_at_the_first_element_too_deep(extra, piece, wrap):
    value: Any = 1
    levels = 1
    while levels < MAX_DEPTH + extra:
        value = wrap(value)
        levels += 2 if wrap(0) == [1, {"k": 0}] else 1
    error = refuse(value, piece)
    assert f"deeper than {MAX_DEPTH} levels" in error.message
    assert error.path.count("[") == MAX_DEPTH


@pytest.mark.parametrize("width", [1, 3, 200])
@pytest.mark.parametrize("piece", [1, json_module.PIECE])
def test_a_cycle_is_refused_at_once(width, piece):
    items: list[Any] = []
    items.extend([items] * width)
    assert "a cycle cannot be stored" in refuse(items, piece).hint
    entries: dict[str, Any] = {}
    entries.update({str(n): {"back": entries} for n in range(width)})
    assert "a cycle cannot be stored" in refuse([entries], piece).hint


def test_a_key_that_cannot_be_looked_up_again_is_refused_too():
    value = {**{str(n): n for n in range(500)}, Unsteady(): 1}
    assert "a dict key of type Unsteady" in refuse(value, 16).message


def test_the_first_of_several_in_reading_order_is_named():
    assert refuse([[1, {"a": 1, "b": (1,)}], {2}]).path == 'value[0][1]["b"]'
    assert refuse({"a": [1], "b": math.nan, "c": {1}}).path == 'value["b"]'
    assert refuse({"a": {1}, 2: 3}).path == "value"


@QUICK
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
@example('a"b')
@example("a'b")
@example("a\"b'c\\")
@example("\\")
@example('\\"')
@example("line\nbreak\ttab\x00\x7f\u2028")
@example("k" * 500)
def test_the_path_is_python_for_the_element_whatever_the_keys(key):
    alien = object()
    value = {key: [{key: alien}]}
    error = refuse(value)
    assert eval(error.path, {"value": value}) is alien
    assert "\n" not in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"metrics": [1, 2, 3, math.nan]}, 'value["metrics"][3]: NaN is not JSON', "store None"),
        ([-math.inf], "value[0]: -Infinity is not JSON", "store None"),
        ((1, 2), "value: tuple is not JSON", "list(value)"),
        ([{1}], "value[0]: set is not JSON", "sorted(value)"),
        ({"a": b"x"}, 'value["a"]: bytes is not JSON', "base64"),
        ({1: 2}, "value: a dict key of type int is not JSON", "str(key)"),
        (2**64, "value: an int beyond 64 bits", "str(value)"),
        ("\ud800", "value: a lone surrogate is not UTF-8", "errors="),
        (Whole(1), "value: a Whole, a subclass of int, would come back as int", "int(value)"),
        (Word.A, "value: a Word, a subclass of str, would come back as str", "value.value"),
        (Level.HIGH, "value: a Level, a subclass of int, would come back as int", "value.value"),
        (Colour.RED, "value: Colour is not JSON", "value.value"),
        (np.arange(2), "value: ndarray is not JSON", "tolist"),
        (np.float64(1), "value: a float64, a subclass of float, would come back as float", "float(value)"),
        (object(), "value: object is not JSON", "store it as a dict"),
    ],
)
def test_the_message_says_what_is_wrong_and_the_hint_what_to_store(value, message, hint):
    error = refuse(value)
    assert error.message == message
    assert hint in error.hint


def test_a_secret_inside_the_value_is_not_repeated():
    error = refuse({"password": Text("hunter2-secret"), "x": {"hunter2-secret"}})
    assert "hunter2" not in str(error)


def test_finding_the_element_takes_no_memory_for_the_others():
    value = {"losses": [[1.5] * 100_000, {str(n): n for n in range(100_000)}, math.nan]}
    tracemalloc.start()
    try:
        assert explain_refusal(value).path == 'value["losses"][2]'
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
