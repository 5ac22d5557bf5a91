"""The scalars of pandas: moments, spans, periods, intervals, what is missing; its offsets and dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd

from offload_backend.codecs.tree.facts import exactly, fields
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer

__all__ = ["SCALAR_KINDS", "freq_facts", "freq_from"]

_UNITS = ("s", "ms", "us", "ns")


class _PandasKind:
    version = 1
    module = "pandas"
    needs = "pandas"
    type: type

    def accepts(self, value: object) -> bool:
        return type(value) is self.type


class _ConstantKind(_PandasKind):
    """A value of which there is one."""

    def __init__(self, tag: str, value: Any) -> None:
        self.tag = tag
        self._value = value

    def accepts(self, value: object) -> bool:
        return value is self._value

    def encode(self, value: Any, writer: Writer) -> Json:
        return None

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return self._value


class TimestampKind(_PandasKind):
    """``pandas.Timestamp``: since 1970 in UTC, the unit, the time zone and the fold."""

    tag = "pandas.timestamp"
    type = pd.Timestamp

    def encode(self, value: Any, writer: Writer) -> Json:
        return [int(value.asm8.view("i8")), value.unit, writer.node(value.tz, ".tz"), value.fold]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        number, unit, node, fold = fields(facts, 4)
        moment, zone = pd.Timestamp(_in_unit(np.datetime64, number, unit)), reader.value(node)
        if moment is pd.NaT or not (zone is None or isinstance(zone, tzinfo)):
            raise ValueError("no moment")
        moment = moment if zone is None else moment.tz_localize("UTC").tz_convert(zone)
        return moment if moment.fold == fold else moment.replace(fold=exactly(fold, int))


class TimedeltaKind(_PandasKind):
    """``pandas.Timedelta``, with its unit."""

    tag = "pandas.timedelta"
    type = pd.Timedelta

    def encode(self, value: Any, writer: Writer) -> Json:
        return [int(value.asm8.view("i8")), value.unit]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        span = pd.Timedelta(_in_unit(np.timedelta64, *fields(facts, 2)))
        if span is pd.NaT:
            raise ValueError("no span of time")
        return span


class PeriodKind(_PandasKind):
    """``pandas.Period``."""

    tag = "pandas.period"
    type = pd.Period

    def encode(self, value: Any, writer: Writer) -> Json:
        return [value.ordinal, pd.PeriodDtype(value.freq).name]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        ordinal, name = fields(facts, 2)
        dtype = pd.PeriodDtype.construct_from_string(exactly(name, str))
        return pd.Period(ordinal=exactly(ordinal, int), freq=dtype.freq)


class IntervalKind(_PandasKind):
    """``pandas.Interval``."""

    tag = "pandas.interval"
    type = pd.Interval

    def encode(self, value: Any, writer: Writer) -> Json:
        return [writer.node(value.left, ".left"), writer.node(value.right, ".right"), value.closed]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        left, right, closed = fields(facts, 3)
        return pd.Interval(reader.value(left), reader.value(right), closed)


class OffsetKind(_PandasKind):
    """The offsets of ``pandas.offsets`` that a text tells in full: ``3ME``, ``W-SUN``."""

    tag = "pandas.offset"

    def accepts(self, value: object) -> bool:
        """All others, to refuse them."""
        return isinstance(value, pd.tseries.offsets.BaseOffset)

    def encode(self, value: Any, writer: Writer) -> Json:
        return freq_facts(value, writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return freq_from(facts)


class DtypeKind(_PandasKind):
    """The dtypes of pandas, as an array of no elements."""

    tag = "pandas.dtype"

    def accepts(self, value: object) -> bool:
        return isinstance(value, pd.api.extensions.ExtensionDtype)

    def encode(self, value: Any, writer: Writer) -> Json:
        return writer.node(pd.array([], dtype=value), "")

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        array = reader.value(facts)
        if isinstance(array, pd.api.extensions.ExtensionArray):
            return array.dtype
        raise ValueError("no dtype")


def freq_facts(offset: Any, writer: Writer) -> str:
    """The text of an offset, if it tells all of it."""
    text: str = offset.freqstr
    try:
        same = freq_from(text) == offset
    except ValueError:
        same = False
    if not same:
        writer.refuse(f"the offset {text} has parts that its text does not tell", "store value.kwds, or no freq")
    return text


def freq_from(facts: Json) -> Any:
    """The offset of this text. Raises :class:`ValueError` if there is none."""
    return pd.tseries.frequencies.to_offset(exactly(facts, str))


def _in_unit(scalar: Any, number: Json, unit: Json) -> Any:
    if unit not in _UNITS or type(number) is not int or not -(2**63) < number < 2**63:
        raise ValueError("no moment or span")
    return scalar(number, unit)


SCALAR_KINDS: Sequence[Kind] = (
    *(_ConstantKind("pandas.nat", pd.NaT), _ConstantKind("pandas.na", pd.NA)),
    *(TimestampKind(), TimedeltaKind(), PeriodKind(), IntervalKind(), OffsetKind(), DtypeKind()),
)
