from __future__ import annotations

import datetime as dt
import subprocess
import sys
from contextlib import suppress

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload_backend.codecs.tree import polars as kinds
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs.trees import JUNK, document_of, encoded, places, replaced, round_trip, value_of, with_facts

INTS = st.integers(-100, 100)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1))  # noqa: DTZ001

TYPES = [
    (pl.Null, st.none()),
    (pl.Boolean, st.booleans()),
    (pl.Int8, INTS),
    (pl.UInt64, st.integers(0, 2**64 - 1)),
    (pl.Int128, st.integers(-(2**120), 2**120)),
    (pl.Float32, st.floats(width=32)),
    (pl.Float64, st.floats()),
    (pl.String, TEXTS),
    (pl.Binary, st.binary(max_size=20)),
    (pl.Date, st.dates()),
    (pl.Time, st.times()),
    (pl.Datetime("ms"), TIMES.map(lambda time: time.replace(microsecond=0))),
    (pl.Datetime("ns", "Europe/Berlin"), TIMES.map(lambda time: time.replace(tzinfo=dt.timezone.utc))),
    (pl.Duration("us"), st.timedeltas(dt.timedelta(-9), dt.timedelta(9))),
    (pl.Decimal(10, 2), st.decimals(-999, 999, places=2)),
    (pl.Categorical, TEXTS),
    (pl.Categorical(pl.Categories("named")), TEXTS),
    (pl.Enum(["b", "a", "c"]), st.sampled_from("abc")),
    (pl.List(pl.Int32), st.lists(st.none() | INTS, max_size=3)),
    (pl.List(pl.Categorical), st.lists(TEXTS, max_size=3)),
    (pl.Array(pl.Int8, 2), st.lists(INTS, min_size=2, max_size=2)),
    (
        pl.Array(pl.Float32, (2, 1)),
        st.lists(st.lists(st.floats(width=32), min_size=1, max_size=1), min_size=2, max_size=2),
    ),
    (
        pl.Struct({"a": pl.Int8, "b": pl.Enum(["x"])}),
        st.fixed_dictionaries({"a": INTS, "b": st.none() | st.just("x")}),
    ),
]


@st.composite
def series(draw, size=None):
    dtype, elements = draw(st.sampled_from(TYPES))
    size = draw(st.integers(0, 6)) if size is None else size
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    count = before + size + after
    values = draw(st.lists(st.none() | elements, min_size=count, max_size=count))
    return pl.Series(draw(TEXTS), values, dtype=dtype, strict=False).slice(before, size)


@st.composite
def frames(draw):
    size = draw(st.integers(0, 6))
    columns = [draw(series(size)) for _ in range(draw(st.integers(0, 4)))]
    return pl.DataFrame([column.alias(f"{column.name}{number}") for number, column in enumerate(columns)])


def same(one, other):
    assert type(one) is type(other)
    if isinstance(other, pl.Series):
        assert one.name == other.name
        one, other = one.to_frame(), other.to_frame()
    assert one.schema == other.schema
    assert one.shape == other.shape
    assert repr(one.rows()) == repr(other.rows())


@given(frames(), st.sampled_from([1, 40, kinds.SLICE]))
@settings(max_examples=200, deadline=None)
def test_every_frame_comes_back_in_slices_of_any_size(frame, size):
    before, kinds.SLICE = kinds.SLICE, size
    try:
        same(round_trip(frame), frame)
    finally:
        kinds.SLICE = before


@given(series())
@settings(max_examples=200, deadline=None)
def test_every_series_comes_back(series):
    same(round_trip(series), series)


@pytest.mark.parametrize("dtype", [dtype for dtype, _ in TYPES], ids=str)
def test_every_type(dtype):
    for values in ([], [None]):
        column = pl.Series("x", values, dtype=dtype)
        same(round_trip(column), column)


def test_a_frame_is_written_slice_by_slice(monkeypatch):
    monkeypatch.setattr(kinds, "SLICE", 80_000)
    frame = pl.DataFrame({"a": range(100_000), "b": [f"text {n}" for n in range(100_000)]})
    document, buffers = document_of(frame)
    sizes = document["value"]["$"][2]["streams"]
    assert sum(sizes) == len(buffers[0])
    assert len(sizes) > 20
    assert max(sizes) < 200_000
    same(round_trip(frame), frame)


def test_frames_of_no_rows_and_of_no_columns():
    same(round_trip(pl.DataFrame()), pl.DataFrame())
    same(round_trip(pl.DataFrame(schema={"a": pl.Enum(["x"])})), pl.DataFrame(schema={"a": pl.Enum(["x"])}))


def test_pyarrow_is_not_needed():
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import polars as pl\n"
        "from tests.codecs.trees import round_trip\n"
        "frame = pl.DataFrame({'a': [1, None], 'b': ['x', 'y']})\n"
        "assert round_trip(frame).equals(frame)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


class Frame(pl.DataFrame):
    pass


class Column(pl.Series):
    pass


REFUSED = {
    "lazy": (lambda: pl.LazyFrame({"a": [1]}), "plan of work", "collect"),
    "frame": (lambda: Frame({"a": [1]}), "Frame is a subclass", "polars.DataFrame"),
    "series": (lambda: Column("a", [1]), "Column is a subclass", "polars.Series"),
    "objects": (lambda: pl.DataFrame({"a": [object()]}, schema={"a": pl.Object}), "exactly", "lists"),
    "objects in a series": (lambda: pl.Series("a", [object()], dtype=pl.Object), "exactly", "lists"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused(name):
    make, message, hint = REFUSED[name]
    with pytest.raises(UnsupportedValueError, match=message) as caught:
        encoded({"x": [make()]})
    assert caught.value.path == 'value["x"][0]'
    assert hint in caught.value.hint


FRAME = pl.DataFrame(
    {"a": [1, None], "b": ["x", "a text that is not short"], "c": pl.Series(["x", "y"], dtype=pl.Categorical)}
)


def test_compressed_streams_are_not_read():
    stream = FRAME.write_ipc_stream(None, compression="zstd").getvalue()
    with pytest.raises(ValueError, match="compressed"):
        value_of({"value": {"$": ["polars.dataframe", 1, {"buffer": 0, "streams": [len(stream)]}]}}, [stream])


@pytest.mark.parametrize(
    "facts",
    [{"streams": s} for s in ([], [1], [10**9], [-1], None, [2**62], "x", [0], ["1"])]
    + [{"buffer": b} for b in (1, -1, None)],
    ids=str,
)
def test_hostile_facts(facts):
    with pytest.raises(ValueError):  # noqa: PT011
        with_facts(FRAME, **facts)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_streams_stop_nothing(data):
    document, (stream,) = document_of(FRAME)
    damaged = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError, UnreadableBlobError):
        repr(value_of(document, [bytes(damaged)]))


@pytest.mark.parametrize("value", [FRAME, FRAME["a"]], ids=lambda value: type(value).__name__)
def test_any_fact_may_be_anything(value):
    document, buffers = document_of(value)
    for way in list(places(document["value"]))[1:]:
        for junk in JUNK:
            with suppress(ValueError, UnreadableBlobError):
                value_of({**document, "value": replaced(document["value"], way, junk)}, buffers)
