"""The short cuts of the JSON codec: none lets pass what orjson would write wrongly, and memory stays bounded."""

from __future__ import annotations

import enum
import gc
import inspect
import json
import math
import subprocess
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any
from unittest.mock import patch

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.codecs import json as json_module
from offload_backend.codecs import json_reading, json_survey
from offload_backend.codecs.json import JsonCodec, NotJsonError
from offload_backend.codecs.json_reading import decode_text
from offload_backend.codecs.refusal import MAX_DEPTH
from tests.inner.aliens import ALIENS, Level, Word
from tests.inner.values import QUICK, json_values, same


class Real(float, enum.Enum):
    HALF = 0.5


class Nothing(enum.Enum):
    NOTHING = None


WRONGLY_WRITTEN: dict[str, Any] = {
    "tuple": (1, 2),
    "empty tuple": (),
    "tuple of texts": ("a",),
    "UUID": uuid.UUID(int=1),
    "Fragment of a number": orjson.Fragment(b"1.5"),
    "Fragment of a text": orjson.Fragment(b'"x"'),
    "Fragment of a null": orjson.Fragment(b"null"),
    "IntEnum": Level.HIGH,
    "str Enum": Word.A,
    "float Enum": Real.HALF,
    "Enum of None": Nothing.NOTHING,
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
}
"""What orjson writes as if it were something else: only the survey tells."""

PIECES = [1, 64, 4096, json_module.PIECE]
FILLERS: dict[str, Callable[[int], Any]] = {
    "ints": lambda n: n,
    "large ints": lambda n: 2**64 - 1 - n,
    "floats": lambda n: n / 7,
    "large floats": lambda n: 1.7e308,
    "bools": lambda n: n % 2 == 0,
    "nulls": lambda n: None,
    "short texts": lambda n: f"text {n}",
    "long texts": lambda n: f"検査 {n}" * 300,
    "lists": lambda n: [n],
    "empty lists": lambda n: [],
    "rows": lambda n: [n, n / 7, "x", None],
    "dicts": lambda n: {"a": n, "b": "x", "c": {"d": [n / 3], "e": None}},
    "of every type": lambda n: (1, 0.5, True, None, "x", [1], {"a": 1})[n % 7],
}


def encode(value: Any, piece: int = json_module.PIECE) -> bytes:
    with patch.object(json_module, "PIECE", piece):
        return b"".join(JsonCodec().encode(value))


def refuse(value: Any, piece: int = json_module.PIECE) -> None:
    with pytest.raises(NotJsonError):
        encode(value, piece)


@pytest.mark.parametrize("filler", FILLERS)
def test_columns_of_every_type_come_back_type_for_type(filler):
    value = [FILLERS[filler](n) for n in range(700)]
    for shape in (value, {"rows": value}, [{"x": element, "y": 1} for element in value]):
        assert encode(shape) == orjson.dumps(shape)
        assert same(decode_text(encode(shape, 4096)), shape)


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("alien", WRONGLY_WRITTEN)
def test_one_wrong_element_in_a_column_of_others_is_found(alien, filler):
    for place in (0, 200, 299):
        column = [FILLERS[filler](n) for n in range(300)]
        column[place] = WRONGLY_WRITTEN[alien]
        refuse(column)
        refuse([{"k": element, "z": None} for element in column])
        refuse([[0.5, element] for element in column], 4096)


@pytest.mark.parametrize("alien", ALIENS)
def test_whatever_is_not_json_is_found_in_a_column_of_others(alien):
    for filler in FILLERS.values():
        column = [filler(n) for n in range(100)]
        column[90] = ALIENS[alien]
        refuse(column)
        refuse([{"k": element, "z": None} for element in column])


