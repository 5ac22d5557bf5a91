"""A forged blob ends in one of two errors, whatever it holds, and asks for no more memory than it has bytes."""

from __future__ import annotations

import base64
import copy
import ctypes
import math
import tracemalloc
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree.allowed import AllowedClasses
from offload_backend.codecs.tree.codec import INLINE
from offload_backend.codecs.tree.memory import memory_for
from offload_backend.codecs.tree.reading import Document, TreeReader
from offload_backend.codecs.tree.view import open_tree
from offload_backend.errors import BlobCorruptError, UnreadableBlobError
from tests.codecs.classes import Colour, Frozen, Model, Pair, Point
from tests.codecs.test_tree_round_trip import COLUMNS, VALUES
from tests.codecs.values import CODEC, QUICK, THOROUGH, decoded, encoded, values

LONG = [[column[place % len(column)] for place in range(300)] for column in COLUMNS.values()]
OBJECTS = [Point(1, [2]), Pair(1), Colour.RED, Model(a=1), [LONG[0]] * 2]
SEEDS = [orjson.loads(CODEC.inline_text(value)[len(INLINE) :]) for value in [*VALUES, *LONG, *OBJECTS]]


def read(document: Any) -> None:
    with suppress(ValueError, UnreadableBlobError):
        CODEC.value_of_inline(INLINE + orjson.dumps(document).decode("ascii", "replace").replace("\ufffd", "?"))


def forged(document: Any) -> bytearray:
    """A file with this text as its tree, and no buffers."""
    text = document if isinstance(document, bytes) else orjson.dumps(document)
    header = {
        "__metadata__": {"format": "offload-tree", "version": "1"},
        "tree": {"dtype": "U8", "shape": [len(text)], "data_offsets": [0, len(text)]},
    }
    head = orjson.dumps(header)
    return bytearray(len(head).to_bytes(8, "little") + head + text)


def read_file(data: bytes | bytearray) -> Any:
    return CODEC.decode(HeldSource(bytearray(data)))


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "x", "0x1", "os:system", "7ff8000000000000", "2026-01-02", "AAAA", "!", "é", "list", "-1"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["$", "a", "floats", "of", "facts", "records", "columns", "rows"]), inner, max_size=3
        )
        | st.tuples(
            st.sampled_from(["ref", "list", "dict", "set", "tuple", "json", "bytes", "enum", "x.y"]),
            st.just(1),
            inner,
        ).map(lambda node: {"$": list(node)})
    ),
    max_leaves=8,
)


def places(document: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [way] * bool(way) + [place for step, inner in entries for place in places(inner, (*way, step))]


@THOROUGH
@given(st.sampled_from(SEEDS), st.data())
def test_a_changed_part_ends_in_an_error_or_a_value(seed, data):
    document = copy.deepcopy(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(document)))
        holder = document
        for step in way:
            holder = holder[step]
        if data.draw(st.booleans()):
            holder[last] = data.draw(junk)
        else:
            *other_way, other = data.draw(st.sampled_from(places(seed)))
            source = seed
            for step in other_way:
                source = source[step]
            holder[last] = copy.deepcopy(source[other])
    read(document)


@QUICK
@given(junk, st.lists(junk, max_size=3), st.lists(st.binary(max_size=20), max_size=3))
def test_junk_ends_in_an_error_or_a_value(value, shared, buffers):
    read(
        {
            "offload_tree": 1,
            "value": value,
            "shared": shared,
            "buffers": [base64.b64encode(b).decode() for b in buffers],
        }
    )


