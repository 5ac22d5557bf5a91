from __future__ import annotations

import datetime as dt
import tracemalloc
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs.trees import JUNK, document_of, encoded, places, replaced, round_trip, value_of, with_facts

ZONES = ["UTC", "Europe/Berlin", dt.timezone(dt.timedelta(hours=5, minutes=30))]


def same_frame(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True, check_freq=True, check_column_type="equiv")
    assert one.attrs == other.attrs
    assert one.flags == other.flags
    same_index(one.index, other.index)
    same_index(one.columns, other.columns)
    for number in range(other.shape[1]):
        same_array(one.iloc[:, number].array, other.iloc[:, number].array)


def same_series(one, other):
    pd.testing.assert_series_equal(one, other, check_exact=True, check_freq=True)
    assert (type(one.name), one.attrs) == (type(other.name), other.attrs)
    same_index(one.index, other.index)
    same_array(one.array, other.array)


def same_index(one, other):
    assert type(one) is type(other)
    pd.testing.assert_index_equal(one, other, exact=True, check_exact=True)
    assert list(map(type, one.names)) == list(map(type, other.names))
    assert getattr(one, "freq", None) == getattr(other, "freq", None)
    if isinstance(other, pd.MultiIndex):
        for number in range(other.nlevels):
            same_index(one.levels[number], other.levels[number])
    elif not isinstance(other, pd.RangeIndex):
        same_array(one.array, other.array)


def same_array(one, other):
    """What the testing functions of pandas take for equal, and is not."""
    assert type(one) is type(other)
    assert (type(one.dtype), one.dtype) == (type(other.dtype), other.dtype)
    if isinstance(other.dtype, pd.StringDtype):
        assert (one.dtype.storage, one.dtype.na_value is pd.NA) == (
            other.dtype.storage,
            other.dtype.na_value is pd.NA,
        )
    if isinstance(other.dtype, pd.DatetimeTZDtype):
        assert type(one.dtype.tz) is type(other.dtype.tz)
    if other.dtype.kind == "O" and type(other) is pd.arrays.NumpyExtensionArray:
        assert list(map(type, one)) == list(map(type, other))
    elif type(other) is pd.arrays.NumpyExtensionArray:
        assert one.to_numpy().tobytes() == other.to_numpy().tobytes()


INTS = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SECONDS = st.integers(-(10**9), 10**9)


def maybe(strategy):
    return st.one_of(st.none(), strategy)


def moments(unit, zone):
    def made(numbers):
        index = pd.DatetimeIndex(np.array([number if number is not None else "NaT" for number in numbers], "M8[s]"))
        index = index.as_unit(unit)
        return pd.Series(index if zone is None else index.tz_localize("UTC").tz_convert(zone))

    return maybe(SECONDS), made


def typed(dtype):
    return lambda values: pd.Series(values, dtype=dtype)