records = st.builds(
    lambda fields, count: [{name: FILLERS[filler](n) for name, filler in fields.items()} for n in range(count)],
    st.dictionaries(st.text(max_size=3), st.sampled_from(list(FILLERS)), min_size=1, max_size=5),
    st.sampled_from([3, 65, 257, 600]),
)


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every list or dict with every step in it."""
    steps = list(value) if type(value) is dict else range(len(value)) if type(value) is list else ()
    return [place for step in steps for place in ((value, step), *places_in(value[step]))]


@QUICK
@given(
    st.data(),
    records | st.lists(json_values, min_size=1),
    st.sampled_from(list(WRONGLY_WRITTEN)),
    st.sampled_from(PIECES),
)
def test_a_wrong_element_is_found_wherever_it_is(data, value, alien, piece):
    assert encode(value, piece) == orjson.dumps(value)
    containers = places_in(value)
    container, step = containers[data.draw(st.integers(0, len(containers) - 1))]
    container[step] = WRONGLY_WRITTEN[alien]
    refuse(value, piece)


@QUICK
@given(st.sampled_from([4096, 16384]), st.integers(-3, 3), st.sampled_from(list(WRONGLY_WRITTEN)))
def test_a_wrong_element_is_found_where_two_pieces_meet(piece, off, alien):
    value = [{"n": n, "t": "x" * 20, "f": n / 3} for n in range(2000)]
    with patch.object(json_module, "PIECE", piece):
        sizes = [part.count(b'"n"') for part in JsonCodec().encode(value)]
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    for end in {ends[2], ends[len(ends) // 2], ends[-1]}:
        place = min(max(end + off, 0), len(value) - 1)
        refuse([*value[:place], {**value[place], "f": WRONGLY_WRITTEN[alien]}, *value[place + 1 :]], piece)


def test_a_dict_that_once_had_another_key_is_surveyed_like_any_other():
    rows: list[dict[Any, Any]] = [{1: None, "a": n, "b": "x"} for n in range(300)]
    for row in rows:
        del row[1]
    assert encode(rows) == orjson.dumps(rows)
    rows[150]["b"] = ()
    refuse(rows)


@pytest.mark.parametrize("width", [1, 2, 255, 256, 257, 400])
@pytest.mark.parametrize("make", [list, lambda row: {str(n): element for n, element in enumerate(row)}])
def test_rows_of_any_width_are_surveyed(width, make):
    rows = [make(["x", *range(width - 1)]) for _ in range(300)]
    assert encode(rows) == orjson.dumps(rows)
    for place in {0, width // 2, width - 1}:
        row = ["x", *range(width - 1)]
        row[place] = ()
        refuse([*rows, make(row), *rows])


ENTRIES = {str(n): n for n in range(5000)}


class Loud:
    """Whose every use would be noticed."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)

    def _fail(self, *args: Any) -> Any:
        raise AssertionError

    __len__ = __float__ = __index__ = __eq__ = __iter__ = __radd__ = __rmul__ = __length_hint__ = _fail  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("filler", FILLERS)
def test_no_code_of_the_value_runs(filler):
    column = [FILLERS[filler](n) for n in range(300)]
    column[200] = Loud()
    refuse(column)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "w": np.zeros(3)},
        [np.zeros(3)] * 300_000,
        {"x": {"y": [b"", 1]}},
        {"losses": [0.5] * 300_000, "w": np.zeros(3)},
        {"losses": [0.5] * 300_000, "model": {"layers": {str(n): np.zeros(3) for n in range(100)}}},
        {"losses": [0.5] * 300_000, **dict.fromkeys("abc", 1), "rows": [[1, "x", (1,)]] * 300_000},
    ],
)
def test_a_type_near_the_top_is_refused_before_anything_is_written(value):
    with patch.object(json_module, "_dumps", side_effect=AssertionError):
        refuse(value)


class Once:
    """A key that has a hash once."""

    def __init__(self) -> None:
        self.times = 0

    def __hash__(self) -> int:
        self.times += 1
        if self.times > 1:
            raise ZeroDivisionError
        return 1


def test_a_key_is_not_even_hashed():
    refuse({**ENTRIES, Once(): 1}, 64)


