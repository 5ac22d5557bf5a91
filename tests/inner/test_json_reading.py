"""Lists that are read while their text comes: the same values as from the whole text, or the same refusal."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tracemalloc
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource, JsonCodec, garbage, json_reading
from tests.inner.values import same

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.sampled_from('a"\\\\,[]{}:\n é'), max_size=12),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


class Torn(HeldSource):
    """Comes in pieces of ``size`` bytes, as a blob's frames do."""

    def __init__(self, text: bytes, size: int) -> None:
        super().__init__(text)
        self.size_of_piece, self.text, self.filled = size, text, 0

    def pieces(self):
        for start in range(0, len(self.text), self.size_of_piece):
            yield bytearray(self.text[start : start + self.size_of_piece])

    def fill(self, targets):
        targets = list(targets)
        self.filled += sum(len(memory) for _, memory in targets)
        super().fill(targets)


def decode(text: bytes, size: int) -> Any:
    with patch.object(json_reading, "SLICE", max(1, size // 2)):
        return JsonCodec().decode(Torn(text, size))


@given(st.lists(VALUES, max_size=30), st.integers(1, 40))
@example([",", ',"', '","', "],[", ',{"a":', ""], 3)
@example([{"a": {"a": 1}}, {"a": [{"a": 2}, {"a": 3}]}] * 5, 7)
@example([[[1], [2]], [[3]], [], [[[4, 5], [6]]]] * 4, 5)
@example([], 1)
@example([[]], 1)
def test_a_list_that_comes_in_pieces_is_read_as_from_its_whole_text(value, size):
    text = orjson.dumps(value)
    assert same(decode(text, size), orjson.loads(text))


@given(VALUES, st.integers(1, 40))
def test_so_is_what_is_no_list(value, size):
    text = orjson.dumps(value)
    assert same(decode(text, size), orjson.loads(text))


DAMAGES = [
    *("[1,]", "[,1]", "[1,,2]", "[,]", "[1", "[1,2", "[1 2]", '["a,"b"]', "[1],[2]", "[1]]", "[[1,2],", "[[1],]"),
    *("[NaN,1]", '[{"a":1},]', '[{"a":1},,{"a":2}]', "[\xff,1]"),
]


@pytest.mark.parametrize("damaged", DAMAGES)
@pytest.mark.parametrize("size", range(1, 12))
def test_what_is_no_json_is_refused_wherever_it_is_cut(damaged, size):
    with pytest.raises(ValueError):  # noqa: PT011 - each reader words it in many ways
        decode(damaged.encode("latin-1"), size)
    assert gc.isenabled()


@given(st.lists(VALUES, min_size=2, max_size=10), st.integers(1, 20), st.randoms())
def test_damage_is_refused_exactly_where_the_standard_library_refuses_it(value, size, chance):
    text = bytearray(orjson.dumps(value))
    text[chance.randrange(len(text))] = chance.choice(b',[]{}":0a \\')
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            decode(bytes(text), size)
    else:
        # Escapes that name half a character, and numbers beyond a double, are nothing that we write.
        try:
            found = decode(bytes(text), size)
        except ValueError:
            return
        assert same(found, orjson.loads(bytes(text)))
        assert len(found) == len(expected)


def test_the_text_of_a_long_list_is_never_there_as_a_whole():
    random.seed(5)
    text = orjson.dumps([random.random() for _ in range(400_000)])
    value = orjson.loads(text)
    tracemalloc.start()
    back = JsonCodec().decode(Torn(text, 512 * 1024))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert back == value
    assert peak < kept + len(text) / 2


class Searched(bytearray):
    """Text that counts in how many of its bytes something is looked for."""

    bytes = 0

    def rfind(self, mark, start=0):
        Searched.bytes += len(self) - start
        return super().rfind(mark, start)


class Giant(Torn):
    def pieces(self):
        yield from map(Searched, super().pieces())


def test_each_byte_of_an_element_that_takes_many_pieces_is_searched_once(monkeypatch):
    monkeypatch.setattr(Searched, "bytes", 0)
    monkeypatch.setattr(json_reading, "SLICE", 100)
    monkeypatch.setattr(json_reading, "decode_text", lambda text: orjson.loads(bytes(text)))
    value = [{"a": [0.5] * 5000}]
    text = orjson.dumps(value)
    assert JsonCodec().decode(Giant(text, 200)) == value
    assert len(text) / 2 < Searched.bytes < 2 * len(text)


def test_a_list_whose_marks_mislead_is_read_as_a_whole_after_a_few():
    text = orjson.dumps([{"a": [{"a": number}] * 50} for number in range(100)])
    tried = []
    loads = orjson.loads

    def counted(part):
        tried.append(len(part))
        return loads(part)

    with patch.object(json_reading.orjson, "loads", counted):
        assert decode(text, 64) == json.loads(text)
    assert len(tried) <= 5


def test_of_what_is_no_list_the_first_piece_is_not_read_again():
    text = orjson.dumps({str(number): number for number in range(5000)})
    source = Torn(text, 1000)
    assert JsonCodec().decode(source) == json.loads(text)
    assert source.filled == len(text) - 1000


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_read_is_not_walked_at_once_and_nothing_thaws_that_a_program_froze(frozen):
    """In a process of its own, in which nothing else is frozen or collected."""
    script = (
        "import gc\n"
        "from offload_backend.codecs import HeldSource, JsonCodec, garbage\n"
        "garbage._LONG = 0\n"
        "walked, kept = [], [[] for _ in range(100)]\n"
        "gc.collect()\n"
        f"{frozen} and gc.freeze()\n"
        "before = gc.get_freeze_count()\n"
        f"assert bool(before) == {frozen}\n"
        "gc.callbacks.append(lambda phase, info: walked.append(phase))\n"
        "value = JsonCodec().decode(HeldSource(b'[' + b'{\"a\":[1]},' * 50_000 + b'0]'))\n"
        "more = [[] for _ in range(gc.get_threshold()[0] // 2)]\n"
        "assert len(value) == 50_001 and gc.isenabled()\n"
        f"assert {frozen} or not walked, walked\n"
        f"assert gc.get_freeze_count() > before / 2 if {frozen} else not gc.get_freeze_count()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_signal_that_raises_while_what_was_read_is_promoted_leaves_nothing_frozen():
    """In a process of its own, which may freeze nothing before."""
    script = (
        "import gc\n"
        "from offload_backend.codecs import HeldSource, JsonCodec, garbage\n"
        "garbage._LONG, freeze = 0, gc.freeze\n"
        "def frozen_and_told():\n"
        "    freeze()\n"
        "    raise KeyboardInterrupt\n"
        "gc.freeze = frozen_and_told\n"
        "try:\n"
        "    JsonCodec().decode(HeldSource(b'[1]'))\n"
        "except KeyboardInterrupt:\n"
        "    assert gc.isenabled() and not gc.get_freeze_count()\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_after_little_nothing_is_counted_as_frozen(monkeypatch):
    """Counting walks all that a program has frozen."""
    monkeypatch.setattr(garbage.gc, "get_freeze_count", None)
    monkeypatch.setattr(garbage, "_LONG", 60)
    assert JsonCodec().decode(HeldSource(b"[1]")) == [1]