KINDS = {
    **{name: (st.integers(0, 100), typed(name)) for name in ("int8", "uint16", "int64", "uint64", ">i4")},
    **{name: (st.floats(width=16), typed(name)) for name in ("float16", "float32", "float64", "complex128")},
    **{name: (maybe(st.integers(0, 100)), typed(name)) for name in ("Int8", "UInt64", "Float32", "int64[pyarrow]")},
    **{name: (maybe(st.booleans()), typed(name)) for name in ("boolean", "bool[pyarrow]")},
    "bool": (st.booleans(), typed("bool")),
    "str": (maybe(TEXTS), typed("str")),
    **{
        f"{storage} {missing}": (maybe(TEXTS), typed(pd.StringDtype(storage, na_value=missing)))
        for storage in ("python", "pyarrow")
        for missing in (pd.NA, np.nan)
    },
    "texts of Arrow": (maybe(TEXTS), typed("string[pyarrow]")),
    "lists of Arrow": (
        maybe(st.lists(INTS, max_size=3)),
        lambda values: pd.Series(values, dtype=pd.ArrowDtype(pa.list_(pa.int32()))),
    ),
    "objects": (st.one_of(st.none(), st.booleans(), INTS, st.floats(), TEXTS, st.binary()), typed(object)),
    "decimals": (st.decimals(allow_nan=False), typed(object)),
    "texts in objects": (st.sampled_from(["a", None, np.nan]), typed(object)),
    "categories": (
        maybe(st.sampled_from("abc")),
        lambda v: pd.Series(pd.Categorical(v, categories=list("cab"), ordered=True)),
    ),
    "categories of numbers": (maybe(st.integers(0, 3)), typed(pd.CategoricalDtype([3, 1, 0, 2]))),
    **{f"moments {unit} {zone}": moments(unit, zone) for unit in ("s", "ns") for zone in (None, *ZONES)},
    "spans": (maybe(SECONDS), lambda v: pd.Series(pd.to_timedelta(v, unit="s"))),
    "periods": (
        maybe(st.integers(0, 99)),
        lambda v: pd.Series(pd.PeriodIndex([periods(n) for n in v], freq="Q-NOV")),
    ),
    "intervals": (
        maybe(INTS),
        lambda v: pd.Series(
            pd.arrays.IntervalArray.from_tuples(
                [n if n is None else (n, n + 1) for n in v],
                closed="left",
                dtype=pd.IntervalDtype("float64", "left"),
            )
        ),
    ),
    "sparse": (st.sampled_from([0, 0, 0, 1, 2]), typed(pd.SparseDtype("int64", 0))),
    "sparse in blocks": (
        st.sampled_from([np.nan, 1.5]),
        lambda v: pd.Series(pd.arrays.SparseArray(v, kind="block", dtype=pd.SparseDtype(float))),
    ),
}


def periods(number):
    return pd.NaT if number is None else pd.Period(ordinal=number, freq="Q-NOV")


@st.composite
def series(draw, size=None, kinds=tuple(KINDS)):
    elements, made = KINDS[draw(st.sampled_from(kinds))]
    size = draw(st.integers(0, 5)) if size is None else size
    return made(draw(st.lists(elements, min_size=size, max_size=size)))


NAMES = st.one_of(TEXTS, st.none(), INTS, st.tuples(TEXTS, INTS), st.dates())


@st.composite
def indexes(draw, size):
    form = draw(st.sampled_from(["range", "array", "freq", "levels"]))
    if form == "range":
        return pd.RangeIndex(3, 3 - 2 * size, -2, name=draw(NAMES))
    if form == "freq":
        freq = draw(st.sampled_from(["D", "3h", "W-TUE", "MS", "QS-NOV"]))
        zone = draw(st.sampled_from([None, "Europe/Berlin"]))
        return pd.date_range("2020-01-01", periods=size, freq=freq, tz=zone, name=draw(NAMES))
    kinds = [kind for kind in KINDS if "float16" not in kind and "sparse" not in kind and kind != "lists of Arrow"]
    if form == "array":
        return pd.Index(draw(series(size, kinds)), name=draw(NAMES))
    kinds = ["int64", "str", "categories", "moments s UTC", "float64", "Int8", "boolean"]
    levels = [draw(series(size, kinds)) for _ in range(draw(st.integers(1, 3)))]
    return pd.MultiIndex.from_arrays(levels, names=[draw(NAMES) for _ in levels])


@st.composite
def frames(draw):
    size = draw(st.integers(0, 5))
    index = draw(indexes(size))
    columns = [draw(series(size)) for _ in range(draw(st.integers(0, 4)))]
    frame = pd.DataFrame({number: column.array for number, column in enumerate(columns)}, index=index)
    frame.columns = draw(st.one_of(indexes(len(columns)), st.just(pd.Index(["twice"] * len(columns)))))
    frame.attrs = draw(st.sampled_from([{}, {"unit": ("m",)}]))
    return frame


@given(frames())
@settings(max_examples=150, deadline=None)
def test_every_frame_comes_back(frame):
    same_frame(round_trip(frame), frame)


@given(series().flatmap(lambda s: indexes(len(s)).map(s.set_axis)), NAMES)
@settings(max_examples=150, deadline=None)
def test_every_series_comes_back(series, name):
    series.name = name
    same_series(round_trip(series), series)


@given(st.integers(0, 5).flatmap(indexes))
@settings(max_examples=100, deadline=None)
def test_every_index_comes_back(index):
    same_index(round_trip(index), index)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=10, deadline=None)
