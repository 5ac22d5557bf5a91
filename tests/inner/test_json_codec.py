from __future__ import annotations

import gc
import inspect
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from math import inf, nan
from typing import Any
from unittest.mock import patch
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.codecs import Codecs, HeldSource, JsonCodec, garbage, json_reading
from offload_backend.codecs import json as json_module
from offload_backend.codecs.json import NotJsonError
from offload_backend.codecs.json_reading import decode_text
from offload_backend.codecs.refusal import MAX_DEPTH, explain_refusal
from offload_backend.errors import UnreadableBlobError
from offload_backend.settings import Settings
from tests.inner.values import QUICK, THOROUGH, json_values, same

CODEC = JsonCodec()
READERS = [0, json_reading.LONG]
"""Lengths from which a text is long: any text is, and what is by default."""

PIECES = [1, 16, json_module.PIECE]

SMALL = 8 * 1024

records: list[Any] = [
    {"id": n, "name": f"user {n}", "score": n / 7, "tags": ["a", str(n)], "more": {"x": None, "y": [n, True]}}
    for n in range(5_000)
]
floats = [n / 7 for n in range(30_000)]


def encode(value: Any, piece: int = json_module.PIECE) -> bytes:
    with patch.object(json_module, "PIECE", piece):
        return b"".join(CODEC.encode(value))


@THOROUGH
@given(json_values, st.sampled_from(PIECES))
@example([-0.0, 0.0, 0, False, 1, 1.0, True, 1e16, 10**16], 1)
@example([1e-320, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 123456789.123456789], 1)
@example({"": {"": {"": []}}, "\x00": "\x00", "😀": "😀", "b": 1, "a": 2}, 1)
@example([[], {}, "", None, [[[]]], [{}], {"a": {}}], 1)
@example([2**63 - 1, 2**63, 2**64 - 1, -(2**63), 2**53 + 1], 1)
@example("null", 1)
@example([None, 1.5, "NaN"], 1)
@example({"b": None, "a": {"d": [None, {"c": 1.5}]}}, 1)
def test_decoding_what_was_encoded_gives_the_value_back_type_for_type(value, piece):
    text = encode(value, piece)
    for long in READERS:
        with patch.object(json_reading, "LONG", long):
            assert same(decode_text(text), value)
            assert same(CODEC.decode(HeldSource(text)), value)


@THOROUGH
@given(json_values, st.sampled_from(PIECES))
def test_the_pieces_are_one_json_document_that_any_reader_understands(value, piece):
    text = encode(value, piece)
    assert same(json.loads(text.decode("utf-8")), value)
    assert text == orjson.dumps(value)


SHAPES: dict[str, Any] = {
    "records": records,
    "floats": floats,
    "matrix": [floats[n : n + 100] for n in range(0, len(floats), 100)],
    "a long list after small entries": {"epoch": 1, "step": 2, "rate": 0.1, "name": "x", "model": records},
    "a long list in the depth": {"a": 1, "b": {"c": [0] * 3000, "d": {"e": floats, "f": [[[floats]]]}}},
    "long lists after many numbers": [0] * 5000 + [floats, floats],
    "long texts after short ones": ["a"] * 3000 + ["x" * 30_000] * 40,
    "long texts of many bytes": {
        **{f"k{n}": n for n in range(3000)},
        **{f"s{n}": "한" * 30_000 for n in range(12)},
    },
    "long keys": {f"{n}" * 100: n for n in range(2000)},
    "mixed": [record if n % 3 else n for n, record in enumerate(records)],
    "dict of records": {str(n): record for n, record in enumerate(records)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_value_comes_in_bounded_pieces_and_comes_back_the_same(shape):
    value = SHAPES[shape]
    with patch.object(json_module, "PIECE", SMALL):
        pieces = list(CODEC.encode(value))
    text = b"".join(pieces)
    assert text == orjson.dumps(value)
    assert max(map(len, pieces)) < 16 * SMALL < len(text)
    assert decode_text(text) == value


@pytest.mark.parametrize("shape", ["records", "floats", "a long list after small entries", "dict of records"])
def test_pieces_are_not_needlessly_small(shape):
    with patch.object(json_module, "PIECE", SMALL):
        sizes = [len(piece) for piece in CODEC.encode(SHAPES[shape])]
    assert len(sizes) < 2 * sum(sizes) / SMALL + 20


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH])
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}])
def test_the_deepest_value_comes_back(depth, piece, wrap):
    value: Any = wrap({})["k"] if isinstance(wrap(0), dict) else []
    for _ in range(depth - 1):
        value = wrap(value)
    assert same(decode_text(encode(value, piece)), value)


def test_a_deep_and_large_value_comes_back():
    value: Any = list(range(50_000))
    for _ in range(200):
        value = [1, value, "x"]
    assert same(decode_text(encode(value)), value)


def test_a_long_deep_text_is_read_however_deep_the_caller_is():
    text = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

    def call(levels: int) -> Any:
        return call(levels - 1) if levels else decode_text(text)

    with patch.object(json_reading, "LONG", 0):
        value = call(sys.getrecursionlimit() - 150 - len(inspect.stack()))
    assert orjson.dumps(value) == text


