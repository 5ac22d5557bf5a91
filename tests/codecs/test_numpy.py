from __future__ import annotations

import mmap
import pickle
import tracemalloc
from contextlib import contextmanager, suppress
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree import numpy as kinds
from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs.trees import JUNK, document_of, encoded, places, replaced, round_trip, value_of, with_facts

LONG_DOUBLES = [np.dtype(code) for code in "gG"]


def same(one, other):
    """Type for type and bit for bit, in the same order in memory."""
    assert type(one) is type(other)
    same_dtype(one.dtype, other.dtype)
    assert one.shape == other.shape
    assert bits(one) == bits(other)
    if isinstance(one, np.ndarray):
        assert one.flags.writeable == other.flags.writeable


def bits(array):
    """Also those between fields; but not those that fill up the long double of a scalar."""
    data = np.asarray(array).view(f"V{array.dtype.itemsize}").tobytes() if array.dtype.itemsize else b""
    if isinstance(array, np.longdouble | np.clongdouble) and np.finfo(np.longdouble).nmant == 63:
        return [data[start : start + 10] for start in range(0, len(data), np.dtype("g").itemsize)]
    return data


def same_dtype(one, other):
    assert (one, one.type, one.char, one.isalignedstruct) == (other, other.type, other.char, other.isalignedstruct)
    assert one.fields == other.fields


def dtypes():
    plain = st.one_of(
        hnp.scalar_dtypes(),
        hnp.unicode_string_dtypes(max_len=4),
        hnp.byte_string_dtypes(max_len=4),
        hnp.datetime64_dtypes(),
        hnp.timedelta64_dtypes(),
        st.sampled_from([*LONG_DOUBLES, *map(np.dtype, ["q", "Q", "V3", "M8", "m8[25us]"])]),
    )
    plain = st.one_of(plain, plain.map(lambda dtype: dtype.newbyteorder()))
    aligned = st.tuples(plain, plain).map(lambda both: np.dtype([("a", both[0]), ("b", both[1])], align=True))
    return st.one_of(
        st.just(np.dtype("V0")), plain, hnp.nested_dtypes(subtype_strategy=plain, max_leaves=5), aligned
    )


@st.composite
def arrays(draw, dtype=None):
    """Of any dtype, with any bits in them, and views of any layout."""
    dtype = draw(dtypes() if dtype is None else dtype)
    dtype = dtype.base
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    count = int(np.prod(shape, dtype=int))
    bits = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    if dtype.kind == "b":
        bits = bytes(bit & 1 for bit in bits)
    if dtype.kind == "U":
        order = dtype.byteorder.replace("=", "<") + "u4"
        bits = (np.frombuffer(bits, order) % 0x110000).astype(order).tobytes()
    array = np.ndarray(shape, dtype, bytearray(bits))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    if draw(st.booleans()) and array.ndim:
        array = array[draw(hnp.basic_indices(array.shape, allow_newaxis=True, allow_ellipsis=True))]
    if draw(st.booleans()) and isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


@given(arrays())
@settings(max_examples=300, deadline=None)
def test_every_array_comes_back_bit_for_bit(array):
    same(round_trip(array), array)


@given(arrays(), st.integers(1, 40))
@settings(deadline=None)
def test_an_array_that_is_not_dense_is_the_same_whatever_a_piece_is(array, piece):
    before = kinds.PIECE
    kinds.PIECE = piece
    try:
        same(round_trip(array), array)
    finally:
        kinds.PIECE = before


def test_what_lies_between_fields_is_kept():
    dtype = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    array = np.frombuffer(bytearray(range(1, 97)), dtype)
    same(round_trip(array), array)
    same(round_trip(array[::2]), array[::2])


@given(dtypes())
@settings(max_examples=300, deadline=None)
def test_every_dtype_comes_back(dtype):
    same_dtype(round_trip(dtype), dtype)


@st.composite
def transposed(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=5, max_side=4))
    array = np.arange(np.prod(shape), dtype="<i4").reshape(shape)
    return array.transpose(draw(st.permutations(range(array.ndim))))


def steps(array):
    return [stride for stride, size in zip(array.strides, array.shape, strict=True) if size > 1]


