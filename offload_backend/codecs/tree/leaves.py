"""Kinds of single values of Python's own that JSON does not hold, or not all of."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from offload_backend.codecs.tree.facts import exactly, fields
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer
from offload_backend.codecs.tree.moments import (
    date_facts,
    date_from,
    datetime_facts,
    datetime_from,
    offset_facts,
    offset_from,
    span_facts,
    span_from,
    time_facts,
    time_from,
    zone_facts,
    zone_from,
)
from offload_backend.errors import UnreadableBlobError

__all__ = ["LEAVES", "Leaf"]


class Leaf:
    """A kind for the exact types it names, made of two functions."""

    version = 1

    def __init__(
        self,
        tag: str,
        types: tuple[type, ...],
        encode: Callable[[Any, Writer], Json],
        decode: Callable[[Any, Reader], Any],
        *,
        library: str = "",
    ) -> None:
        self.tag = tag
        self.module = self.needs = library
        self.types = types
        self._encode = encode
        self._decode = decode

    def accepts(self, value: object) -> bool:
        """See :class:`~offload_backend.codecs.tree.kinds.Kind`."""
        return type(value) in self.types

    def encode(self, value: Any, writer: Writer) -> Json:
        """See :class:`~offload_backend.codecs.tree.kinds.Kind`."""
        return self._encode(value, writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:  # there is one
        """See :class:`~offload_backend.codecs.tree.kinds.Kind`."""
        return self._decode(facts, reader)


def _int_from(facts: Json, _: Reader) -> int:
    text = exactly(facts, str)
    number = int(text, 16)
    if hex(number) != text:
        raise ValueError("not the way an int is written")
    return number


def _float_from(facts: Json, _: Reader) -> float:
    (number,) = struct.unpack(">d", bytes.fromhex(exactly(facts, str)))
    return float(number)


def _complex_from(facts: Json, _: Reader) -> complex:
    return complex(*struct.unpack(">dd", bytes.fromhex(exactly(facts, str))))


def _text_from(facts: Json, _: Reader) -> str:
    return bytes.fromhex(exactly(facts, str)).decode("utf-8", "surrogatepass")


def _decimal_from(facts: Json, _: Reader) -> Decimal:
    number = Decimal(exactly(facts, str))
    if str(number) != facts:
        raise ValueError("not the way a Decimal is written")
    return number


def _fraction_from(facts: Json, _: Reader) -> Fraction:
    numerator, denominator = (_int_from(part, _) for part in fields(facts, 2))
    fraction = Fraction(numerator, denominator) if denominator > 0 else Fraction()
    if (fraction.numerator, fraction.denominator) != (numerator, denominator):
        raise ValueError("a fraction that is not in lowest terms")
    return fraction


def _uuid_facts(value: UUID, _: Writer) -> Json:
    return value.hex if value.is_safe is SafeUUID.unknown else [value.hex, value.is_safe.value]


def _uuid_from(facts: Json, _: Reader) -> UUID:
    if isinstance(facts, str):
        return UUID(hex=facts)
    digits, safety = fields(facts, 2)
    return UUID(hex=exactly(digits, str), is_safe=SafeUUID(safety))


_SLICES_DEEP = 8
_PATHS: dict[str, type[PurePosixPath | PureWindowsPath]] = {
    cls.__name__: cls for cls in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)
}


def _path_from(facts: Json, reader: Reader) -> Any:
    name, text = fields(facts, 2)
    text = exactly(reader.value(text), str)
    try:
        return _PATHS[exactly(name, str)](text)
    except NotImplementedError as error:
        raise UnreadableBlobError(
            f"the value holds a {name}, which this operating system has not",
            hint="read it where it was written, or store a PurePath",
        ) from error


def _range_from(facts: Json, reader: Reader) -> range:
    return range(*(exactly(reader.value(part), int) for part in fields(facts, 3)))


def _slice_facts(value: slice, writer: Writer) -> Json:
    if _has_more_slices(value, _SLICES_DEEP):
        writer.refuse(f"slices nested deeper than {_SLICES_DEEP} levels", "store start, stop and step in a tuple")
    return [writer.node(getattr(value, name), f".{name}") for name in ("start", "stop", "step")]


def _has_more_slices(value: slice, levels: int) -> bool:
    """Whether there are slices in it below so many levels: single values are not told apart, so each is written."""
    level = [value]
    for _ in range(levels):
        parts = (part for held in level for part in (held.start, held.stop, held.step) if type(part) is slice)
        level = list({id(part): part for part in parts}.values())
    return bool(level)


def _slice_from(facts: Json, reader: Reader) -> slice:
    return slice(*map(reader.value, fields(facts, 3)))


def _nothing_from(facts: Json, _: Reader) -> EllipsisType:
    fields(facts, 0)
    return ...


_ALL = (
    Leaf("int", (int,), lambda value, _: hex(value), _int_from),
    Leaf("float", (float,), lambda value, _: struct.pack(">d", value).hex(), _float_from),
    Leaf("str", (str,), lambda value, _: value.encode("utf-8", "surrogatepass").hex(), _text_from),
    Leaf("complex", (complex,), lambda value, _: struct.pack(">dd", value.real, value.imag).hex(), _complex_from),
    Leaf("decimal.decimal", (Decimal,), lambda value, _: str(value), _decimal_from),
    Leaf(
        "fractions.fraction",
        (Fraction,),
        lambda value, _: [hex(value.numerator), hex(value.denominator)],
        _fraction_from,
    ),
    Leaf("uuid.uuid", (UUID,), _uuid_facts, _uuid_from),
    Leaf(
        "pathlib.path",
        tuple(_PATHS.values()),
        lambda value, writer: [type(value).__name__, writer.node(str(value), "")],
        _path_from,
    ),
    Leaf(
        "range",
        (range,),
        lambda value, writer: [writer.node(part, "") for part in (value.start, value.stop, value.step)],
        _range_from,
    ),
    Leaf("slice", (slice,), _slice_facts, _slice_from),
    Leaf("ellipsis", (EllipsisType,), lambda *_: [], _nothing_from),
    Leaf("datetime.datetime", (datetime,), datetime_facts, datetime_from),
    Leaf("datetime.date", (date,), date_facts, date_from),
    Leaf("datetime.time", (time,), time_facts, time_from),
    Leaf("datetime.timedelta", (timedelta,), span_facts, span_from),
    Leaf("datetime.timezone", (timezone,), offset_facts, offset_from),
    Leaf("zoneinfo.zoneinfo", (ZoneInfo,), zone_facts, zone_from),
)

LEAVES: dict[type, Kind] = {cls: leaf for leaf in _ALL for cls in leaf.types}
"""For each exact type its kind. Values of these are not told apart by identity."""