@QUICK
@given(values, st.data())
def test_a_damaged_file_ends_in_an_error_or_a_value(value, data):
    file = encoded(value)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(file) - 1))
        file[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(ValueError, UnreadableBlobError):
        read_file(file)


BUFFER = b"x" * 100
NODES = [
    {"$": ["ref", 1, 0]},
    {"$": ["ref", 1, -1]},
    {"$": ["ref", 1, True]},
    {"$": ["ref", 1, 10**19]},
    {"$": ["bytes", 1, 1]},
    {"$": ["array.array", 1, ["b", 1, 0]]},
    {"$": ["bytes", 1, "!"]},
    {"$": ["bytes", 1, 3]},
    {"$": ["bytes", 1, True]},
    {"$": ["bytearray", 1, 1.5]},
    {"$": ["list", 1, {"floats": 1}]},
    {"$": ["list", 1, {"floats": 0}]},
    {"$": ["set", 1, [[1]]]},
    {"$": ["set", 1, [1, 1]]},
    {"$": ["set", 1, [1, 1.0]]},
    {"$": ["dict", 1, [[1], [1, 2]]]},
    {"$": ["dict", 1, [[[]], [1]]]},
    {"$": ["dict", 1, [["a", "a"], [1, 2]]]},
    {"$": ["tuple", 1, "abc"]},
    {"$": ["tuple", 1, {"a": 1}]},
    {"$": ["tuple", 1, {"$": ["ref", 1, 0]}]},
    {"$": ["tuple", 0, []]},
    {"$": ["tuple", True, []]},
    {"$": ["tuple", 1]},
    {"$": ["tuple", 1, [], 0]},
    {"$": ["tuple", 1, []], "a": 1},
    {"$": "tuple"},
    {"$": ["int", 1, "0x_1"]},
    {"$": ["int", 1, "9"]},
    {"$": ["float", 1, "00"]},
    {"$": ["float", 1, 1.5]},
    {"$": ["decimal.decimal", 1, "1_0"]},
    {"$": ["fractions.fraction", 1, ["0x2", "0x4"]]},
    {"$": ["fractions.fraction", 1, ["0x1", "0x0"]]},
    {"$": ["fractions.fraction", 1, ["0x1", "-0x1"]]},
    {"$": ["datetime.datetime", 1, "2026-01-02"]},
    {"$": ["datetime.datetime", 1, ["2026-01-02T00:00:00", 2, None]]},
    {"$": ["datetime.datetime", 1, ["2026-01-02T00:00:00", 0, 1]]},
    {"$": ["datetime.timedelta", 1, [10**18, 0, 0]]},
    {"$": ["datetime.timezone", 1, [10**18]]},
    {"$": ["zoneinfo.zoneinfo", 1, "../../etc/passwd"]},
    {"$": ["zoneinfo.zoneinfo", 1, "/etc/passwd"]},
    {"$": ["uuid.uuid", 1, "xyz"]},
    {"$": ["range", 1, [0, 1, 0]]},
    {"$": ["collections.deque", 1, [-1, []]]},
    {"$": ["collections.deque", 1, [1, [1, 2]]]},
    {"$": ["collections.defaultdict", 1, ["eval", [[], []]]]},
    {"$": ["collections.defaultdict", 1, [["builtins:eval"], [[], []]]]},
    {"$": ["array.array", 1, ["d", 8, 1]]},
    {"$": ["array.array", 1, ["Q", 4, 1]]},
    {"$": ["array.array", 1, ["?", 1, 1]]},
    {"$": ["memoryview", 1, ["d", 8, [2**62], True, 0]]},
    {"$": ["memoryview", 1, ["B", 1, [-100], True, 0]]},
    {"$": ["memoryview", 1, ["P", 8, [12], True, 0]]},
    {"$": ["enum", 1, ["os:system", "x", None]]},
    {"$": ["json", 1, 0]},
    {"$": ["json", 1, 1]},
    [{"$": ["bytes", 1, 0]}, {"$": ["bytes", 1, 0]}],
    [{"$": ["array.array", 1, ["b", 1, 1]]}, {"$": ["array.array", 1, ["b", 1, 1]]}],
]


@pytest.mark.parametrize("node", NODES, ids=lambda node: orjson.dumps(node).decode()[:50])
def test_a_forged_node_is_an_error(node):
    document = {
        "offload_tree": 1,
        "value": node,
        "shared": [{"$": ["ref", 1, 0]}],
        "frozen": [0],
        "buffers": [base64.b64encode(BUFFER).decode(), base64.b64encode(BUFFER[:99]).decode()],
    }
    with pytest.raises((ValueError, UnreadableBlobError)):
        CODEC.value_of_inline(INLINE + orjson.dumps(document).decode())


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b'{"value":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"value":' + b'{"$":["tuple",1,[' * 300 + b"]]}" * 300 + b"}",
        {
            "value": {"$": ["ref", 1, 0]},
            "shared": [{"a": [{"$": ["ref", 1, place + 1]}]} for place in range(5000)] + [[]],
        },
        {"value": [{"$": ["ref", 1, 0]}], "shared": [{"$": ["int", 1, "0x1ffffffffffffffff"]}]},
        {"value": [{"$": ["ref", 1, 0]}], "shared": ["x"]},
        {"value": [{"$": ["ref", 1, 0]}], "shared": [{"$": ["ref", 1, 1]}, []]},
        {"value": 1, "packed": [2**62]},
        {"value": 1, "packed": [-1]},
        {"value": 1, "frozen": [1.5]},
        {"value": 1, "other": 1},
        {"shared": []},
        [],
        b"",
    ],
    ids=lambda document: str(document)[:40],
)
def test_a_forged_document_is_an_error(document):
    with pytest.raises((ValueError, UnreadableBlobError)):
        read_file(forged(document))