def test_only_a_long_text_needs_the_reader_for_long_ones():
    script = (
        "import sys; from offload_backend.codecs import json_reading as json; json.decode_text(b'[1]'); "
        "assert 'msgspec' not in sys.modules; json.decode_text(b'[1' + b',1' * json.LONG + b']'); "
        "assert 'msgspec' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_flat_records_are_surveyed_by_columns_and_what_differs_in_one_is_found():
    alike = [{"a": n, "b": "x", "c": {"d": [n]}, "e": n / 3} for n in range(500)]
    assert same(decode_text(encode(alike)), alike)
    for place, alien in [("a", (1,)), ("b", UUID(int=1)), ("e", nan), ("c", {"d": [(1,)]}), ("c", {"d": [inf]})]:
        changed = [dict(record) for record in alike]
        changed[321][place] = alien
        with pytest.raises(NotJsonError):
            encode(changed)
        assert explain_refusal(changed).path.startswith(f'value[321]["{place}"]')


@pytest.mark.parametrize("long", READERS)
@pytest.mark.parametrize(
    "damaged", [b"", b"[1,", b"{'a':1}", b"[NaN]", b"\xff", b'"\xed\xa0\x80"', b"[1]x", b"[" * 5000]
)
def test_bytes_that_are_not_json_are_a_value_error_and_garbage_is_collected_again(damaged, long, monkeypatch):
    monkeypatch.setattr(json_reading, "LONG", long)
    assert gc.isenabled()
    with pytest.raises(ValueError):  # noqa: PT011 - each reader words it in many ways
        decode_text(damaged)
    assert gc.isenabled()


def test_the_garbage_collector_rests_only_while_decoding(monkeypatch):
    seen = []
    monkeypatch.setattr(json_module.orjson, "loads", lambda data: seen.append(gc.isenabled()))
    decode_text(b"[]")
    assert seen == [False]
    assert gc.isenabled()
    gc.disable()
    try:
        decode_text(b"[]")
        assert not gc.isenabled()
    finally:
        gc.enable()


def in_itself() -> Any:
    value: list[Any] = [*floats]
    value.append(value)
    return value


def in_its_child() -> Any:
    value: dict[str, Any] = {"data": floats, "child": {}}
    value["child"]["parent"] = value
    return value


def far_down() -> Any:
    value: list[Any] = floats[:6000]
    value.append(value)
    for _ in range(10):
        value = [value, 1, 2]
    return value


@pytest.mark.parametrize("make", [in_itself, in_its_child, far_down])
def test_a_cycle_is_not_written_again_and_again_until_it_is_too_deep(make):
    value, written = make(), []
    tracemalloc.start()
    try:
        with patch.object(json_module, "PIECE", SMALL), pytest.raises(NotJsonError):
            written.extend(map(len, CODEC.encode(value)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    once = len(orjson.dumps(floats))
    assert sum(written) < 1.5 * once
    assert peak < 10 * once


def test_encoding_leaves_the_value_alone():
    value = {"b": [1, {"z": 1.5, "y": None}], "a": "x"}
    before = json.dumps(value)
    encode(value, 1)
    assert json.dumps(value) == before


@QUICK
@given(st.text(max_size=10))
def test_a_codec_is_found_by_name_or_is_an_error_that_says_upgrade(name):
    if name in ("json", "pickle", "tree"):
        return
    with pytest.raises(UnreadableBlobError, match="this version has no codec") as caught:
        Codecs(Settings()).named(name)
    assert "upgrade" in caught.value.hint


def test_the_json_codec_is_found_by_its_name():
    assert isinstance(Codecs(Settings()).named("json"), JsonCodec)
    assert JsonCodec().extension == "json"


@pytest.mark.parametrize(
    ("at", "change"),  # the pieces of "rows" are some 80, then come those of "by_name"
    [
        (3, lambda value: value["rows"].clear()),
        (3, lambda value: value["rows"].__delitem__(slice(9_000, None))),
        (3, lambda value: value["rows"].extend([1])),
        (120, lambda value: value["by_name"].clear()),
        (120, lambda value: value["by_name"].popitem()),
        (120, lambda value: value["by_name"].__setitem__("late", 1)),
    ],
)
def test_a_value_that_changes_while_it_is_encoded_is_refused(at, change):
    value = {
        "rows": [f"{n} " + "x" * 1000 for n in range(10_000)],
        "by_name": {f"{n} " + "x" * 1000: n for n in range(10_000)},
        "last": ["x" * 1000] * 10_000,
    }
    pieces = JsonCodec().encode(value)

    def encode_while_changing() -> None:
        for n, _ in enumerate(pieces):
            if n == at:
                change(value)

    with pytest.raises(NotJsonError):
        encode_while_changing()


def test_long_keys_are_spread_over_pieces():
    value = {str(n) * 1_000_000: n for n in range(10)}
    pieces = list(JsonCodec().encode(value))
    assert max(map(len, pieces)) < 5_000_000
    assert b"".join(pieces) == orjson.dumps(value)


def test_a_child_forked_while_another_thread_decodes_has_its_garbage_collector():
    entered, leave = threading.Event(), threading.Event()

    def decode() -> None:
        with garbage.collector_paused():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=decode)
    thread.start()
    entered.wait(10)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if gc.isenabled() else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gc.isenabled()


def test_wide_lists_in_deep_ones_stay_within_their_memory():
    """orjson 3.12.0 to 3.13.0 do not: this ends such a process."""
    script = (
        "from offload_backend.codecs import HeldSource, JsonCodec\n"
        "for depth in (8, 20, 60, 120, 250):\n"
        "    for element in (12345678901, 0.5, None):\n"
        "        value = 1\n"
        "        for _ in range(depth): value = [value, *[element] * 40]\n"
        "        for _ in range(10): text = b''.join(JsonCodec().encode(value))\n"
        "        assert JsonCodec().decode(HeldSource(text)) == value\n"
    )
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
