from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs.trees import JUNK, document_of, encoded, places, replaced, round_trip, value_of, with_facts

FORMATS = ["csr", "csc", "bsr", "coo", "dia", "lil", "dok"]
PARTS = ("data", "indices", "indptr", "offsets", "coords", "rows")
DTYPES = ["?", "i1", "u8", "f4", "f8", "g", "c8", "c16"]


def same(one, other):
    """The same arrays inside, type for type, not only the same elements."""
    assert type(one) is type(other)
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    for name in PARTS:
        left, right = getattr(one, name, None), getattr(other, name, None)
        for a, b in zip(left, right, strict=True) if isinstance(right, tuple) else [(left, right)]:
            if b is not None:
                assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape)
                assert a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
    if other.format == "dok":
        assert list(one.items()) == list(other.items())
        assert set(map(type, one.values())) == set(map(type, other.values()))


@st.composite
def arrays(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    dense = draw(hnp.arrays(dtype, shape, elements=st.sampled_from([0, 0, 1]).map(dtype.type), fill=st.nothing()))
    family = draw(st.sampled_from(["array", "matrix"]))
    value = getattr(sparse, f"coo_{family}")(dense)
    if draw(st.booleans()):
        value.data = value.data * 0  # zeros that are stored
    return value.asformat(draw(st.sampled_from(FORMATS)))


@given(arrays())
@settings(max_examples=500, deadline=None)
def test_every_format_comes_back(value):
    same(round_trip(value), value)


@pytest.mark.parametrize("form", ["csr", "coo", "dok"])
def test_one_dimension(form):
    value = sparse.coo_array(np.array([0.0, 1, 0, 2])).asformat(form)
    same(round_trip(value), value)


def test_three_dimensions_and_duplicates_out_of_order():
    coords = ([1, 0, 1], [0, 1, 0], [2, 0, 2])
    value = sparse.coo_array((np.array([1.0, 2.0, 3.0]), coords), shape=(2, 2, 3))
    same(round_trip(value), value)
    assert not round_trip(value).has_canonical_format


@pytest.mark.parametrize("integer", ["i4", "i8"])
def test_the_size_of_indices_is_kept_and_so_is_room_at_the_end(integer):
    indices, indptr = np.array([1, 0, 1, 0], integer), np.array([0, 1, 3], integer)
    value = sparse.csr_array((np.arange(4.0), indices[:4], indptr), shape=(2, 2))
    value.data, value.indices, value.indptr = np.arange(4.0), indices, indptr
    same(round_trip(value), value)


def test_a_dok_keeps_the_order_of_its_keys():
    value = sparse.dok_array((3, 3))
    for key in ((2, 1), (0, 0), (1, 2)):
        value[key] = 1.0
    same(round_trip(value), value)


def test_the_arrays_are_not_copied():
    value = sparse.csr_array(np.eye(100))
    sent = [np.frombuffer(piece, "u1") for piece in TreeCodec().encode(value) if isinstance(piece, memoryview)]
    for part in (value.data, value.indices, value.indptr):
        assert any(np.shares_memory(part, piece) for piece in sent)


class Subclass(sparse.csr_array):
    pass


def test_what_would_not_come_back_is_refused():
    with pytest.raises(UnsupportedValueError, match="Subclass is a subclass of SciPy's own") as caught:
        encoded({"x": Subclass((2, 2))})
    assert (caught.value.path, bool(caught.value.hint)) == ('value["x"]', True)
    odd = sparse.coo_array((2, 2))
    odd.data = np.array([], object)
    with pytest.raises(UnsupportedValueError, match="sparse array of object"):
        encoded(odd)


def changed(value, part, data):
    """What comes of a value if one of its arrays is another one."""
    document, buffers = document_of(value)
    made, more = document_of(np.asarray(data))
    if more:
        made["value"]["$"][2]["buffer"] += len(buffers)
    document["value"]["$"][2]["parts"][part] = made["value"]
    return value_of(document, buffers + more)


EYE = {form: sparse.eye_array(3, format=form) for form in FORMATS}
HOSTILE = [
    *(
        (form, "indices", np.array(bad, "i4"))
        for form in ("csr", "csc", "bsr")
        for bad in ([0, 1, 2**30], [0, 1, -1])
    ),
    *(
        (form, "indptr", np.array(bad, "i4"))
        for form in ("csr", "csc", "bsr")
        for bad in ([0, 1, 2, 9], [0, 3, 1, 3], [1])
    ),
    *((form, "indices", np.array([0, 1, 2.0])) for form in ("csr", "csc", "bsr", "lil")),
    *((form, "data", np.array([[1.0]])) for form in FORMATS if form != "dia"),
    *(
        (form, f"coords_{axis}", np.array(bad))
        for form in ("coo", "dok")
        for axis in (0, 1)
        for bad in ([0, 1, 3], [0, 1, -1], [0])
    ),
    *(("lil", "lengths", np.array(bad)) for bad in ([1, 1], [1, 1, 2], [-1, 2, 2], [2**62, 1, 1])),
    *(("lil", "indices", np.array(bad)) for bad in ([0, 1, 3], [0, 1, -1], [0])),
    *(("dia", "offsets", np.array(bad)) for bad in ([0, 0], [[0]], [0.5])),
    *((form, "data", np.array([1, "x", None], object)) for form in FORMATS),
]


@pytest.mark.parametrize(("form", "part", "data"), HOSTILE, ids=lambda part: str(part).replace("\n", ""))
def test_hostile_parts(form, part, data):
    with pytest.raises(ValueError):  # noqa: PT011
        changed(EYE[form], part, data)


@pytest.mark.parametrize(
    "facts",
    [{"shape": s} for s in ([2**62, 2**62], [-3, 3], [2, 2], [], None, [3.0, 3])]
    + [{"class": c} for c in ("eye_array", "linalg", None, "coo_array")],
    ids=str,
)
@pytest.mark.parametrize("form", FORMATS)
def test_hostile_facts(form, facts):
    harmless = [{"class": f"{form}_array"}]
    if form in ("coo", "dok", "dia"):
        harmless.append({"shape": [2**62, 2**62]})  # costs them nothing
    if form == "dia":
        harmless.append({"shape": [2, 2]})  # its arrays may be longer
    if facts in harmless:
        return
    with pytest.raises(ValueError):  # noqa: PT011
        with_facts(EYE[form], **facts)


@pytest.mark.parametrize("form", FORMATS)
def test_any_fact_may_be_anything(form):
    document, buffers = document_of(EYE[form])
    for way in list(places(document["value"]))[1:]:
        for junk in JUNK:
            with suppress(ValueError, UnreadableBlobError):
                value_of({**document, "value": replaced(document["value"], way, junk)}, buffers)
