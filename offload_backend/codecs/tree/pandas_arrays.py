"""What the columns and indexes of pandas consist of: its own arrays, one of which stands for NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from offload_backend.codecs.tree.facts import unshared
from offload_backend.codecs.tree.kinds import Json, Reader, Writer
from offload_backend.codecs.tree.numpy import array_facts, array_from
from offload_backend.codecs.tree.numpy_objects import FEW, elements_from, elements_of

__all__ = ["ArrayKind", "column_from", "require_bytes"]

_MASKED = {
    "b": pd.arrays.BooleanArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
}
_NOT_AVAILABLE = {"NA": pd.NA, "NaN": np.nan}


def column_from(node: Json, reader: Reader) -> Any:
    """What is in a column, from the node of its ``series.array``: an array of NumPy's, or one of pandas' own.

    Raises :class:`ValueError` for anything else.
    """
    array = reader.value(node)
    if not isinstance(array, pd.api.extensions.ExtensionArray):
        raise ValueError("no column")  # noqa: TRY004
    if type(array) is not pd.arrays.NumpyExtensionArray:
        return array
    return require_bytes(array.to_numpy())


def require_bytes(array: Any) -> Any:
    """The array; :class:`ValueError` if pandas would make objects of its elements, however many of no bytes."""
    if array.dtype.kind == "U" or not array.dtype.itemsize:
        raise ValueError("no column")
    return array


class ArrayKind:
    """The arrays of ``pandas.arrays``: facts are the ``type`` and the parts it is made of."""

    tag = "pandas.array"
    version = 1
    module = "pandas"
    needs = "pandas"

    def accepts(self, value: object) -> bool:
        """Others, to refuse them by name."""
        return isinstance(value, pd.api.extensions.ExtensionArray)

    def encode(self, value: Any, writer: Writer) -> Json:
        name = type(value).__name__ if type(value).__module__.partition(".")[0] == "pandas" else ""
        form = next((form for form, (classes, _, _) in _FORMS.items() if name in classes), None)
        if form is None:
            hint = "convert the column, .astype(object), or store what it is made of"
            writer.refuse(f"{type(value).__name__} is not an array of pandas' own", hint)
        return {"type": form} | _FORMS[form][1](value, writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        match facts:
            case {"type": str(form)} if form in _FORMS:
                return _FORMS[form][2](facts, reader)
        raise ValueError("no array of pandas")


def _numpy_apart(array: Any, writer: Writer) -> dict[str, Json]:
    return {"data": array_facts(array.to_numpy(copy=False), writer)}


def _numpy(facts: Any, reader: Reader) -> Any:
    return pd.arrays.NumpyExtensionArray(array_from(facts["data"], reader))


def _masked_apart(array: Any, writer: Writer) -> dict[str, Json]:
    # What lies below the mask comes along: the public ways to these arrays copy them.
    return {"data": array_facts(array._data, writer), "mask": array_facts(array._mask, writer)}  # noqa: SLF001


def _masked(facts: Any, reader: Reader) -> Any:
    data, mask = array_from(facts["data"], reader), array_from(facts["mask"], reader)
    return _MASKED[data.dtype.kind](data, mask)


def _text_apart(array: Any, writer: Writer) -> dict[str, Json]:
    missing = "NA" if array.dtype.na_value is pd.NA else "NaN"
    storage = array.dtype.storage
    facts: dict[str, Json] = {"storage": storage, "missing": missing}
    if storage == "pyarrow" and len(array) > FEW:
        return facts | {"arrow": writer.node(array.__arrow_array__(), ".array")}
    elements = array.to_numpy(dtype=object, na_value=None)
    return facts | {"count": len(elements)} | elements_of(elements, writer)


def _text(facts: Any, reader: Reader) -> Any:
    if facts["storage"] not in ("pyarrow", "python"):
        raise ValueError("no storage of texts")
    dtype = pd.StringDtype(facts["storage"], na_value=_NOT_AVAILABLE[facts["missing"]])
    if "arrow" in facts:
        if facts["storage"] != "pyarrow":
            raise ValueError("no texts in Arrow's memory")
        return _texts_of_arrow(dtype, facts["arrow"], reader)
    elements = elements_from(facts, facts["count"], reader)
    if not {str, type(None)}.issuperset(map(type, elements)):
        raise ValueError("no texts")
    return pd.array(elements, dtype=dtype, copy=False)


def _texts_of_arrow(dtype: Any, node: Json, reader: Reader) -> Any:
    """Other texts than those of ``large_string`` are copied, and other types might have no bytes at all."""
    import pyarrow as pa

    array = reader.value(node)
    if not isinstance(array, pa.ChunkedArray) or array.type not in (pa.large_string(), pa.string()):
        raise ValueError("no array of texts")
    if array.type == pa.string():
        unshared(node)
    return dtype.__from_arrow__(array)


def _arrow_apart(array: Any, writer: Writer) -> dict[str, Json]:
    return {"arrow": writer.node(array.__arrow_array__(), ".array")}


def _arrow(facts: Any, reader: Reader) -> Any:
    array = reader.value(facts["arrow"])
    return _from_arrow(pd.ArrowDtype(array.type), array)


def _from_arrow(dtype: Any, array: Any) -> Any:
    import pyarrow as pa

    if not isinstance(array, pa.ChunkedArray):
        raise ValueError("no array of Arrow's")  # noqa: TRY004
    return dtype.__from_arrow__(array)


def _categorical_apart(array: Any, writer: Writer) -> dict[str, Json]:
    categories = writer.node(array.categories, ".categories")
    return {"codes": array_facts(array.codes, writer), "categories": categories, "ordered": array.ordered}


def _categorical(facts: Any, reader: Reader) -> Any:
    dtype = pd.CategoricalDtype(reader.value(facts["categories"]), ordered=facts["ordered"])
    return pd.Categorical.from_codes(array_from(facts["codes"], reader), dtype=dtype)


def _moments_apart(array: Any, writer: Writer) -> dict[str, Json]:
    moments = array.asi8.view(f"M8[{array.unit}]")
    return {"data": array_facts(moments, writer), "zone": writer.node(array.tz, ".tz")}


def _moments(facts: Any, reader: Reader) -> Any:
    data, zone = array_from(facts["data"], reader), reader.value(facts["zone"])
    if data.dtype.kind != "M":
        raise ValueError("no moments")
    array = pd.array(data, copy=False)
    return array if zone is None else array.tz_localize("UTC").tz_convert(zone)


def _spans_apart(array: Any, writer: Writer) -> dict[str, Json]:
    return {"data": array_facts(array.view("i8").view(f"m8[{array.unit}]"), writer)}


def _spans(facts: Any, reader: Reader) -> Any:
    data = array_from(facts["data"], reader)
    if data.dtype.kind != "m":
        raise ValueError("no spans of time")
    return pd.array(data, copy=False)


def _periods_apart(array: Any, writer: Writer) -> dict[str, Json]:
    return {"data": array_facts(array.asi8, writer), "freq": array.freqstr}


def _periods(facts: Any, reader: Reader) -> Any:
    return pd.arrays.PeriodArray(array_from(facts["data"], reader), dtype=pd.PeriodDtype(facts["freq"]))


def _intervals_apart(array: Any, writer: Writer) -> dict[str, Json]:
    left, right = writer.node(array.left, ".left"), writer.node(array.right, ".right")
    return {"left": left, "right": right, "closed": array.closed}


def _intervals(facts: Any, reader: Reader) -> Any:
    left, right = reader.value(facts["left"]), reader.value(facts["right"])
    # A range would take memory only now, and of different types one would be copied.
    alike = isinstance(left, pd.Index) and type(left) is type(right) and left.dtype == right.dtype
    if not alike or isinstance(left, pd.RangeIndex | pd.MultiIndex):
        raise ValueError("no intervals")
    return pd.arrays.IntervalArray.from_arrays(left, right, facts["closed"], copy=False)


def _sparse_apart(array: Any, writer: Writer) -> dict[str, Json]:
    return {
        "values": array_facts(array.sp_values, writer),
        "indices": array_facts(array.sp_index.to_int_index().indices, writer),
        "length": array.sp_index.length,
        "kind": array.kind,
        "fill": writer.node(array.fill_value, ".fill_value"),
    }


def _sparse(facts: Any, reader: Reader) -> Any:
    values, indices = array_from(facts["values"], reader), array_from(facts["indices"], reader)
    length, kind, fill = facts["length"], facts["kind"], reader.value(facts["fill"])
    if indices.dtype != np.int32 or values.ndim != 1 or indices.shape != values.shape or type(length) is not int:
        raise ValueError("no sparse array")
    if len(indices) and (indices[0] < 0 or indices[-1] >= length or (np.diff(indices) <= 0).any()):
        raise ValueError("no places of a sparse array")
    if hasattr(pd.arrays.SparseArray, "from_indices"):
        return pd.arrays.SparseArray.from_indices(values, indices, length, fill, kind, values.dtype)
    return _sparse_before_3_1(values, indices, length, fill, kind)


def _sparse_before_3_1(values: Any, indices: Any, length: int, fill: Any, kind: str) -> Any:
    from pandas._libs.sparse import IntIndex  # it had no public name then

    index = IntIndex(length, indices)
    index = index.to_block_index() if kind == "block" else index
    dtype = pd.SparseDtype(values.dtype, fill)
    return pd.arrays.SparseArray(values, sparse_index=index, fill_value=fill, dtype=dtype)


_Apart = Callable[[Any, Writer], dict[str, Json]]
_Together = Callable[[Any, Reader], Any]

_FORMS: dict[str, tuple[set[str], _Apart, _Together]] = {
    "numpy": ({"NumpyExtensionArray"}, _numpy_apart, _numpy),
    "masked": ({"BooleanArray", "IntegerArray", "FloatingArray"}, _masked_apart, _masked),
    "text": (
        {"StringArray", "StringArrayNumpySemantics", "ArrowStringArray", "ArrowStringArrayNumpySemantics"},
        _text_apart,
        _text,
    ),
    "arrow": ({"ArrowExtensionArray"}, _arrow_apart, _arrow),
    "categorical": ({"Categorical"}, _categorical_apart, _categorical),
    "moments": ({"DatetimeArray"}, _moments_apart, _moments),
    "spans": ({"TimedeltaArray"}, _spans_apart, _spans),
    "periods": ({"PeriodArray"}, _periods_apart, _periods),
    "intervals": ({"IntervalArray"}, _intervals_apart, _intervals),
    "sparse": ({"SparseArray"}, _sparse_apart, _sparse),
}
"""In blobs for ever: the names; the classes have other ones in other versions of pandas."""