@pytest.mark.parametrize("above", range(4))
@pytest.mark.parametrize("wrap", [lambda inner: [*range(5000), inner], lambda inner: {**ENTRIES, "inner": inner}])
def test_how_deep_an_element_lies_counts_from_the_top_of_the_value(wrap, above):
    inner: Any = []
    for _ in range(MAX_DEPTH - 2 - above):
        inner = [inner]
    deepest, too_deep = wrap(inner), wrap([inner])
    for _ in range(above):
        deepest, too_deep = [deepest], [too_deep]
    assert encode(deepest, 4096) == json.dumps(deepest, separators=(",", ":")).encode()
    refuse(too_deep, 4096)
    refuse(too_deep)


# Another thread


def nested() -> dict[str, Any]:
    return {"a": 12, "rows": [{"x": n, "m": {"loss": 0.125, "l": [1, [2]]}} for n in range(300)], "n": None}


CHANGES: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "an entry": lambda value, new: value.__setitem__("a", new),
    "an entry of a row": lambda value, new: value["rows"][200].__setitem__("x", new),
    "an entry below a row": lambda value, new: value["rows"][200]["m"].__setitem__("loss", new),
    "a new entry": lambda value, new: value["rows"][200]["m"].__setitem__("new", new),
    "an element": lambda value, new: value["rows"][7]["m"]["l"][1].append(new),
    "a row": lambda value, new: value["rows"].__setitem__(3, new),
}


@pytest.mark.parametrize(
    "alien", ["tuple", "empty tuple", "UUID", "Fragment of a number", "IntEnum", "NaN", "ndarray"]
)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("levels", [0, 10])
@pytest.mark.parametrize(("before", "after"), [(True, False), (True, True), (False, True)])
def test_what_another_thread_changes_while_a_piece_is_written_is_found(alien, change, levels, before, after):
    new = WRONGLY_WRITTEN.get(alien, ALIENS.get(alien))
    value = inner = nested()
    for _ in range(levels):
        value = {"d": value}
    writer = "_deep_dumps" if levels else "_dumps"
    dumps, calls = getattr(json_module, writer), []

    def counted(value: Any) -> Any:
        calls.append(value)
        return dumps(value)

    piece = 64 if levels else json_module.PIECE
    with patch.object(json_module, writer, counted):
        encode(value, piece)
    last = len(calls)
    calls.clear()

    def changed(value: Any) -> Any:
        if before and len(calls) + 1 == last:
            CHANGES[change](inner, new)
        try:
            return counted(value)
        finally:
            if after and len(calls) == last:
                CHANGES[change](inner, 7.25 if before else new)

    with patch.object(json_module, writer, changed):
        refuse(value, piece)
    assert len(calls) == last


def test_a_thread_that_now_and_then_has_nan_in_a_value_never_gets_null_for_it():
    rows: list[dict[str, Any]] = [{"step": n, "m": {"loss": 0.5}} for n in range(400)]
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            for loss in (math.nan, 0.25, math.nan, 0.75):
                rows[399]["m"]["loss"] = loss

    thread = threading.Thread(target=train)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    stored = 0
    try:
        for _ in range(1500):
            try:
                text = encode(rows)
            except NotJsonError:
                continue
            stored += 1
            assert b"null" not in text
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    rows[399]["m"]["loss"] = 0.5
    assert encode(rows) == orjson.dumps(rows)


@pytest.mark.parametrize("count", [3, 300])
@pytest.mark.parametrize("text", ["x", "null"])
def test_a_number_that_is_nan_only_while_the_text_is_made_is_found(count, text):
    rows: list[dict[str, Any]] = [{"loss": n + 0.5, "error": None, "text": text} for n in range(count)]
    dumps, before = json_module._dumps, rows[1]["loss"]

    def in_between(value: Any) -> bytes:
        rows[1]["loss"] = math.nan
        try:
            return dumps(value)
        finally:
            rows[1]["loss"] = before

    with another_thread():
        assert encode(rows) == orjson.dumps(rows)
        with patch.object(json_module, "_dumps", in_between):
            refuse(rows)


