"""The frames, series and indexes of pandas, column by column, around the memory of their columns.

A frame whose columns are one array is stored as that; else each column apart. Frames and series
come back around the memory that was read into; pandas itself joins columns of a type when it wants to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from offload_backend.codecs.tree.facts import exactly, unshared
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer
from offload_backend.codecs.tree.numpy import array_facts, array_from
from offload_backend.codecs.tree.pandas_arrays import ArrayKind, column_from, require_bytes
from offload_backend.codecs.tree.pandas_scalars import SCALAR_KINDS, freq_facts, freq_from
from offload_backend.codecs.tree.path import shown

__all__ = ["KINDS"]

_INDEXES = (
    *(pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex),
    *(pd.PeriodIndex, pd.IntervalIndex, pd.CategoricalIndex),
)


_LONG_RANGE = 2**26
"""Elements; pandas takes a byte for each to look at a level."""


class _PandasKind:
    version = 1
    module = "pandas"
    needs = "pandas"

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return self.made(exactly(facts, dict), reader)

    def made(self, facts: dict[str, Any], reader: Reader) -> Any:
        """The value. What pandas raises at parts that do not belong together, the codec tells as ``ValueError``."""
        raise NotImplementedError


class FrameKind(_PandasKind):
    """``pandas.DataFrame``: its columns' names, its index, and the ``block`` or the ``data`` of its columns."""

    tag = "pandas.dataframe"

    def accepts(self, value: object) -> bool:
        """Subclasses, to refuse them with a hint."""
        return isinstance(value, pd.DataFrame)

    def encode(self, value: Any, writer: Writer) -> Json:
        if type(value) is not pd.DataFrame:
            writer.refuse(f"{type(value).__name__} is a subclass of DataFrame", "store pandas.DataFrame(value)")
        facts = {"columns": writer.node(value.columns, ".columns"), "index": writer.node(value.index, ".index")}
        if _is_one_block(value):
            facts["block"] = array_facts(value.to_numpy(copy=False), writer)
        else:
            columns = enumerate(value.columns)
            facts["data"] = [
                writer.node(value.iloc[:, n].array, shown([name])[len("value") :]) for n, name in columns
            ]
        return facts | _more_facts(value, writer)

    def made(self, facts: dict[str, Any], reader: Reader) -> Any:
        columns, index = _index(facts["columns"], reader), _index(facts["index"], reader)
        if "block" in facts:
            block = require_bytes(array_from(facts["block"], reader))
            frame = pd.DataFrame(block, index=index, dtype=block.dtype, copy=False)
        else:
            series = (_series(column_from(part, reader), index) for part in facts["data"])
            frame = pd.DataFrame(dict(enumerate(series)), index=index, copy=False)
        if frame.shape != (len(index), len(columns)):
            raise ValueError("the columns are not as long as the index, or not as many as their names")
        frame.columns = columns
        return _with_more(frame, facts, reader)


class SeriesKind(_PandasKind):
    """``pandas.Series``."""

    tag = "pandas.series"

    def accepts(self, value: object) -> bool:
        """Subclasses, to refuse them with a hint."""
        return isinstance(value, pd.Series)

    def encode(self, value: Any, writer: Writer) -> Json:
        if type(value) is not pd.Series:
            writer.refuse(f"{type(value).__name__} is a subclass of Series", "store pandas.Series(value)")
        facts = {"index": writer.node(value.index, ".index"), "name": writer.node(value.name, ".name")}
        return facts | {"data": writer.node(value.array, ".array")} | _more_facts(value, writer)

    def made(self, facts: dict[str, Any], reader: Reader) -> Any:
        series = _series(column_from(facts["data"], reader), _index(facts["index"], reader))
        series.name = reader.value(facts["name"])
        return _with_more(series, facts, reader)


class IndexKind(_PandasKind):
    """All indexes that are one array; of which class they are, the array tells."""

    tag = "pandas.index"

    def accepts(self, value: object) -> bool:
        """Subclasses, to refuse them."""
        return isinstance(value, pd.Index) and not isinstance(value, pd.RangeIndex | pd.MultiIndex)

    def encode(self, value: Any, writer: Writer) -> Json:
        if type(value) not in _INDEXES:
            writer.refuse(f"{type(value).__name__} is a subclass of Index", "store pandas.Index(value)")
        facts = {"data": writer.node(value.array, ".array"), "name": writer.node(value.name, ".name")}
        if isinstance(value, pd.DatetimeIndex | pd.TimedeltaIndex) and value.freq is not None:
            facts["freq"] = freq_facts(value.freq, writer)
        return facts

    def made(self, facts: dict[str, Any], reader: Reader) -> Any:
        array = column_from(facts["data"], reader)
        index = pd.Index(array, dtype=array.dtype, copy=False)
        if "freq" in facts:
            index.freq = freq_from(facts["freq"])
        index.name = reader.value(facts["name"])
        return index


