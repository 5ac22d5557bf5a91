"""SciPy's sparse arrays and matrices, in all seven formats: the arrays they consist of, as NumPy's kinds hold them.

SciPy trusts indices and reads beyond its arrays where they are wrong, so what is read is checked in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from offload_backend.codecs.tree.facts import unshared
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer

__all__ = ["KINDS"]

_CLASSES = {
    f"{form}_{family}": getattr(sparse, f"{form}_{family}")
    for form in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")
    for family in ("array", "matrix")
}
_COMPRESSED = ("data", "indices", "indptr")
_COPYING = ("lil", "dok")
"""Formats whose arrays are not those of the parts."""


class SparseKind:
    """``scipy.sparse``: facts are the ``class``, the ``shape`` and the ``parts``, which depend on the format."""

    tag = "scipy.sparse"
    version = 1
    module = "scipy"
    needs = "scipy"

    def accepts(self, value: object) -> bool:
        """Subclasses, to refuse them with a hint."""
        return isinstance(value, sparse.sparray | sparse.spmatrix)

    def encode(self, value: Any, writer: Writer) -> Json:
        name = type(value).__name__
        if _CLASSES.get(name) is not type(value):
            writer.refuse(f"{name} is a subclass of SciPy's own", f"store scipy.sparse.{value.format}_array(value)")
        if value.dtype.kind not in "biufc":
            writer.refuse(f"a sparse array of {value.dtype}", "store it dense: value.toarray()")
        parts = _APART[value.format](value)
        nodes = {part: writer.node(array, f".{part}") for part, array in parts.items()}
        return {"class": name, "shape": list(value.shape), "parts": nodes}

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        match facts:
            case {"class": str(name), "shape": [*sizes], "parts": dict(nodes)} if name in _CLASSES:
                own = unshared if name[:3] in _COPYING else lambda node: node
                parts = {part: reader.value(own(node)) for part, node in nodes.items()}
            case _:
                raise ValueError("no sparse array")
        if not sizes or not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
            raise ValueError("no shape")
        return _TOGETHER[name[:3]](_CLASSES[name], tuple(sizes), parts)


def _array(parts: dict[str, Any], name: str, kinds: str, dimensions: int = 1) -> Any:
    array = parts[name]
    if type(array) is np.ndarray and array.ndim == dimensions and array.dtype.kind in kinds:
        return array
    raise ValueError(f"no {name} of a sparse array")


def _indices(parts: dict[str, Any], name: str, size: int) -> Any:
    """Integers from 0 to ``size``, without it."""
    array = _array(parts, name, "i")
    if len(array) and (array.min() < 0 or array.max() >= size):
        raise ValueError("an index beyond the shape")
    return array


def _compressed_apart(value: Any) -> dict[str, Any]:
    return {part: getattr(value, part) for part in _COMPRESSED}


def _compressed(cls: Any, shape: tuple[int, ...], parts: dict[str, Any]) -> Any:
    data = _array(parts, "data", "biufc", 3 if cls.__name__.startswith("bsr") else 1)
    indices, indptr = _array(parts, "indices", "i"), _array(parts, "indptr", "i")
    made = cls((data, indices, indptr), shape=shape)
    made.check_format(full_check=True)
    made.indices, made.indptr, made.data = indices, indptr, data  # it may have chosen other types for them
    return made


def _coo_apart(value: Any) -> dict[str, Any]:
    coords = {f"coords_{axis}": array for axis, array in enumerate(value.coords)}
    return coords | {"data": value.data, "canonical": bool(value.has_canonical_format)}


def _coo(cls: Any, shape: tuple[int, ...], parts: dict[str, Any]) -> Any:
    coords = tuple(_indices(parts, f"coords_{axis}", size) for axis, size in enumerate(shape))
    made = cls((_array(parts, "data", "biufc"), coords), shape=shape)
    made.coords = coords
    made.has_canonical_format = parts["canonical"] is True
    return made


def _dia_apart(value: Any) -> dict[str, Any]:
    return {"data": value.data, "offsets": value.offsets}


def _dia(cls: Any, shape: tuple[int, ...], parts: dict[str, Any]) -> Any:
    offsets = _array(parts, "offsets", "i")
    made = cls((_array(parts, "data", "biufc", 2), offsets), shape=shape)
    made.offsets = offsets
    return made


def _lil_apart(value: Any) -> dict[str, Any]:
    return {
        "lengths": np.fromiter(map(len, value.rows), np.int64, len(value.rows)),
        "indices": np.array([index for row in value.rows for index in row], np.int64),
        "data": np.array([item for row in value.data for item in row], value.dtype),
    }


def _lil(cls: Any, shape: tuple[int, ...], parts: dict[str, Any]) -> Any:
    data, lengths = _array(parts, "data", "biufc"), _array(parts, "lengths", "i")
    indices = _indices(parts, "indices", shape[-1])
    if len(lengths) != shape[0] or lengths.min(initial=0) < 0 or len(indices) != len(data):
        raise ValueError("the rows are not as long as said")
    made, start = cls(shape, dtype=data.dtype), 0
    for row, length in enumerate(lengths.tolist()):
        made.rows[row] = indices[start : start + length].tolist()
        made.data[row] = data[start : start + length].tolist()
        start += length
    if start != len(data):
        raise ValueError("the rows are not as long as said")
    return made


def _dok_apart(value: Any) -> dict[str, Any]:
    count = len(value.keys())
    keys = np.array(list(value.keys()), np.int64).reshape(count, value.ndim)
    coords = {f"coords_{axis}": keys[:, axis] for axis in range(value.ndim)}
    return coords | {"data": np.fromiter(value.values(), value.dtype, count)}


def _dok(cls: Any, shape: tuple[int, ...], parts: dict[str, Any]) -> Any:
    data = _array(parts, "data", "biufc")
    coords = [_indices(parts, f"coords_{axis}", size).tolist() for axis, size in enumerate(shape)]
    made = cls(shape, dtype=data.dtype)
    for key, item in zip(zip(*coords, strict=True) if len(shape) > 1 else coords[0], data, strict=True):
        made.setdefault(key, item)
    return made


_APART: dict[str, Callable[[Any], dict[str, Any]]] = {
    "csr": _compressed_apart,
    "csc": _compressed_apart,
    "bsr": _compressed_apart,
    "coo": _coo_apart,
    "dia": _dia_apart,
    "lil": _lil_apart,
    "dok": _dok_apart,
}
_TOGETHER: dict[str, Callable[[Any, tuple[int, ...], dict[str, Any]], Any]] = {
    "csr": _compressed,
    "csc": _compressed,
    "bsr": _compressed,
    "coo": _coo,
    "dia": _dia,
    "lil": _lil,
    "dok": _dok,
}

KINDS: Sequence[Kind] = (SparseKind(),)
