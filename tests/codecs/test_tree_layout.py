"""The file is one that safetensors opens; buffers go in and out without copies; texts for rows are plain ASCII."""

from __future__ import annotations

import array
import gc
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.refusal import MAX_DEPTH
from offload_backend.codecs.tree import TreeCodec
from offload_backend.codecs.tree import buffers as buffers_module
from offload_backend.codecs.tree.codec import INLINE
from offload_backend.codecs.tree.kinds import Pieces
from offload_backend.codecs.tree.layout import BITS, Tensor, pieces_of
from offload_backend.codecs.tree.memory import memory_for
from offload_backend.errors import UnsupportedValueError
from tests.codecs.classes import Pair
from tests.codecs.values import CODEC, QUICK, assert_kept, decoded, encoded, returned, values

VALUE = {
    "layers": [{"weight": [float(place) for place in range(300)], "bias": b"x" * 101}],
    "layers.0": {"weight": b"y" * 99},
    "tree": b"z" * 70,
    "": bytearray(b"q" * 65),
    "é\ud800": b"w" * 66,
    "ids": tuple(range(256)),
}


def test_safetensors_opens_the_file():
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = safetensors.load(bytes(encoded(VALUE)))
    assert tensors["layers.0.weight"].tolist() == VALUE["layers"][0]["weight"]
    assert tensors["layers.0.weight"].dtype == np.float64
    assert tensors["layers.0.weight~2"].tobytes() == b"y" * 99
    assert tensors["tree~2"].tobytes() == b"z" * 70
    assert tensors["ids"].tolist() == list(range(256))
    document = orjson.loads(tensors["tree"].tobytes())
    assert set(document) == {"value", "frozen"}


@QUICK
@given(values)
def test_safetensors_opens_every_file(value):
    safetensors = pytest.importorskip("safetensors.numpy")
    assert "tree" in safetensors.load(bytes(encoded(value)))


