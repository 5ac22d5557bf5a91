from __future__ import annotations

import datetime as dt
import tracemalloc
from contextlib import suppress
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree.arrow_stream import check_stream
from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs.trees import JUNK, document_of, encoded, places, replaced, round_trip, value_of

INTS = st.integers(-100, 100)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
TIMES = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1))  # noqa: DTZ001

TYPES = {
    pa.null(): st.none(),
    pa.bool_(): st.booleans(),
    pa.int8(): INTS,
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float16(): st.floats(width=16),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.string_view(): TEXTS,
    pa.binary(): st.binary(max_size=30),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.decimal128(10, 2): st.decimals(-999, 999, places=2),
    pa.decimal256(40, 2): st.decimals(-999, 999, places=2),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.timestamp("ms", "Europe/Berlin"): TIMES.map(
        lambda time: time.replace(microsecond=0, tzinfo=dt.timezone.utc)
    ),
    pa.duration("s"): st.integers(0, 1000).map(lambda number: dt.timedelta(seconds=number)),
    pa.list_(pa.int32()): st.lists(st.none() | INTS, max_size=3),
    pa.large_list(pa.string()): st.lists(TEXTS, max_size=3),
    pa.list_(pa.int8(), 2): st.lists(INTS, min_size=2, max_size=2),
    pa.struct([("a", pa.int8()), ("b", pa.string())]): st.fixed_dictionaries({"a": INTS, "b": st.none() | TEXTS}),
    pa.map_(pa.string(), pa.int8()): st.dictionaries(TEXTS, INTS, max_size=2).map(
        lambda entries: list(entries.items())
    ),
}


@st.composite
def arrays(draw, arrow=None, size=None):
    """Of every type, nested too, with nulls, and slices of longer ones."""
    arrow = draw(st.sampled_from(list(TYPES))) if arrow is None else arrow
    size = draw(st.integers(0, 6)) if size is None else size
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    count = before + size + after
    values = draw(st.lists(st.none() | TYPES[arrow], min_size=count, max_size=count))
    array = pa.array(values, arrow).slice(before, size)
    if arrow in (pa.string(), pa.int8()) and draw(st.booleans()):
        array = (
            draw(st.sampled_from([array.dictionary_encode(), pa.RunEndEncodedArray.from_arrays([size], array[:1])]))
            if size
            else array
        )
    return array


@st.composite
def tables(draw):
    size = draw(st.integers(0, 6))
    columns = draw(st.lists(arrays(size=size), max_size=4))
    names = [draw(TEXTS) for _ in columns]
    metadata = draw(st.sampled_from([None, {b"unit": b"m"}]))
    fields = [
        pa.field(
            name,
            column.type,
            nullable=draw(st.booleans()) or column.null_count > 0 or column.type == pa.null(),
            metadata=metadata,
        )
        for name, column in zip(names, columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata))


def same(one, other):
    assert type(one) is type(other)
    if isinstance(other, pa.Table | pa.RecordBatch):
        assert one.schema.equals(other.schema, check_metadata=True)
        assert one.num_rows == other.num_rows
        for left, right in zip(one.columns, other.columns, strict=True):
            same(left, right)
    else:
        assert one.type == other.type
        assert repr(one.to_pylist()) == repr(other.to_pylist())


@given(arrays())
@settings(max_examples=300, deadline=None)
def test_every_array_comes_back(array):
    same(round_trip(array), array)


@given(tables())
@settings(max_examples=200, deadline=None)
def test_every_table_and_batch_comes_back(table):
    same(round_trip(table), table)
    for batch in table.to_batches():
        same(round_trip(batch), batch)


@given(
    st.sampled_from(list(TYPES)).flatmap(
        lambda arrow: st.lists(arrays(arrow).filter(lambda a: a.type == arrow), max_size=3).map(
            lambda chunks: pa.chunked_array(chunks, arrow)
        )
    )
)
@settings(deadline=None)
def test_chunks_are_kept(array):
    back = round_trip(array)
    assert list(map(len, back.chunks)) == list(map(len, array.chunks))
    same(back, array)


def test_chunks_with_dictionaries_of_their_own():
    chunks = [pa.array(texts, pa.string()).dictionary_encode() for texts in (["a", "b"], ["c", "a"], [])]
    same(round_trip(pa.chunked_array(chunks)), pa.chunked_array(chunks))
    table = pa.Table.from_batches([pa.record_batch([chunk], names=["x"]) for chunk in chunks])
    same(round_trip(table), table)


def test_columns_with_chunks_of_their_own_come_back_with_common_ones():
    table = pa.table({"a": pa.chunked_array([[1], [2, 3]]), "b": pa.chunked_array([[1, 2], [3]])})
    assert round_trip(table).equals(table)


def test_rows_without_columns():
    assert round_trip(pa.table({"a": [1, 2]}).select([])).num_rows == 2


@pytest.mark.parametrize("arrow", TYPES, ids=str)
def test_every_type_field_and_scalar(arrow):
    assert round_trip(arrow) == arrow
    field = pa.field("x", arrow, metadata={"a": "b"})
    assert round_trip(field).equals(field, check_metadata=True)
    schema = pa.schema([field], metadata={"c": "d"})
    assert round_trip(schema).equals(schema, check_metadata=True)
    scalar = pa.scalar(None, arrow)
    back = round_trip(scalar)
    assert (type(back), back.type, back.is_valid) == (type(scalar), arrow, False)