@contextmanager
def another_thread() -> Iterator[None]:
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_our_own_threads_disturb_nothing_and_others_may():
    """In a process of its own: this one has threads of other tests."""
    script = (
        "import threading\n"
        "from offload_backend.codecs.json_survey import _is_undisturbed\n"
        "leave = threading.Event()\n"
        "assert _is_undisturbed()\n"
        "threading.Thread(target=leave.wait, name='offload-compress_0').start()\n"
        "assert _is_undisturbed()\n"
        "threading.Thread(target=leave.wait).start()\n"
        "assert not _is_undisturbed()\n"
        "leave.set()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# An interpreter whose garbage collector tells less


@pytest.fixture
def one_by_one() -> Iterator[None]:
    with patch.object(json_survey, "_references", json_survey._references_one_by_one):
        yield


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("alien", WRONGLY_WRITTEN)
@pytest.mark.usefixtures("one_by_one")
def test_without_the_garbage_collectors_help_the_same_is_found(alien, filler):
    column = [FILLERS[filler](n) for n in range(300)]
    rows = [{"k": element, "z": None} for element in column]
    assert encode(rows) == orjson.dumps(rows)
    rows[200]["k"] = WRONGLY_WRITTEN[alien]
    refuse(rows)


def test_whether_the_garbage_collector_helps_is_tried():
    tells_all = json_survey._tells_all
    assert tells_all(json_survey._references_one_by_one)
    assert tells_all(gc.get_referents) == (json_survey._references is gc.get_referents)
    assert not tells_all(lambda *elements: [r for r in gc.get_referents(*elements) if gc.is_tracked(r)])
    assert not tells_all(lambda *elements: gc.get_referents(*(e for e in elements if type(e) is list)))
    assert not tells_all(lambda *elements: gc.get_referents(*(e for e in elements if type(e) in (list, dict))))
    assert not tells_all(lambda *elements: [*gc.get_referents(*elements), None])


# Memory


LARGE: dict[str, Callable[[], Any]] = {
    "records": lambda: [
        {"id": n, "name": f"user {n}", "score": n / 7, "more": {"x": None}} for n in range(100_000)
    ],
    "a dict": lambda: {f"key {n}": n / 7 for n in range(200_000)},
    "floats": lambda: [n / 7 for n in range(500_000)],
    "texts, suddenly long": lambda: ["a"] * 50_000 + ["x" * 300_000] * 60,
    "texts of rows, suddenly long": lambda: [{"t": "a"}] * 50_000 + [{"t": "x" * 300_000}] * 60,
    "short texts of rows, suddenly less short": lambda: [["a"]] * 50_000 + [["x" * 60]] * 100_000,
    "short texts of many columns, suddenly less short": lambda: [
        {"n": n, **dict.fromkeys("abcdefg", "a" if n < 50_000 else "x" * 60)} for n in range(100_000)
    ],
    "rows, suddenly long": lambda: [[1, "x"]] * 50_000 + [[0.5] * 30_000] * 60,
    "keys, suddenly long": lambda: {
        **{str(n): n for n in range(50_000)},
        **{f"{n}" * 60_000: n for n in range(60)},
    },
    "one text": lambda: "y" * 20_000_000,
    "one text beyond ASCII": lambda: ["検" * 5_000_000],
    "texts beyond ASCII": lambda: [{"body": f"検査 {n}" * 500} for n in range(4_000)],
}


@pytest.mark.parametrize("shape", LARGE)
def test_encoding_takes_the_memory_of_a_few_pieces_however_large_the_value(shape):
    value = LARGE[shape]()
    gc.collect()
    tracemalloc.start()
    try:
        sizes = [len(piece) for piece in JsonCodec().encode(value)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(sizes) <= 4 * json_module.PIECE < sum(sizes) / 8
    # orjson reserves 64 bytes for an element and 8 for a character, which it does not touch.
    assert peak < 16 * len(value) * (type(value) is dict) + 150 * json_module.PIECE


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: [text],
        lambda text: {"a": 1, "b": {"c": [None, text, 0.5]}},
        lambda text: [{"id": n, "body": text} for n in range(300)],
        lambda text: {str(n): text for n in range(300)},
    ],
)
@pytest.mark.parametrize("length", [json_survey.LONG_TEXT, 10_000, 2_000_000])
def test_a_long_text_beyond_ascii_does_not_grow_by_its_utf8(wrap, length):
    text = "検" * length
    size = sys.getsizeof(text)
    value = wrap(text)
    for _ in islice(JsonCodec().encode(value), 100):
        pass
    assert sys.getsizeof(text) == size
    if length < 1_000_000:
        assert encode(value) == orjson.dumps(value)


