"""Trees of few bytes that once asked for much: ``python -m tests.hostile.bombs`` reads each where memory is short.

It prints what became of each, as JSON. A process of its own, so that the limit is its own as well.
"""

from __future__ import annotations

import io
import json
import resource
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse  # noqa: F401  # imported before memory is limited

from offload_backend.errors import UnreadableBlobError
from tests.codecs.trees import encoded, value_of

SPARE = 768 * 2**20
"""Bytes that reading a bomb may take; each of them took more, or for ever."""

MANY, HUGE, PRIME = 2**20, 2**33, 2**61 - 1
Bomb = tuple[dict[str, Any], list[bytes]]


def ref(number: int) -> Any:
    return {"$": ["ref", 1, number]}


def tagged(tag: str, facts: Any) -> Any:
    return {"$": [tag, 1, facts]}


def facts_of(number: int, dtype: Any, *shape: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "order": "C", "buffer": number}


def array(number: int, dtype: Any, *shape: int) -> Any:
    return tagged("numpy.ndarray", facts_of(number, dtype, *shape))


def masked(data: Any, mask: Any) -> Any:
    return tagged("numpy.ma.maskedarray", {"data": data, "mask": mask, "fill": None, "hard": False})


def span(length: int) -> Any:
    return tagged("pandas.rangeindex", {"range": [0, length, 1], "name": None})


def column(number: int, dtype: str, *shape: int) -> Any:
    return tagged("pandas.array", {"type": "numpy", "data": facts_of(number, dtype, *shape)})


def index(data: Any) -> Any:
    return tagged("pandas.index", {"data": data, "name": None})


def frame(width: int, height: int, dtype: str) -> Any:
    block = facts_of(0, dtype, height, width)
    return tagged("pandas.dataframe", {"columns": span(width), "index": span(height), "block": block})


def texts(storage: str) -> Any:
    return tagged("pandas.array", {"type": "text", "storage": storage, "missing": "NA", "arrow": ref(0)})


def intervals(left: Any, right: Any) -> Any:
    return tagged("pandas.array", {"type": "intervals", "left": left, "right": right, "closed": "left"})


def stream(data: Any) -> bytes:
    batch = pa.RecordBatch.from_arrays([data], names=[""])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def of_numpy() -> dict[str, Bomb]:
    masks = [masked(ref(0), ref(1))] * 1000
    found: dict[str, Bomb] = {
        "a mask of another type, shared": (
            {"value": masks, "shared": [array(0, "|u1", MANY), array(1, "|i1", MANY)]}, [bytes(MANY)] * 2,
        ),
        "seeds that take long to mix": (
            {"value": [tagged("numpy.random.seedsequence", {
                "entropy": 0, "spawn_key": tagged("tuple", []), "pool_size": 1024, "n_children_spawned": 0,
            })] * 10_000}, [],
        ),
    }  # fmt: skip
    for dtype in ("<U0", "|S0", "|V0"):
        both = masked(array(0, dtype, HUGE), array(1, dtype, HUGE))
        found[f"a mask of nothing, {dtype}"] = ({"value": both}, [b"", b""])
        found[f"an index of nothing, {dtype}"] = ({"value": index(column(0, dtype, HUGE))}, [b""])
        found[f"a frame of nothing, {dtype}"] = ({"value": frame(2, HUGE, dtype)}, [b""])
    return found


