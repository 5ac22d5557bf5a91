"""NumPy's arrays.

An array whose elements lie one after another, in any order of its axes, goes to the wire from its own
memory, and comes back in the memory that was read into. Any other is copied as it goes, a piece at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from offload_backend.codecs.tree.facts import unshared
from offload_backend.codecs.tree.kinds import Json, Kind, Pieces, Reader, Writer
from offload_backend.codecs.tree.numpy_dtypes import DtypeKind, dtype_facts, dtype_from, numbers_from
from offload_backend.codecs.tree.numpy_objects import elements_from, elements_of
from offload_backend.codecs.tree.numpy_random import RANDOM_KINDS
from offload_backend.codecs.tree.numpy_scalars import ScalarKind

__all__ = ["KINDS", "array_facts", "array_from", "from_rows", "memory_of", "rows"]

PIECE = 4 * 1024 * 1024
"""Bytes copied at a time of an array that is not dense; as many as a frame takes."""

_SAFETENSORS = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<f2": "F16",
    "<u4": "U32",
    "<i4": "I32",
    "<f4": "F32",
    "<u8": "U64",
    "<i8": "I64",
    "<f8": "F64",
    "<c8": "C64",
}
_CLASSES = {"ndarray": np.ndarray, "matrix": np.matrix, "recarray": np.recarray}


def array_facts(array: Any, writer: Writer) -> dict[str, Json]:
    """The facts of an array: ``dtype``, ``shape``, ``order`` and its ``buffer``, or its ``elements``.

    ``order`` is ``C``, ``F``, or the axes from the slowest to the fastest.
    """
    array = np.ndarray.view(array, np.ndarray)
    facts: dict[str, Json] = {"dtype": dtype_facts(array.dtype, writer), "shape": list(array.shape)}
    facts["order"], dense = _laid_out(array)
    if array.dtype.hasobject:
        flat = (array if dense is None else dense).reshape(-1)
        return facts | elements_of(flat.astype(object, copy=False), writer)
    if not _is_sound(array):
        writer.refuse("an array whose bytes are no bools, or no text", "store its bytes: value.view('u1')")
    if dense is None:
        return facts | {"buffer": writer.buffer(Pieces(array.nbytes, lambda: _copied(array)))}
    word = _SAFETENSORS.get(array.dtype.str)
    if word is None:
        return facts | {"buffer": writer.buffer(memory_of(dense))}
    return facts | {"buffer": writer.buffer(memory_of(dense), dtype=word, shape=dense.shape)}


def array_from(facts: Json, reader: Reader) -> Any:
    """The array, around the memory of its buffer. :class:`ValueError` for facts of another making."""
    if not isinstance(facts, dict) or not {"dtype", "shape", "order"} <= facts.keys():
        raise ValueError("no array")
    dtype, shape, order = dtype_from(facts["dtype"]), numbers_from(facts["shape"]), _axes(facts)
    inner = tuple(shape[axis] for axis in order)
    if dtype.hasobject:
        array = elements_from(facts, prod(shape), reader).astype(dtype, copy=False).reshape(inner)
    else:
        array = _around(reader.buffer(facts.get("buffer")), dtype, inner)  # type: ignore[arg-type]  # it looks
    return array if order == sorted(order) else array.transpose(np.argsort(order))


def rows(facts: dict[str, Any], start: int, stop: int) -> tuple[int, int]:
    """Where in the buffer rows ``start`` to ``stop`` of an array begin and end, in bytes.

    Raises :class:`ValueError` for rows that it does not have, and for an array whose rows do not lie
    one after another.
    """
    dtype, shape, order = dtype_from(facts["dtype"]), numbers_from(facts["shape"]), _axes(facts)
    if dtype.hasobject or not shape or order[0] != 0 or not 0 <= start <= stop <= shape[0]:
        raise ValueError("the array has no such rows")
    size = dtype.itemsize * prod(shape[1:])
    return start * size, stop * size


def from_rows(facts: dict[str, Any], memory: memoryview, count: int) -> Any:
    """An array of ``count`` rows around the bytes that :func:`rows` told of."""
    dtype, shape, order = dtype_from(facts["dtype"]), numbers_from(facts["shape"]), _axes(facts)
    inner = (count, *(shape[axis] for axis in order[1:]))
    return _around(memory, dtype, inner).transpose(np.argsort(order))


def memory_of(dense: Any) -> memoryview:
    """The bytes of a C-contiguous array, as they lie."""
    if not dense.nbytes:
        return memoryview(b"")
    memory: memoryview = dense.reshape(-1).view(np.uint8).data
    return memory


def _laid_out(array: Any) -> tuple[Json, Any]:
    """The order of the axes in memory, and the array with its axes in that order; ``C`` and ``None`` if that
    does not make it C-contiguous.
    """
    if array.flags.c_contiguous:
        return "C", array
    if array.flags.f_contiguous:
        return "F", array.T
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    turned = array.transpose(axes)
    return (list(axes), turned) if turned.flags.c_contiguous else ("C", None)


def _axes(facts: dict[str, Any]) -> list[int]:
    order, count = facts["order"], len(facts["shape"])
    if order in ("C", "F"):
        return list(range(count))[:: 1 if order == "C" else -1]
    if isinstance(order, list) and list(map(type, order)) == [int] * count and sorted(order) == list(range(count)):
        return order
    raise ValueError("no order of axes")


def _copied(array: Any) -> Iterator[bytes]:
    """The elements in C order, as ``numpy.save`` takes them."""
    if array.nbytes:
        raw = array.view(f"V{array.itemsize}")  # whose copies are exact, between the fields too
        count = max(1, PIECE // array.itemsize)
        flags = ["external_loop", "buffered", "zerosize_ok"]
        for block in np.nditer(raw, flags=flags, buffersize=count, order="C"):
            yield block.tobytes()


def _around(memory: memoryview, dtype: Any, shape: tuple[int, ...]) -> Any:
    if len(memory) != prod(shape) * dtype.itemsize:
        raise ValueError("the buffer is not as large as its array")
    array = np.ndarray(shape, dtype, memory)
    if not _is_sound(array):
        raise ValueError("neither true nor false, or no text")
    return array


def _is_sound(array: Any) -> bool:
    """Whether bools are 0 or 1 and characters those of Unicode: NumPy and Python trust them, and would read or
    write where they must not.
    """
    if array.dtype.kind == "b":
        return bool(array.view(np.uint8).max(initial=0) <= 1)
    if array.dtype.kind == "U" and array.nbytes:
        character = array.dtype.byteorder + "u4"
        characters = array.view([("all", character, array.itemsize // 4)])["all"]
        return bool(characters.max() <= sys.maxunicode)
    return True


class ArrayKind:
    """``numpy.ndarray``, ``numpy.matrix`` and ``numpy.recarray``, and no other subclass."""

    tag = "numpy.ndarray"
    version = 1
    module = "numpy"
    needs = "numpy"

    def accepts(self, value: object) -> bool:
        """Subclasses, to refuse them with a hint."""
        return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)

    def encode(self, value: Any, writer: Writer) -> Json:
        """The facts of :func:`array_facts`, ``class`` for the two subclasses, and whether it is ``readonly``."""
        name = type(value).__name__
        if _CLASSES.get(name) is not type(value):
            hint = "store numpy.asarray(value): an array on the same memory"
            writer.refuse(f"a {name}, a subclass of ndarray, would come back as ndarray", hint)
        facts = array_facts(value, writer)
        if name != "ndarray":
            facts["class"] = name
        if not value.flags.writeable:
            facts["readonly"] = True
        return facts

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        array = array_from(facts, reader)
        assert isinstance(facts, dict)  # noqa: S101  # or array_from would have raised
        name = facts.get("class", "ndarray")
        if name not in _CLASSES or (name == "matrix" and array.ndim != 2):  # noqa: PLR2004
            raise ValueError("no class of arrays")
        array = array if name == "ndarray" else array.view(_CLASSES[name])
        if facts.get("readonly") is True:
            array.flags.writeable = False
        return array


class MaskedArrayKind:
    """``numpy.ma.MaskedArray``: data, mask, fill value, and whether the mask is hard."""

    tag = "numpy.ma.maskedarray"
    version = 1
    module = "numpy"
    needs = "numpy"

    def accepts(self, value: object) -> bool:
        """Subclasses, to refuse them with a hint."""
        return isinstance(value, np.ma.MaskedArray)

    def encode(self, value: Any, writer: Writer) -> Json:
        if value is np.ma.masked:
            return None
        if type(value) is not np.ma.MaskedArray:
            writer.refuse(f"{type(value).__name__} is a subclass of MaskedArray", "store value.data and value.mask")
        mask, fill = value.mask, getattr(value, "_fill_value", None)
        return {
            "data": writer.node(value.data, ".data"),
            "mask": None if mask is np.ma.nomask else writer.node(mask, ".mask"),
            "fill": None if fill is None else writer.node(fill, ".fill_value"),
            "hard": value.hardmask,
        }

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        if facts is None:
            return np.ma.masked
        if not isinstance(facts, dict) or facts.keys() != {"data", "mask", "fill", "hard"}:
            raise ValueError("no masked array")
        data, mask = (reader.value(unshared(facts[name])) for name in ("data", "mask"))
        fill = reader.value(facts["fill"])
        if not isinstance(data, np.ndarray) or not (mask is None or _is_mask_of(mask, data)):
            raise ValueError("no masked array")
        try:
            mask = np.ma.nomask if mask is None else mask
            return np.ma.MaskedArray(data, mask, fill_value=fill, hard_mask=facts["hard"] is True)
        except TypeError as error:
            raise ValueError("no masked array") from error


def _is_mask_of(mask: Any, data: Any) -> bool:
    """As NumPy has it already; else it would make one, of elements that may be many and of no bytes."""
    same = isinstance(mask, np.ndarray) and mask.shape == data.shape
    return same and bool(mask.dtype == np.ma.make_mask_descr(data.dtype))


KINDS: Sequence[Kind] = (
    *(ArrayKind(), ScalarKind(), MaskedArrayKind(), DtypeKind()),
    *RANDOM_KINDS,
)