@given(transposed())
@settings(deadline=None)
def test_the_order_in_memory_is_kept_without_a_copy(array):
    (tensor,) = [piece for piece in TreeCodec().encode(array) if isinstance(piece, memoryview)]
    assert np.shares_memory(np.frombuffer(tensor, "u1"), array)
    back = round_trip(array)
    same(back, array)
    assert steps(back) == steps(array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_a_tensor_that_safetensors_reads(order):
    load = pytest.importorskip("safetensors.numpy").load
    array = np.asarray(np.arange(6, dtype="<f4").reshape(2, 3), order=order)
    tensor = load(encoded({"w": array}))["w"]
    np.testing.assert_array_equal(tensor if order == "C" else tensor.T, array)


@contextmanager
def peak_memory():
    """Bytes of Python's and NumPy's, at most, while the block ran."""
    tracemalloc.start()
    try:
        yield lambda: peaks[0]
        peaks = [tracemalloc.get_traced_memory()[1]]
    finally:
        tracemalloc.stop()


def test_what_is_read_is_not_copied():
    array = np.zeros(50_000_000, "u1")
    source = HeldSource(encoded(array))
    with peak_memory() as peak:
        back = TreeCodec().decode(source)
    assert peak() < 1.1 * array.nbytes
    back[0] = 1


def test_what_is_not_dense_is_copied_a_piece_at_a_time():
    array = np.zeros((2, 20_000_000), "u1")[:, ::2]
    with peak_memory() as peak:
        size = sum(len(piece) for piece in TreeCodec().encode(array))
    assert size > array.nbytes
    assert peak() < 3 * kinds.PIECE


SCALARS = [
    *(np.bool_(True), np.int8(-128), np.uint64(2**64 - 1), np.longlong(3), np.ulonglong(3), np.float16(0.1)),
    *(
        np.float32(0.1),
        np.float64(-0.0),
        np.float32(nan),
        np.float64(-inf),
        np.longdouble(1) / 3,
        np.clongdouble(1j),
    ),
    *(
        np.complex64(1 + 2j),
        np.complex128(complex(nan, -0.0)),
        np.datetime64("2020-01-01"),
        np.datetime64("NaT", "25us"),
    ),
    *(
        np.datetime64("NaT"),
        np.timedelta64(5, "h"),
        np.timedelta64(5),
        np.str_(""),
        np.str_("ü\0\ud800"),
        np.bytes_(b"\0x\0"),
    ),
    *(np.void(b"abc"), np.array([(1, 2.5)], [("a", "<i2"), ("b", ">f8")])[0], np.rec.array([(1, "x")])[0]),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: f"{scalar.dtype}")
def test_every_scalar_comes_back(scalar):
    same(round_trip(scalar), scalar)


@given(arrays(st.one_of(hnp.scalar_dtypes(), st.sampled_from(LONG_DOUBLES))))
@settings(deadline=None)
def test_every_element_comes_back_as_a_scalar(array):
    for element in array.reshape(-1)[:3]:
        same(round_trip(element), element)


ELEMENTS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    st.lists(st.integers(), max_size=2),
)


@given(
    st.lists(ELEMENTS, max_size=6).flatmap(
        lambda items: st.sampled_from([1, 0, 80]).map(lambda n: items + ["x"] * n)
    )
)
@settings(deadline=None)
def test_objects_are_kept_element_by_element(items):
    array = np.fromiter(items, object, len(items))
    back = round_trip(array)
    assert back.dtype == object
    assert list(map(type, back)) == list(map(type, items))
    assert pickle.dumps(back.tolist()) == pickle.dumps(round_trip(items))


@pytest.mark.parametrize("count", [3, 65, 70_000])
def test_none_and_nan_are_kept_apart_between_texts(count):
    array = np.array((["ä", None, nan] * count)[:count], object)
    back = round_trip(array)
    assert back[0] == "ä"
    assert back[1] is None
    assert np.isnan(back[2])
    assert [type(item) for item in back] == [type(item) for item in array]


def test_a_nan_with_bits_of_its_own_keeps_them():
    odd = np.array([0x7FF8000000000001], "u8").view("f8").tolist()
    array = np.array(["x"] * 100 + odd, object)
    assert np.array([round_trip(array)[-1]]).view("u8")[0] == 0x7FF8000000000001


