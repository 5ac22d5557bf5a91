"""Whatever is stored comes back: type for type, bit for bit, and one object where there was one."""

from __future__ import annotations

import array
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import product
from pathlib import Path, PurePosixPath
from uuid import UUID, SafeUUID, uuid1
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.errors import UnsupportedValueError
from tests.codecs.values import (
    QUICK,
    THOROUGH,
    assert_kept,
    decimals,
    encoded,
    floats,
    leaves,
    moments,
    returned,
    texts,
    values,
)

NAN = struct.unpack(">d", bytes.fromhex("7ff8000000000abc"))[0]
MOMENT = datetime.fromisoformat("2026-01-02T03:04:05.000006")
FIRST, LAST = datetime.min, datetime.max  # noqa: DTZ901

VALUES = [
    *(None, True, False, 0, -1, 2**63, -(2**63) - 1, 10**5000, 1.5, -0.0, NAN, -NAN, float("inf"), float("-inf")),
    *(
        "",
        "x",
        "\ud800",
        "\udfff\ud800 mixed",
        "😀",
        "x" * 100_000,
        b"",
        b"x",
        bytes(range(256)),
        bytearray(b"x" * 65),
    ),
    *(
        bytearray(),
        bytearray(b"x"),
        memoryview(b"x" * 100),
        memoryview(bytearray(8)).cast("H", (2, 2)),
        memoryview(b""),
    ),
    *(memoryview(bytearray(16))[::2], memoryview(bytearray(range(24))).cast("d")),
    *((), ((),), (1, (2, [3])), set(), {1, "a", (2,)}, frozenset(), frozenset({frozenset({1})})),
    *(
        {},
        {"$": 1},
        {"$": ["ref", 1, 0]},
        {"a": {"$": {"$": ()}}},
        {1: 2, None: 3, (1, 2): [4], 1.5: "x"},
        {"\ud800": 1},
    ),
    *({True: 1}, {float("inf"): 1}, {b"k" * 100: 1}),
    *(MOMENT, MOMENT.replace(tzinfo=timezone.utc), FIRST, LAST.replace(tzinfo=timezone.utc)),
    datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    MOMENT.replace(tzinfo=timezone(timedelta(seconds=-7), "\ud800")),
    *(MOMENT.replace(tzinfo=timezone(timedelta(0), "UTC")), MOMENT.replace(fold=1, tzinfo=timezone.utc)),
    *(
        date.min,
        time(1, 2, 3, 4, timezone.utc, fold=1),
        timedelta.min,
        timedelta.max,
        timezone.utc,
        ZoneInfo("UTC"),
    ),
    *(
        Decimal("sNaN123"),
        Decimal("-0.000"),
        Decimal("1E+1000"),
        Fraction(-1, 3),
        Fraction(10**5000, 7),
        complex(-0.0, NAN),
    ),
    *(UUID(int=5), uuid1(), UUID(int=7, is_safe=SafeUUID.unsafe), Path("/a/b"), PurePosixPath("a/\udc80"), ...),
    *(range(5), range(10**30, 0, -(10**20)), slice(None), slice(1, [2], "x")),
    OrderedDict([(1, 2), ("a", [3])]),
    defaultdict(list, {1: [2]}),
    defaultdict(None, {"a": 1}),
    defaultdict(OrderedDict, {"a": OrderedDict()}),
    *(deque([1, (2,)], 5), deque(), deque(maxlen=0), Counter("abca"), Counter({"a": -1})),
    *(array.array(code, [1, 2, 3]) for code in "bBhHiIlLqQfd"),
    array.array("u", "hé\ud800"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back(value):
    assert_kept(value)
    assert_kept([value, {"a": (value, 1)}])


@THOROUGH
@given(values)
def test_any_nesting_comes_back(value):
    assert_kept(value)


MANY = [63, 64, 65, 255, 256, 257, 1000]


@QUICK
@given(
    st.sampled_from([floats, st.integers(), texts, moments, decimals, st.uuids(), st.binary(max_size=9), leaves]),
    st.data(),
)
def test_long_lists_come_back(elements, data):
    some = data.draw(st.lists(elements, min_size=3, max_size=12))
    some += data.draw(st.lists(st.none(), max_size=1))
    long = [some[place % len(some)] for place in range(data.draw(st.sampled_from(MANY)))]
    make = data.draw(st.sampled_from([list, tuple, deque]))
    assert returned(make(long)) is not None
    assert_kept(list(map(_copied, long)))


def _copied(value):
    """Another object, so that what stands many times in a list is not shared."""
    return bytearray(value) if isinstance(value, bytearray) else value


COLUMNS = {
    "floats": [0.5, NAN, -0.0, float("inf")],
    "ints": [1, -(2**63), 2**63 - 1],
    "large ints": [1, 2**63, 2**64 - 1],
    "huge ints": [1, 2**64],
    "bools": [True, False],
    "ints and bools": [1, True, 0, False],
    "texts": ["a", "b\ud800"],
    "moments": [MOMENT, LAST, FIRST],
    "zoned moments": [
        MOMENT.replace(tzinfo=ZoneInfo("Europe/Berlin")),
        LAST.replace(tzinfo=ZoneInfo("Europe/Berlin")),
    ],
    "moments of several zones": [MOMENT, MOMENT.replace(tzinfo=timezone.utc)],
    "folded moments": [MOMENT.replace(fold=1)],
    "dates": [date(2026, 1, 2)],
    "spans": [timedelta(1, 2, 3)],
    "decimals": [Decimal("1.50"), Decimal("NaN")],
    "bytes": [b"", b"a", b"x" * 100],
    "long bytes": [b"x" * 5000, b"y" * 5000],
    "ids": [UUID(int=3)],
    "nothing": [None],
    "paths": [Path("a"), PurePosixPath("b")],
    "tuples": [(1, MOMENT), (2, MOMENT)],
    "tuples of several lengths": [(1,), (1, 2), ()],
}


@pytest.mark.parametrize(("name", "optional", "length"), list(product(COLUMNS, [False, True], [63, 64, 300])))
def test_a_column_comes_back(name, optional, length):
    some = COLUMNS[name] + [None] * optional
    column = [some[place % len(some)] for place in range(length)]
    assert_kept(column)
    assert_kept(tuple(column))
    assert_kept([{"key": value, "place": place} for place, value in enumerate(column)])
    assert_kept([(value, place, [place]) for place, value in enumerate(column)])


def test_records_that_differ_come_back():
    rows = [{"a": place, "b": MOMENT} for place in range(100)]
    assert_kept([*rows, {"b": MOMENT, "a": 1}])
    assert_kept([*rows, {"a": 1}])
    assert_kept([*rows, {"a": 1, "b": MOMENT, 3: 4}])
    assert_kept([*({"a": place, 3: MOMENT} for place in range(100))])
    assert_kept([{} for _ in range(100)])
    assert_kept([*({"\ud800": place, "$": MOMENT} for place in range(100))])


def test_a_large_part_that_is_json_comes_back():
    records = [
        {"id": place, "name": f"é{place}", "$": None, "nested": {"list": [place, 0.5, True]}}
        for place in range(500)
    ]
    assert_kept({"records": records, "raw": b"x" * 100})
    assert_kept((records, {"x": (1,)}))
    records[250]["name"] = "\ud800"
    assert_kept({"records": records, "raw": b"x" * 100})
    records[250]["name"] = float("nan")
    assert_kept({"records": records, "raw": b"x" * 100})
    records[250]["name"] = 2**64
    assert_kept({"records": records, "raw": b"x" * 100})


def test_a_time_zone_beside_the_cache_comes_back_beside_it():
    back = returned([ZoneInfo.no_cache("Europe/Berlin"), ZoneInfo("Europe/Berlin")])
    assert back[0] is not ZoneInfo("Europe/Berlin")
    assert back[1] is ZoneInfo("Europe/Berlin")


def test_the_same_value_makes_the_same_bytes():
    from tests.codecs.values import encoded

    value = {"set": {"b", "a", "c"}, "x": [1.5, (2,)], "b": b"x" * 1000}
    assert encoded(value) == encoded({**value, "set": {"c", "a", "b"}})


@pytest.mark.parametrize("count", [1, 100])
def test_moments_whose_differences_would_change_are_refused(count):
    zone = ZoneInfo.no_cache("Europe/Berlin")
    days = [datetime(2026, 3, 28, 12, tzinfo=zone) + timedelta(place) for place in range(count)]
    with pytest.raises(UnsupportedValueError, match="no_cache"):
        encoded([b"x", days])
    assert_kept([b"x", [moment.replace(tzinfo=ZoneInfo("Europe/Berlin")) for moment in days]])