def test_every_kind_of_column_and_its_array_and_its_dtype(kind, data):
    elements, made = KINDS[kind]
    value = made(data.draw(st.lists(elements, max_size=5)))
    same_series(round_trip(value), value)
    same_array(round_trip(value.array), value.array)
    assert round_trip(value.dtype) == value.dtype


@pytest.mark.parametrize(
    "make", [lambda: np.ones((4, 3)), lambda: np.ones((4, 3), "f4", order="F"), lambda: np.zeros((3, 2), "M8[ns]")]
)
def test_a_frame_of_one_block_is_one_buffer_and_is_not_copied(make):
    block = make()
    frame = pd.DataFrame(block, columns=list("xyz")[: block.shape[1]], copy=False)
    sent = [piece for piece in TreeCodec().encode(frame) if isinstance(piece, memoryview)]
    assert list(map(len, sent)) == [block.nbytes]
    assert np.shares_memory(np.frombuffer(sent[0], "u1"), block)
    same_frame(round_trip(frame), frame)


def test_columns_that_are_not_one_block():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    same_frame(round_trip(frame), frame)
    frame["c"] = 5.0
    same_frame(round_trip(frame), frame)
    same_frame(round_trip(frame[["a"]]), frame[["a"]])
    same_frame(round_trip(frame.iloc[::-1]), frame.iloc[::-1])