@pytest.mark.parametrize("word", [word for word, bits in BITS.items() if bits >= 8])
def test_the_words_are_those_of_safetensors(word):
    safetensors = pytest.importorskip("safetensors")
    data = b"x" * 3 * (BITS[word] // 8)
    file = b"".join(pieces_of(b'{"value":1}', [Tensor("a", word, (3,), data)]))
    (_, (name, found)) = sorted(safetensors.deserialize(file), reverse=True)
    assert (name, found["dtype"], found["shape"], bytes(found["data"])) == ("a", word, [3], data)


def test_every_buffer_begins_where_its_elements_may():
    value = [b"x" * 65, array.array("d", [1.0] * 3), b"y" * 67, array.array("f", [1.0] * 3), array.array("h", [1])]
    file = encoded(value)
    length = int.from_bytes(file[:8], "little")
    assert length % 8 == 0
    entries = orjson.loads(file[8 : 8 + length])
    assert [entries[str(place)]["data_offsets"][0] % size for place, size in ((1, 8), (3, 4), (4, 2))] == [0, 0, 0]
    assert_kept(value)


def test_the_bytes_of_a_value_are_handed_over_as_they_are():
    long, much = b"x" * 1_000_000, bytearray(b"y" * 1_000_000)
    pieces = list(CODEC.encode([long, much]))
    assert pieces[1] is long
    assert pieces[2] is much
    tracemalloc.start()
    for _ in CODEC.encode({"a": long, "b": much}):
        pass
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_reading_takes_the_memory_of_the_value_and_little_more():
    source = HeldSource(encoded({"a": b"x" * 5_000_000, "b": bytearray(5_000_000)}))
    tracemalloc.start()
    back = CODEC.decode(source)
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(back["a"]) == 5_000_000
    assert peak < size + 200_000 < 10_500_000


def test_buffers_are_filled_in_the_order_in_which_they_lie():
    class Ordered(HeldSource):
        def fill(self, targets):
            targets = list(targets)
            assert [begin for begin, _ in targets] == sorted(begin for begin, _ in targets)
            super().fill(targets)

    value = [b"x" * 65, array.array("d", [1.0] * 3), b"y" * 67]
    assert CODEC.decode(Ordered(encoded(value))) == value


def test_every_buffer_has_a_name_of_its_own():
    value = {"a": {"b": b"x" * 70}, "a.b": b"y" * 70, "a.b~2": b"z" * 70, "a.b~3": b"w" * 70}
    assert_kept(value)
    value = {"a.b~2": b"z" * 70, "a": {"b": b"x" * 70}, "a.b": b"y" * 70}
    assert_kept(value)


def test_many_small_buffers_share_a_tensor(monkeypatch):
    monkeypatch.setattr(buffers_module, "MOST_TENSORS", 3)
    value = [bytes([place]) * (65 + place) for place in range(10)] + [bytearray(b"x" * 70), array.array("d", [1.5])]
    assert CODEC.inline_text(value) is None
    back = decoded(encoded(value))
    assert back == value
    assert len(orjson.loads(encoded(value)[8:].split(b"}}", 1)[0] + b"}}")) == 6


def test_a_buffer_that_is_not_as_long_as_promised_is_an_error():
    with pytest.raises(RuntimeError, match="changed"):
        list(pieces_of(b"{}", [Tensor("a", "U8", (3,), Pieces(3, lambda: [b"ab"]))]))


def test_a_text_for_a_row_is_ascii_and_as_long_as_it_may_be():
    value = ("é\u2028", b"x" * 100, {"한": {1}})
    text = CODEC.inline_text(value)
    assert text is not None
    assert text.isascii()
    assert text.startswith(INLINE + '{"offload_tree":1,')
    assert CODEC.inline_text(value, len(text)) == text
    assert CODEC.inline_text(value, len(text) - 1) is None
    assert CODEC.inline_text(b"x" * 1000, 100) is None
    assert CODEC.value_of_inline(text) == value


@pytest.mark.parametrize(
    "text", ["", INLINE, INLINE + "1", INLINE + "[]", INLINE + "{}", "data:,1", INLINE + '{"é":1}']
)
def test_another_text_is_an_error(text):
    with pytest.raises((ValueError, Exception), match=r"."):
        CODEC.value_of_inline(text)


def nest(depth: int, holders: list) -> object:
    value: object = 1
    for level in range(depth):
        value = holders[level % len(holders)](value)
    return value


HOLDERS = [
    lambda inner: [inner],
    lambda inner: (inner, 1),
    lambda inner: {"a": inner},
    lambda inner: {1: inner, 2: ()},
    lambda inner: [b"x" * 65, inner],
]


@pytest.mark.parametrize("holders", [HOLDERS, *[[holder] for holder in HOLDERS]])
def test_a_deep_value_comes_back_wherever_the_caller_stands(holders):
    value = nest(MAX_DEPTH - 1, holders)

    def stand(left: int) -> None:
        if left:
            stand(left - 1)
        else:
            assert encoded(decoded(encoded(value))) == encoded(value)

    stand(0)
    stand(sys.getrecursionlimit() - 150 - _height())
    with pytest.raises(UnsupportedValueError, match="nested deeper"):
        encoded(nest(MAX_DEPTH + 1, holders))


def test_depth_counts_through_what_is_written_in_bulk():
    deep = nest(MAX_DEPTH - 1, [lambda inner: [inner, *range(9)]])
    assert_kept((deep,))
    with pytest.raises(UnsupportedValueError, match="nested deeper"):
        encoded(((deep,),))


def _height() -> int:
    frame, height = sys._getframe(), 0
    while frame:
        frame, height = frame.f_back, height + 1
    return height


def test_threads_do_not_meet():
    value = nest(100, HOLDERS)
    expected, wrong = bytes(encoded(value)), []

    def work() -> None:
        wrong.extend(1 for _ in range(20) if bytes(encoded(returned(value))) != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_value_that_changes_meanwhile_is_an_error():
    class Policy:
        setting = "x"

        def permits(self, name: str) -> bool:
            value[name] = 1
            return True

    value: dict = {"a": Pair(1), "b": 2}
    with pytest.raises(UnsupportedValueError, match="changed"):
        list(TreeCodec(Policy()).encode(value))


@given(st.binary(max_size=300))
def test_new_bytes_are_bytes_like_any_other(data):
    memory = memory_for(len(data), frozen=True)
    memory.view[:] = data
    made = memory.finish()
    assert type(made) is bytes
    assert made == data
    assert hash(made) == hash(bytes(bytearray(data)))
    assert {made: 1}[data] == 1
    assert made[:0] is b""  # noqa: F632


def test_new_bytes_belong_to_their_owner_alone():
    memory = memory_for(1000, frozen=True)
    view = memory.view[10:20]
    memory.view[:] = b"a" * 1000
    made = memory.finish()
    with pytest.raises(ValueError, match="released"):
        memory.view[0] = 1
    with pytest.raises(AttributeError):
        memory.finish()
    count, plain = sys.getrefcount(made), bytes(bytearray(1000))
    del view
    gc.collect()
    assert sys.getrefcount(made) == count - 1 == sys.getrefcount(plain)
    lasting = memory_for(1000, frozen=True).view
    gc.collect()
    lasting[:] = b"b" * 1000
    assert bytes(lasting) == b"b" * 1000


def test_a_bytearray_may_grow_and_an_array_may_be_written():
    back = returned([bytearray(b"x" * 100), memoryview(bytearray(b"y" * 100))])
    back[0] += b"z"
    back[1][0] = 0
    assert len(back[0]) == 101


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: (inner,), lambda inner: [{"k": inner}]])
def test_wide_lists_in_deep_lists_stay_within_their_memory(wrap):
    script = (
        "import sys; sys.path[:0] = ['.']\nfrom tests.codecs.values import assert_kept\n"
        "for depth in range(1, 60, 3):\n"
        "    value = 1\n"
        "    for _ in range(depth): value = [value, *[0.5] * 40] if KIND else ([value, *[None] * 40], 1)\n"
        "    assert_kept({'a': value, 'b': (1,)})\n"
    ).replace("KIND", str(type(wrap(1)) is list))
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