class RangeIndexKind(_PandasKind):
    """``pandas.RangeIndex``."""

    tag = "pandas.rangeindex"

    def accepts(self, value: object) -> bool:
        return type(value) is pd.RangeIndex

    def encode(self, value: Any, writer: Writer) -> Json:
        return {"range": [value.start, value.stop, value.step], "name": writer.node(value.name, ".name")}

    def made(self, facts: dict[str, Any], reader: Reader) -> Any:
        start, stop, step = (exactly(number, int) for number in facts["range"])
        return pd.RangeIndex(start, stop, step, name=reader.value(facts["name"]))


class MultiIndexKind(_PandasKind):
    """``pandas.MultiIndex``: levels, codes, names."""

    tag = "pandas.multiindex"

    def accepts(self, value: object) -> bool:
        return type(value) is pd.MultiIndex

    def encode(self, value: Any, writer: Writer) -> Json:
        if any(_is_long(level, len(value)) for level in value.levels):
            writer.refuse("a level that is a long range, most of it not used", "store value.remove_unused_levels()")
        return {
            "levels": [writer.node(level, f".levels[{number}]") for number, level in enumerate(value.levels)],
            "codes": [array_facts(np.asarray(codes), writer) for codes in value.codes],
            "names": [writer.node(name, f".names[{number}]") for number, name in enumerate(value.names)],
            "sorted": value.sortorder,
        }

    def made(self, facts: dict[str, Any], reader: Reader) -> Any:
        levels = [_index(level, reader) for level in facts["levels"]]
        codes = [array_from(codes, reader) for codes in facts["codes"]]
        if any(_is_long(level, len(array)) for level, array in zip(levels, codes, strict=True)):
            raise ValueError("a range that is longer than what it is a level of")
        return pd.MultiIndex(
            levels=levels,
            codes=codes,
            names=[reader.value(name) for name in facts["names"]],
            sortorder=facts["sorted"],
        )


def _is_long(level: Any, rows: int) -> bool:
    """Whether pandas would take more memory to check the level than there are bytes to pay for it."""
    return isinstance(level, pd.RangeIndex) and len(level) > max(_LONG_RANGE, rows)


def _is_one_block(frame: Any) -> bool:
    """Whether all columns lie in one array, which pandas then gives away as it is."""
    dtypes = set(frame.dtypes)
    if not len(frame) or frame.shape[1] < 2 or len(dtypes) != 1 or not isinstance(dtypes.pop(), np.dtype):  # noqa: PLR2004
        return False
    row = frame.iloc[:1]
    block = row.to_numpy(copy=False)
    return block.dtype != object and bool(np.may_share_memory(block, row.iloc[:, -1].to_numpy(copy=False)))


def _index(facts: Json, reader: Reader) -> Any:
    index = reader.value(facts)
    if isinstance(index, pd.Index):
        return index
    raise ValueError("no index")


def _series(array: Any, index: Any) -> Any:
    if array.ndim != 1 or len(array) != len(index):
        raise ValueError("the column is not as long as the index")
    return pd.Series(array, index=index, dtype=array.dtype, copy=False)


def _more_facts(value: Any, writer: Writer) -> dict[str, Json]:
    facts = {"attrs": writer.node(dict(value.attrs), ".attrs")} if value.attrs else {}
    return facts if value.flags.allows_duplicate_labels else facts | {"unique": True}


def _with_more(value: Any, facts: dict[str, Any], reader: Reader) -> Any:
    if "attrs" in facts:
        value.attrs = exactly(reader.value(unshared(facts["attrs"])), dict)
    if facts.get("unique") is True:
        value.flags.allows_duplicate_labels = False
    return value


KINDS: Sequence[Kind] = (
    *(FrameKind(), SeriesKind(), IndexKind(), RangeIndexKind(), MultiIndexKind(), ArrayKind()),
    *SCALAR_KINDS,
)