HEADERS = [
    ("a negative place", {"tree": [0, 16], "b": [16, -1]}, [17]),
    ("beyond the end", {"tree": [0, 16], "b": [16, 2**40]}, [2**40 - 16]),
    ("an overlap", {"tree": [0, 16], "b": [8, 24]}, [16]),
    ("a gap", {"tree": [0, 16], "b": [20, 24]}, [4]),
    ("too little", {"tree": [0, 16], "b": [16, 20]}, [4]),
    ("a shape that does not fit", {"tree": [0, 16], "b": [16, 24]}, [9]),
    ("a huge shape", {"tree": [0, 16], "b": [16, 24]}, [2**62, 2**62]),
    ("a negative shape", {"tree": [0, 16], "b": [16, 24]}, [-8, -1]),
    ("many dimensions", {"tree": [0, 16], "b": [16, 24]}, [1] * 1000 + [8]),
    ("no tree", {"b": [0, 24]}, [24]),
    ("the tree is not first", {"b": [0, 8], "tree": [8, 24]}, [8]),
]


@pytest.mark.parametrize(("offsets", "shape"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_a_forged_header_is_an_error(offsets, shape):
    body = b'{"value":1}     ' + b"12345678"
    header: dict[str, Any] = {"__metadata__": {"format": "offload-tree", "version": "1"}}
    for name, (begin, end) in offsets.items():
        sides = shape if name == "b" else [end - begin]
        header[name] = {"dtype": "U8", "shape": sides, "data_offsets": [begin, end]}
    head = orjson.dumps(header)
    with pytest.raises(ValueError, match=r"."):
        read_file(len(head).to_bytes(8, "little") + head + body)


@pytest.mark.parametrize(
    "data", [b"", b"x", bytes(8), b"\xff" * 8 + b"{}", (2).to_bytes(8, "little") + b"{}", b"{" * 100]
)
def test_what_is_no_file_is_an_error(data):
    with pytest.raises(ValueError, match=r"."):
        read_file(data)


def test_another_safetensors_file_is_an_error_and_a_newer_one_says_so():
    file = bytes(encoded((1, 2)))
    with pytest.raises(ValueError, match="not one with a tree"):
        read_file(file.replace(b"offload-tree", b"offload-free"))
    with pytest.raises(UnreadableBlobError, match="version"):
        read_file(file.replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(UnreadableBlobError, match="newer version"):
        read_file(file.replace(b'"tuple",1', b'"tuple",2'))
    with pytest.raises(UnreadableBlobError, match="tuplf"):
        read_file(file.replace(b'"tuple",1', b'"tuplf",1'))
    text = CODEC.inline_text((1, 2))
    assert text is not None
    with pytest.raises(UnreadableBlobError, match="version"):
        CODEC.value_of_inline(text.replace('"offload_tree":1', '"offload_tree":2'))


def test_little_is_allocated_for_what_claims_much():
    rows = {"$": ["list", 1, {"rows": [{"$": ["ref", 1, 0]}] * 1000}]}
    bombs = [
        {"value": rows, "shared": [[0] * 1000]},
        {"value": [{"$": ["tuple", 1, {"$": ["ref", 1, 0]}]}] * 1000, "shared": [[0] * 1000]},
        {"value": {"$": ["memoryview", 1, ["d", 8, [2**60], True, 0]]}},
        {"value": {"$": ["collections.deque", 1, [2**60, []]]}},
        {
            "value": [{"$": ["pathlib.path", 1, ["PurePosixPath", {"$": ["ref", 1, 0]}]]}] * 9,
            "shared": ["x" * 1000],
        },
    ]
    for bomb in bombs:
        data = forged(bomb)
        tracemalloc.start()
        with suppress(ValueError, UnreadableBlobError):
            read_file(data)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data) + 1_000_000
        tracemalloc.stop()


def test_no_buffer_belongs_to_two_values():
    memory = memory_for(100, frozen=False)
    reader = TreeReader(Document({"value": 1}), [100], lambda _: memory, AllowedClasses())
    assert len(reader.buffer(0)) == reader.size(0) == 100
    with pytest.raises(ValueError, match="several"):
        reader.buffer(0)


def test_a_part_that_copies_its_buffer_lets_go_of_it():
    size = 100_000
    data = encoded({str(place): [math.inf] * size for place in range(40)})
    source = HeldSource(data)
    tracemalloc.start()
    value = CODEC.decode(source)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(value) == 40
    assert peak - now < 20 * 8 * size, "half of the buffers"


def test_other_users_of_ctypes_keep_their_types(monkeypatch):
    make = ctypes.pythonapi.PyBytes_FromStringAndSize
    monkeypatch.setattr(make, "argtypes", (ctypes.c_void_p,))
    assert memory_for(10, frozen=True).finish()[:0] == b""
    assert make.argtypes == (ctypes.c_void_p,)


@pytest.mark.parametrize(
    "document",
    [
        {"value": {"$": []}},
        {"value": {"$": ["dict", 1, 5]}},
        {"value": {"$": ["dict", 1, [[1], [2, 3]]]}},
        {"value": {"$": ["numpy.ndarray", 1, {}]}},
        {"value": {"$": ["dataclass", 1, []]}},
        {"value": {"$": ["ref", 1, 7]}, "shared": []},
        {"value": {"$": ["ref", 1, -1]}, "shared": [[1]]},
    ],
)
def test_a_view_of_a_forged_tree_ends_in_an_error_of_ours(document):
    with pytest.raises(BlobCorruptError):
        len(open_tree(HeldSource(forged(document))))


@pytest.mark.parametrize("levels", [1, 60, 5_000])
def test_instances_that_hold_each_other_twice_are_not_hashed_for_ever(levels):
    def frozen(part: object) -> dict:
        return {"$": ["dataclass", 1, ["tests.codecs.classes:Frozen", {"x": part, "y": 0}, []]]}

    def twice(number: int) -> dict:
        return {"$": ["tuple", 1, [{"$": ["ref", 1, number]}] * 2]}

    shared = [frozen(twice(number + 1)) for number in range(levels)] + [frozen(1)]
    document = {"offload_tree": 1, "value": {"$": ["set", 1, [{"$": ["ref", 1, 0]}]]}, "shared": shared}
    text = INLINE + orjson.dumps(document).decode()
    if levels == 1:
        assert len(CODEC.value_of_inline(text)) == 1
        return
    with pytest.raises(ValueError, match=r"too many times|too deeply"):
        CODEC.value_of_inline(text)


def test_an_instance_that_nothing_hashes_may_hold_the_same_ones_any_number_of_times():
    tower: object = Frozen(())
    for _ in range(60):
        tower = Frozen((tower, tower))
    back = decoded(encoded([tower, {1}]))
    assert back[0].x[0] is back[0].x[1]
    assert back[1] == {1}


class Interrupted(HeldSource):
    """Whose reader meets a signal while it takes a lock."""

    def fill(self, targets):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("cannot release un-acquired lock")


def test_an_interruption_is_not_taken_for_damage():
    source = Interrupted(encoded([b"x" * 1000, (1,)]))
    with pytest.raises(KeyboardInterrupt):
        CODEC.decode(source)


def test_an_interruption_that_is_over_is_not_raised_again():
    try:
        raise KeyboardInterrupt  # noqa: TRY301
    except KeyboardInterrupt:
        with pytest.raises(ValueError, match="not a tree"):
            CODEC.decode(HeldSource(None))
