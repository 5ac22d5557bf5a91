"""NumPy's scalars."""

from __future__ import annotations

from typing import Any

import numpy as np

from offload_backend.codecs.tree.facts import exactly, fields
from offload_backend.codecs.tree.kinds import Json, Reader, Writer
from offload_backend.codecs.tree.numpy_dtypes import dtype_facts, dtype_from

__all__ = ["ScalarKind"]


class ScalarKind:
    """NumPy's scalars: ``[dtype, value]``, and ``[dtype, {"hex": bytes}]`` where JSON has no such value."""

    tag = "numpy.scalar"
    version = 1
    module = "numpy"
    needs = "numpy"

    def accepts(self, value: object) -> bool:
        return isinstance(value, np.generic)

    def encode(self, value: Any, writer: Writer) -> Json:
        """Subclasses of NumPy's scalars are refused."""
        if type(value) is np.str_ or type(value) is np.bytes_:
            plain = str.__str__(value) if type(value) is np.str_ else bytes(value)  # str() drops NULs at its end
            return [value.dtype.kind, writer.node(plain, ".item()")]
        if type(value) is not value.dtype.type:
            writer.refuse(f"{type(value).__name__} is no scalar of NumPy's own", "store value.item()")
        return [dtype_facts(value.dtype, writer), _plain(value)]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        dtype, value = fields(facts, 2)
        if dtype == "U":
            return np.str_(exactly(reader.value(value), str))
        if dtype == "S":
            return np.bytes_(exactly(reader.value(value), bytes))
        return _scalar(dtype_from(dtype), value)


def _plain(value: Any) -> Json:
    if value.dtype.kind in "biu" or (value.dtype.char in "efd" and np.isfinite(value)):
        plain: Json = value.item()
        return plain
    return {"hex": value.tobytes().hex()}


def _scalar(dtype: Any, value: Json) -> Any:
    if dtype.hasobject or dtype.subdtype is not None:
        raise ValueError("no scalar")
    if isinstance(value, dict):
        data = bytearray.fromhex(exactly(value.get("hex"), str))
        if len(data) != dtype.itemsize:
            raise ValueError("no scalar")
        return np.ndarray((), dtype, data)[()]
    if type(value) is not {"b": bool, "i": int, "u": int, "f": float}.get(dtype.kind):
        raise ValueError("no scalar")
    try:
        scalar = dtype.type(value)
    except OverflowError as error:
        raise ValueError("no scalar") from error
    if scalar.item() != value:
        raise ValueError("no scalar")
    return scalar