def test_objects_keep_shape_and_order_and_elements_may_be_arrays():
    array = np.empty((2, 3), object, order="F")
    for place in np.ndindex(2, 3):
        array[place] = np.arange(place[1])
    back = round_trip(array)
    assert back.flags.f_contiguous
    assert [b.tolist() for b in back.flat] == [a.tolist() for a in array.flat]


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 2.0 brought StringDType")
@pytest.mark.parametrize("more", [{}, {"na_object": None}, {"na_object": nan}, {"coerce": False}])
def test_texts_of_any_length(more):
    dtype = np.dtypes.StringDType(**more)
    array = np.array([["a", "b" * 100, "\0ü"]] * 40, dtype)
    if "na_object" in more:
        array[0, 0] = more["na_object"]
    back = round_trip(array)
    same_dtype(back.dtype, dtype)
    assert str(back.tolist()) == str(array.tolist())


@pytest.mark.parametrize("mask", [np.ma.nomask, [True, False], False])
@pytest.mark.parametrize("fill", [None, 7])
def test_masked_arrays(mask, fill):
    array = np.ma.MaskedArray([1, 2], mask, fill_value=fill, hard_mask=mask is False)
    back = round_trip(array)
    assert type(back) is np.ma.MaskedArray
    same(back.data, array.data)
    assert (back.mask is np.ma.nomask) == (array.mask is np.ma.nomask)
    np.testing.assert_array_equal(back.mask, array.mask)
    assert back._fill_value == array._fill_value
    assert back.hardmask == array.hardmask


def test_masked_is_one_object():
    assert round_trip([np.ma.masked])[0] is np.ma.masked


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_the_two_subclasses_of_numpy():
    same(round_trip(np.matrix([[1, 2]])), np.matrix([[1, 2]]))
    records = np.rec.array([(1, "x")], dtype=[("a", "<i4"), ("b", "<U2")])
    same(round_trip(records), records)
    assert round_trip(records).a[0] == 1


ALGORITHMS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_generator_draws_on_and_spawns_on(name):
    generator = np.random.Generator(getattr(np.random, name)([1, 2**70]))
    generator.spawn(2)
    generator.random(13, dtype=np.float32)
    back = round_trip(generator)
    np.testing.assert_equal(back.bit_generator.state, generator.bit_generator.state)
    assert back.integers(0, 1000, 99).tolist() == generator.integers(0, 1000, 99).tolist()
    assert back.spawn(1)[0].random() == generator.spawn(1)[0].random()


def test_a_keyed_philox_and_random_state():
    keyed = np.random.Philox(key=5)
    assert round_trip(keyed).random_raw(5).tolist() == keyed.random_raw(5).tolist()
    state = np.random.RandomState(4)
    state.normal()
    assert round_trip(state).normal(size=5).tolist() == state.normal(size=5).tolist()


def test_many_generators_are_many():
    generators = [np.random.default_rng(seed) for seed in range(20)]
    assert [g.random() for g in round_trip(generators)] == [g.random() for g in generators]


def test_rows_are_byte_ranges():
    array = np.arange(60, dtype=">i2").reshape(5, 4, 3)
    for value in (array, array.transpose(0, 2, 1)):
        document, (buffer,) = document_of(value)
        facts = document["value"]["$"][2]
        begin, end = kinds.rows(facts, 1, 4)
        part = kinds.from_rows(facts, memoryview(bytearray(buffer[begin:end])), 3)
        np.testing.assert_array_equal(part, value[1:4])
    for start, stop in [(-1, 2), (3, 2), (0, 6)]:
        with pytest.raises(ValueError, match="no such rows"):
            kinds.rows(facts, start, stop)
    with pytest.raises(ValueError, match="no such rows"):
        kinds.rows(document_of(np.asfortranarray(array[0]))[0]["value"]["$"][2], 0, 1)


class Subclass(np.ndarray):
    pass


def metadata():
    return np.dtype("f8", metadata={"unit": "m"})