def test_a_column_is_not_copied_when_it_is_read_and_may_be_written():
    frame = pd.DataFrame({"a": np.zeros(3_000_000), "b": np.zeros(3_000_000, "i8")})
    source = HeldSource(encoded(frame))
    tracemalloc.start()
    back = TreeCodec().decode(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 48_000_000
    back.loc[0, "a"] = 7
    assert back.loc[0, "a"] == 7


def test_a_column_is_a_tensor_of_its_name():
    load = pytest.importorskip("safetensors.numpy").load
    tensors = load(encoded(pd.DataFrame({"price": [1.5, 2.5], "count": [1, 2]})))
    assert tensors["price"].tolist() == [1.5, 2.5]
    assert tensors["count"].tolist() == [1, 2]


def test_a_path_leads_to_the_element():
    with pytest.raises(UnsupportedValueError) as caught:
        encoded({"x": pd.DataFrame({"c": [1, None], "a b": [1, object()]}, dtype=object)})
    assert caught.value.path == 'value["x"]["a b"][1]'


SCALARS = [
    *(
        pd.NaT,
        pd.NA,
        pd.Timestamp("2020-01-01"),
        pd.Timestamp(1, unit="ns"),
        pd.Timestamp(year=2020, month=1, day=1, fold=1),
    ),
    *(pd.Timestamp(f"2020-10-25 0{hour}:30", tz="UTC").tz_convert("Europe/Berlin").as_unit("s") for hour in (0, 1)),
    *(pd.Timestamp("2020", tz=zone) for zone in ZONES),
    *(pd.Timestamp.min, pd.Timestamp.max, pd.Timestamp("9999-12-31").as_unit("s")),
    *(pd.Timedelta(5, "ns"), pd.Timedelta(-5, "s").as_unit("s"), pd.Timedelta.min),
    *(pd.Period("2020-01", "M"), pd.Period("2020", "Q-NOV"), pd.Period("2020-01-01 05:00", "3h")),
    *(pd.Interval(1, 2.5, "both"), pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021"))),
    *(pd.offsets.MonthEnd(3), pd.offsets.Week(weekday=2), pd.offsets.Day(-1), pd.offsets.BusinessDay(2)),
    *(pd.CategoricalDtype(["b", "a"], ordered=True), pd.DatetimeTZDtype("s", "Europe/Berlin"), pd.Int8Dtype()),
]


@pytest.mark.parametrize("value", SCALARS, ids=str)
def test_every_scalar_comes_back(value):
    back = round_trip(value)
    assert type(back) is type(value)
    assert back is value or back == value
    for name in ("unit", "fold", "freq", "freqstr", "closed", "tz", "left", "right", "ordered"):
        assert str(getattr(back, name, None)) == str(getattr(value, name, None))


def test_attributes_and_labels():
    frame = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    frame.attrs["x"] = Decimal("1.0")
    same_frame(round_trip(frame), frame)
    with pytest.raises(pd.errors.DuplicateLabelError):
        pd.concat([round_trip(frame)] * 2)


class Frame(pd.DataFrame):
    pass


class Row(pd.Series):
    pass


REFUSED = {
    "frame": (lambda: Frame({"a": [1]}), "Frame is a subclass of DataFrame"),
    "series": (lambda: Row([1]), "Row is a subclass of Series"),
    "offset": (lambda: pd.DateOffset(months=2), "does not tell"),
    "custom freq": (lambda: pd.bdate_range("2020", periods=3, freq="C", holidays=["2020-01-02"]), "does not tell"),
    "element": (lambda: pd.Series([lambda: 0]), "function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedValueError, match=message) as caught:
        encoded([make()])
    assert caught.value.path.startswith("value[0]")
    assert caught.value.hint


def test_an_array_of_another_library_is_refused_by_name():
    class GeometryArray(pd.api.extensions.ExtensionArray):
        pass

    with pytest.raises(UnsupportedValueError, match="GeometryArray is not an array of pandas' own"):
        encoded([GeometryArray()])


HOSTILE = [
    (
        pd.DataFrame({"a": [1, 2]}),
        {"index": {"$": ["pandas.rangeindex", 1, {"range": [0, 2**62, 1], "name": None}]}},
    ),
    (pd.DataFrame({"a": [1, 2]}), {"data": []}),
    (pd.DataFrame({"a": [1, 2]}), {"columns": [1]}),
    (pd.RangeIndex(3), {"range": [0, 3, 0]}),
    (pd.MultiIndex.from_product([["a"], [1, 2]]), {"levels": []}),
    (pd.Categorical(["a", "b"]), {"ordered": "x"}),
    (pd.Categorical(["a", "b"]), {"categories": [1]}),
    (pd.period_range("2020", periods=2, freq="M").array, {"freq": "__import__('os')"}),
    (pd.date_range("2020", periods=2), {"freq": "lambda: 0"}),
    (pd.date_range("2020", periods=2, freq="D"), {"freq": "W"}),
    (pd.arrays.SparseArray([0, 1, 0]), {"length": 1}),
    (pd.arrays.SparseArray([0, 1, 0]), {"length": -1}),
    (pd.array([1, 2]), {"type": "__init__"}),
    (pd.array(["a"], dtype=pd.StringDtype("python")), {"storage": "os"}),
    (pd.array(["a"], dtype=pd.StringDtype("python")), {"count": 2**62}),
]


@pytest.mark.parametrize(
    ("value", "facts"), HOSTILE, ids=lambda part: str(part) if isinstance(part, dict) else type(part).__name__
)
def test_hostile_facts(value, facts):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):  # noqa: PT011
            with_facts(value, **facts)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_codes_beyond_their_categories():
    document, buffers = document_of(pd.Categorical(["a", "b"]))
    for number, data in enumerate(buffers):
        if data == b"\0\1":
            buffers[number] = b"\0\7"
    with pytest.raises(ValueError, match="codes"):
        value_of(document, buffers)


SAMPLES = [
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["x", "y"])}),
    pd.Series([1.5], index=pd.MultiIndex.from_tuples([("a", 1)])),
    pd.date_range("2020", periods=3, tz="Europe/Berlin"),
    pd.arrays.SparseArray([0, 1, 0]),
    pd.Period("2020", "M"),
    pd.Interval(1, 2),
    pd.Timestamp("2020", tz="UTC"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_any_fact_may_be_anything(value):
    document, buffers = document_of(value)
    for way in list(places(document["value"]))[1:]:
        for junk in JUNK:
            with suppress(ValueError, UnreadableBlobError):
                value_of({**document, "value": replaced(document["value"], way, junk)}, buffers)


def test_texts_of_no_bytes_make_no_column():
    array = {"type": "numpy", "data": {"dtype": "<U0", "shape": [10**6], "order": "C", "buffer": 0}}
    index = {"$": ["pandas.rangeindex", 1, {"range": [0, 10**6, 1], "name": None}]}
    facts = {"index": index, "name": None, "data": {"$": ["pandas.array", 1, array]}}
    with pytest.raises(ValueError, match="no column"):
        value_of({"value": {"$": ["pandas.series", 1, facts]}}, [b""])