@pytest.mark.parametrize(
    "value", [1.5, "x", b"x", True, [1, 2], {"a": 1}, Decimal("1.50"), dt.date(2020, 1, 1)], ids=repr
)
def test_every_scalar(value):
    scalar = pa.scalar(value)
    assert round_trip(scalar).equals(scalar)
    assert type(round_trip(scalar)) is type(scalar)


def test_types_that_arrow_itself_adds():
    array = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16)))
    back = round_trip(array)
    assert (type(back), back.type) == (type(array), array.type)


def test_memory_goes_out_as_it_is_and_comes_in_as_it_is():
    table = pa.table({"a": pa.array(range(1_000_000), pa.int64())})
    buffer = table.column(0).chunk(0).buffers()[1]
    sent = [pa.py_buffer(piece).address for piece in TreeCodec().encode(table) if isinstance(piece, memoryview)]
    assert buffer.address in sent
    data = encoded(table)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    back = TreeCodec().decode(HeldSource(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < 100_000
    assert peak < 1.1 * len(data)
    assert back.equals(table)


class Meters(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.float64(), "test.meters")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


def bad_utf8():
    return pa.StringArray.from_buffers(1, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff"))


REFUSED = {
    "type of a program": lambda: pa.ExtensionArray.from_storage(Meters(), pa.array([1.0])),
    "in a list": lambda: pa.list_(Meters()),
    "in a dictionary": lambda: pa.schema([pa.field("x", pa.struct([pa.field("y", Meters())]))]),
    "metadata that makes a type": lambda: pa.field(
        "x", pa.binary(16), metadata={"ARROW:extension:name": "arrow.uuid", "ARROW:extension:metadata": ""}
    ),
    "invalid": bad_utf8,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused(name):
    with pytest.raises(UnsupportedValueError) as caught:
        encoded({"x": [REFUSED[name]()]})
    assert caught.value.path == 'value["x"][0]'
    assert caught.value.hint


def stream_of(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def table_of(stream):
    return value_of({"value": {"$": ["pyarrow.table", 1, 0]}}, [stream])


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize(
    "table", [pa.table({"a": [0] * 1000}), pa.table({"a": pa.array(["x"] * 1000).dictionary_encode()})]
)
def test_compressed_streams_are_not_read(compression, table):
    assert table_of(stream_of(table)).equals(table)
    with pytest.raises(ValueError, match="compressed"):
        table_of(stream_of(table, compression=compression))


@pytest.mark.parametrize("more", [b"\0", b"\0" * 8, stream_of(pa.table({"a": [2]}))])
def test_nothing_follows_a_stream(more):
    with pytest.raises(ValueError, match="does not end where it should"):
        table_of(stream_of(pa.table({"a": [1]})) + more)


def test_pickled_types_are_not_read():
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": b"cos\nsystem\n(S'true'\ntR.",
    }
    table = pa.table([pa.array([1])], schema=pa.schema([pa.field("x", pa.int64(), metadata=metadata)]))
    with pytest.raises(ValueError, match="pickled"):
        table_of(stream_of(table))


def test_what_arrow_would_read_beyond_its_buffers_is_not_read():
    stream = bytearray(stream_of(pa.table({"a": ["abc", "def"]})))
    place = stream.index(b"\0\0\0\0\3\0\0\0\6\0\0\0")
    stream[place + 8 : place + 12] = (2**30).to_bytes(4, "little")
    with pytest.raises(ValueError, match="no Arrow stream"):
        table_of(bytes(stream))


TABLE = pa.table({"a": [1, None], "b": ["x", "y"], "c": pa.array(["x", "x"]).dictionary_encode()})


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_streams(data):
    stream = bytearray(stream_of(TABLE))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    del stream[data.draw(st.sampled_from([len(stream), len(stream) - 1, len(stream) // 2])) :]
    before = pa.total_allocated_bytes()
    with suppress(ValueError, UnreadableBlobError):
        repr(table_of(bytes(stream)).to_pylist())
    assert pa.total_allocated_bytes() - before < 1_000_000


@given(st.binary(max_size=100))
def test_no_stream_at_all(data):
    with pytest.raises(ValueError):  # noqa: PT011
        check_stream(memoryview(data))


@pytest.mark.parametrize(
    "value", [TABLE, TABLE.schema, pa.int8(), pa.scalar(1), pa.array([1])], ids=lambda v: type(v).__name__
)
def test_any_fact_may_be_anything(value):
    document, buffers = document_of(value)
    for way in list(places(document["value"]))[1:]:
        for junk in JUNK:
            with suppress(ValueError, UnreadableBlobError):
                value_of({**document, "value": replaced(document["value"], way, junk)}, buffers)


@pytest.mark.parametrize(
    "tag", ["table", "recordbatch", "chunkedarray", "array", "scalar", "schema", "field", "datatype"]
)
def test_a_stream_of_another_shape(tag):
    wide = stream_of(pa.table({"a": [1], "b": [2]}))
    try:
        value = value_of({"value": {"$": [f"pyarrow.{tag}", 1, 0]}}, [wide])
    except ValueError:
        assert tag not in ("table", "recordbatch", "schema")
    else:
        assert tag in ("table", "recordbatch", "schema")
        assert value is not None