REFUSED = {
    "subclass": (lambda: np.zeros(2).view(Subclass), "a Subclass, a subclass of ndarray"),
    "memmap": (lambda: np.ndarray.__new__(np.memmap, 2, "u1", mmap.mmap(-1, 2)), "a memmap, a subclass of ndarray"),
    "metadata": (lambda: np.zeros(2, metadata()), "is not one that comes back the same"),
    "field with metadata": (lambda: np.zeros(2, [("a", metadata())]), "is not one that comes back the same"),
    "objects in fields": (lambda: np.zeros(2, [("a", "O")]), "is not one that comes back the same"),
    "odd bools": (lambda: np.array([2], "u1").view("?"), "no bools, or no text"),
    "odd texts": (lambda: np.array([2**30], "u4").view("U1"), "no bools, or no text"),
    "element": (lambda: np.array([{"a": lambda: 0}], object), "function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedValueError, match=message) as caught:
        encoded({"x": [make()]})
    assert caught.value.path.startswith('value["x"][0]')
    assert caught.value.hint


HOSTILE = [
    *(
        {"shape": shape}
        for shape in ([2**62], [-1], [7], [5], [2**40, 2**40], ["6"], [6.0], "6", None, [6] * 99, [True] * 6)
    ),
    *(
        {"dtype": dtype}
        for dtype in ("O", "|O8", "object", "f8,f8", "eval", "__import__('os')", "<U9999999999", "T", 5)
    ),
    *({"dtype": {"base": "<f8", "shape": shape}} for shape in ([], [2**62], [-1], [2**31, 2**31])),
    *({"order": order} for order in ("A", None, [1], [0, 0], [True], [-1])),
    *({"buffer": number} for number in (1, -1, 2**70, True, None, [0])),
    *({"class": name} for name in ("matrix", "memmap", "Subclass", ["ndarray"])),
    {"dtype": {"names": ["a"], "formats": ["O"], "offsets": [0], "itemsize": 8}},
    {"dtype": {"names": ["a"], "formats": ["<f8"], "offsets": [-4], "itemsize": 8}},
    {"dtype": {"names": ["a"], "formats": ["<f8"], "offsets": [4], "itemsize": 8}},
    {"dtype": {"names": ["a", "a"], "formats": ["<f4", "<f4"], "offsets": [0, 4], "itemsize": 8}},
    {"dtype": {"names": ["a"], "formats": ["<f8"], "offsets": [0], "itemsize": 2**63 - 1}},
]


@pytest.mark.parametrize("facts", HOSTILE, ids=str)
def test_hostile_facts_of_an_array(facts):
    with peak_memory() as peak, pytest.raises(ValueError):  # noqa: PT011
        with_facts(np.arange(6.0), **facts)
    assert peak() < 1_000_000


def test_bools_and_texts_that_are_none():
    for array, data in ((np.array([True]), b"\x02"), (np.array(["x"], ">U1"), b"\0\x11\0\0")):
        document, _ = document_of(array)
        with pytest.raises(ValueError, match="neither true nor false, or no text"):
            value_of(document, [data])
        assert value_of(document, [data.replace(b"\x02", b"\1").replace(b"\x11", b"\x10")])


def test_a_long_double_of_another_machine():
    with pytest.raises(UnreadableBlobError, match="another long double"):
        with_facts(np.ones(1, "g"), dtype="<f16:g112")


@pytest.mark.parametrize(("name", "place", "part"), [("MT19937", "pos", 10**6), ("Philox", "buffer_pos", -1)])
def test_places_in_a_state_are_within_it(name, place, part):
    document, buffers = document_of(getattr(np.random, name)(1))
    (way,) = [way for way in places(document) if way and way[-1] == place]
    with pytest.raises(ValueError, match="no state"):
        value_of(replaced(document, way, part), buffers)


def test_a_pool_as_large_as_a_number_says_is_not_made():
    document, buffers = document_of(np.random.SeedSequence(1))
    (way,) = [way for way in places(document) if way and way[-1] == "pool_size"]
    with pytest.raises(ValueError, match="no seed sequence"):
        value_of(replaced(document, way, 2**30), buffers)


SAMPLES = [
    np.arange(6.0).reshape(2, 3),
    np.zeros(3, [("a", "<i4"), ("b", "<f8", 2)]),
    np.array(["x", None, nan] * 30, object),
    np.array([1, [2]], object),
    np.float32(1),
    np.datetime64("2020"),
    np.str_("x"),
    np.ma.MaskedArray([1, 2], [0, 1], fill_value=3),
    np.random.default_rng(1),
    np.random.RandomState(1),
]


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_any_fact_may_be_anything(value):
    document, buffers = document_of(value)
    for way in list(places(document["value"]))[1:]:
        for junk in JUNK:
            with suppress(ValueError, UnreadableBlobError):
                value_of({**document, "value": replaced(document["value"], way, junk)}, buffers)