def of_pandas() -> dict[str, Bomb]:
    attributes = {str(number): 0 for number in range(100_000)}
    series = tagged("pandas.series", {"data": ref(0), "index": ref(1), "name": None, "attrs": ref(2)})
    levels = {"levels": [span(HUGE)], "codes": [facts_of(0, "|i1", 1)], "names": [None], "sorted": None}
    indexes = [index(column(0, "<i8", MANY)), index(column(1, "<f8", MANY))]
    words = [tagged("pyarrow.chunkedarray", 0)]
    return {
        "attributes, shared": (
            {"value": [series] * 1000, "shared": [column(0, "<i8", 1), span(1), attributes]}, [bytes(8)],
        ),
        "intervals of ranges": ({"value": intervals(span(2**30), span(2**30))}, []),
        "intervals of two types, shared": (
            {"value": [intervals(ref(0), ref(1))] * 1000, "shared": indexes}, [bytes(8 * MANY)] * 2,
        ),
        "a level that is a range": ({"value": tagged("pandas.multiindex", levels)}, [b"\0"]),
        "texts that are nulls": ({"value": texts("pyarrow"), "shared": words}, [stream(pa.nulls(2**31 - 1))]),
        "texts as objects, shared": (
            {"value": [texts("python")] * 1000, "shared": words}, [stream(pa.array(["x"] * 100_000))],
        ),
        "texts with short offsets, shared": (
            {"value": [texts("pyarrow")] * 1000, "shared": words}, [stream(pa.array(["x"] * 1_000_000))],
        ),
    }  # fmt: skip


def of_the_rest() -> dict[str, Bomb]:
    parts = {"data": ref(0), "lengths": ref(1), "indices": ref(2)}
    rows = tagged("scipy.sparse", {"class": "lil_array", "shape": [1, MANY], "parts": parts})
    shared = [array(0, "<i8", MANY), array(1, "<i8", 1), array(2, "<i8", MANY)]
    doubled = [tagged("tuple", [ref(number + 1), ref(number + 1)]) for number in range(60)] + [tagged("tuple", [])]
    heavy = [tagged("tuple", [ref(n + 1), ref(n + 1)]) for n in range(28)] + [tagged("tuple", [])]
    many = [tagged("tuple", [ref(0), number]) for number in range(1000)]
    ordered = tagged("collections.ordereddict", [[], [], ref(0)])
    tuples = [tagged("tuple", list(each)) for each in product([-1, -2], repeat=14)]
    sparse_buffers = [bytes(8 * MANY), MANY.to_bytes(8, "little"), bytes(8 * MANY)]
    return {
        "rows of a sparse array, shared": (
            {"value": [rows] * 100, "shared": shared}, sparse_buffers,
        ),
        "attributes of dicts, shared": (
            {"value": [ordered] * 1000, "shared": [{str(number): 0 for number in range(100_000)}]}, [],
        ),
        "ints of one hash": (
            {"value": tagged("set", [tagged("int", hex(PRIME * n)) for n in range(1, 20_000)])}, [],
        ),
        "keys of one hash": ({"value": tagged("dict", [tuples, [0] * len(tuples)])}, []),
        "tuples of one hash": ({"value": tagged("set", tuples)}, []),
        "a tuple of two of two of two": ({"value": tagged("set", [ref(0)]), "shared": doubled}, []),
        "many of a tuple of two of two": ({"value": tagged("set", many), "shared": heavy}, []),
        "many sets of a tuple of two of two": (
            {"value": [tagged("set", [each]) for each in many], "shared": heavy}, [],
        ),
        "a buffer beyond its message": _overlong_polars(),
    }  # fmt: skip


def _overlong_polars() -> Bomb:
    sink = io.BytesIO()
    pl.DataFrame({"a": ["a text that is not short"]}).write_ipc_stream(sink, compat_level=pl.CompatLevel.newest())
    data = sink.getvalue().replace((24).to_bytes(8, "little"), (2**45).to_bytes(8, "little"))
    return {"value": tagged("polars.dataframe", {"buffer": 0, "streams": [len(data)]})}, [data]


BOMBS: list[Callable[[], dict[str, Bomb]]] = [of_numpy, of_pandas, of_the_rest]


def main() -> None:
    encoded(pd.DataFrame({"a": ["x"]}))
    found = {name: bomb for group in BOMBS for name, bomb in group().items()}
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE,) * 2)
    outcomes = {}
    for name, (document, buffers) in found.items():
        try:
            outcomes[name] = f"a value: {type(value_of(document, buffers))}"
        except (ValueError, UnreadableBlobError) as error:
            outcomes[name] = f"refused: {error}"
        except BaseException as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