def test_a_long_text_far_down_is_written_however_deep_the_caller_is():
    value: Any = "検" * 10_000
    for _ in range(3):
        value = {"k": [value]}

    def call(levels: int) -> bytes:
        return call(levels - 1) if levels else encode(value)

    assert call(sys.getrecursionlimit() - 150 - len(inspect.stack())) == orjson.dumps(value)


@pytest.mark.parametrize("piece", PIECES[1:])
@pytest.mark.parametrize("text", ["x" * 70_000, '検査\n"\\' * 9_000, "é" * 50_000 + "📦" * 50_000])
def test_a_long_text_is_spread_over_pieces(text, piece):
    assert encode([text, {"k": text}], piece) == orjson.dumps([text, {"k": text}])
    refuse([text + "\ud800", 1], piece)


# Reading


@QUICK
@given(st.lists(st.dictionaries(st.text(max_size=9), json_values, max_size=3), max_size=4))
@example([{"名前": 1}] * 3)
@example([{'é"': 1}, {"a": "é:"}])
def test_keys_beyond_ascii_choose_the_reader_but_not_the_value(value):
    text = orjson.dumps(value)
    with patch.object(json_reading, "LONG", 0):
        assert same(decode_text(text), value)
        assert same(decode_text(bytearray(text)), value)


@pytest.mark.parametrize("key", ["name", "名前", "prénom"])
def test_dicts_share_their_keys(key):
    text = orjson.dumps([{key: n} for n in range(200_000)])
    assert len(text) > json_reading.LONG
    first, *_, last = (next(iter(entry)) for entry in decode_text(text))
    assert first is last


# Deeper than orjson is trusted


def nested_in(value: Any, levels: int, width: int) -> Any:
    for level in range(levels):
        value = [value, *[level] * width] if level % 2 else {"k": value, "é": None}
    return value


@pytest.mark.parametrize("name", ALIENS)
@pytest.mark.parametrize("piece", [64, json_module.PIECE])
def test_deep_down_nothing_that_is_not_json_is_overlooked_either(name, piece):
    refuse(nested_in(ALIENS[name], 20, 3), piece)
    refuse(nested_in([ALIENS[name]], 9, 300), piece)


@pytest.mark.parametrize("piece", [64, 4096, json_module.PIECE])
@pytest.mark.parametrize("filler", FILLERS)
def test_deep_values_come_back_and_orjson_never_sees_how_deep_they_are(piece, filler):
    value = nested_in([FILLERS[filler](n) for n in range(300)], 30, 50)
    with patch.object(json_module, "orjson", wraps=orjson) as seen:
        text = encode(value, piece)
    assert json.loads(text) == value
    assert all(depth_of(call.args[0]) <= 9 for call in seen.dumps.call_args_list)
    assert encode(nested_in(1, MAX_DEPTH - 1, 2), piece)
    refuse(nested_in(1, MAX_DEPTH, 2), piece)


def depth_of(value: Any) -> int:
    held = value.values() if type(value) is dict else value if type(value) is list else ()
    return 1 + max(map(depth_of, held), default=0)
