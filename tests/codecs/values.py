"""What the tests of codecs generate, and how they compare: type for type, bit for bit, object for object."""

from __future__ import annotations

import array
import enum
import pathlib
import struct
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from math import isnan
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree import TreeCodec
from offload_backend.codecs.tree.allowed import AllowedClasses
from tests.codecs.classes import (
    Access,
    Bits,
    Colour,
    Defined,
    Everything,
    Frozen,
    Level,
    Model,
    Pair,
    Point,
    Slots,
    Word,
)

QUICK = settings(
    max_examples=100, deadline=None, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow]
)
THOROUGH = settings(QUICK, max_examples=400)
CODEC = TreeCodec(AllowedClasses(["tests.codecs.classes.*"]))
ZONES = [
    timezone.utc,
    timezone(timedelta(hours=-3)),
    timezone(timedelta(minutes=1), "One"),
    ZoneInfo("Europe/Berlin"),
]


def encoded(value: Any, codec: TreeCodec = CODEC) -> bytearray:
    return bytearray().join(codec.encode(value))


def decoded(data: bytes | bytearray, codec: TreeCodec = CODEC) -> Any:
    return codec.decode(HeldSource(bytearray(data)))


def returned(value: Any, codec: TreeCodec = CODEC) -> Any:
    """The value once it was stored and read, as a file and as a text, which must agree."""
    text = codec.inline_text(value)
    assert text is not None
    from_file, from_text = decoded(encoded(value, codec), codec), codec.value_of_inline(text)
    assert portrait(from_file) == portrait(from_text)
    return from_file


def assert_kept(value: Any, codec: TreeCodec = CODEC) -> Any:
    before = portrait(value)
    back = returned(value, codec)
    assert portrait(back) == before
    assert portrait(value) == before
    return back


def portrait(value: Any) -> Any:
    """What is all there is to say about a value, so that two values are the same if their portraits are equal."""
    return _portrait(value, {})


_ATOMS = (type(None), bool, int, str, bytes, range, Decimal, Fraction, types.EllipsisType)


def _portrait(value: Any, met: dict[int, int]) -> Any:  # noqa: PLR0911
    cls = type(value)
    if cls is float:
        return cls, struct.pack(">d", value)
    if cls is complex:
        return cls, struct.pack(">dd", value.real, value.imag)
    if cls in _ATOMS or isinstance(value, (enum.Enum, pathlib.PurePath)):
        return cls, str(value) if cls is Decimal else value
    if cls is UUID:
        return cls, value, value.is_safe
    if isinstance(value, (date, time, timedelta, timezone, ZoneInfo)):
        return cls, repr(value), getattr(value, "fold", None), _portrait(getattr(value, "tzinfo", None), met)
    if not isinstance(value, (tuple, frozenset, slice)):
        if id(value) in met:
            return "met", met[id(value)]
        met[id(value)] = len(met)
    return cls, *(_portrait(part, met) if type(part) is not str else part for part in _parts(value, met))


def _parts(value: Any, met: dict[int, int]) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (part for entry in value.items() for part in entry)
    elif isinstance(value, (set, frozenset)):
        yield tuple(sorted(repr(_portrait(part, met)) for part in value))
    elif isinstance(value, (list, tuple, deque)):
        yield from value
    elif isinstance(value, memoryview):
        yield from (value.format or "", value.shape, value.readonly, value.tobytes())
    elif isinstance(value, array.array):
        yield from (value.typecode, tuple(value))  # a list made here would lend its id to the next one
    elif isinstance(value, bytearray):
        yield bytes(value)
    elif isinstance(value, slice):
        yield from (value.start, value.stop, value.step)
    elif not hasattr(value, "__dict__") and not hasattr(type(value), "__slots__"):
        yield repr(value)
    yield from _state(value)


def _state(value: Any) -> Iterator[Any]:
    if isinstance(value, defaultdict):
        yield str(value.default_factory)
    if isinstance(value, deque):
        yield value.maxlen
    if hasattr(value, "__dict__"):
        yield from (part for entry in vars(value).items() for part in entry)
    for base in type(value).__mro__:
        for name, slot in vars(base).items() if "__slots__" in vars(base) else ():
            if isinstance(slot, types.MemberDescriptorType):
                with suppress(AttributeError):  # it was never set
                    yield from (slot.__get__(value), name)


texts = st.text(st.characters(exclude_categories=()), max_size=12)
"""Lone surrogates included."""
bits = st.binary(min_size=8, max_size=8).map(lambda data: struct.unpack(">d", data)[0])
floats = st.floats() | bits | st.sampled_from([-0.0, float("inf"), float("-inf"), float("nan")])
folds = st.sampled_from([0, 0, 0, 1])
zones = st.none() | st.sampled_from(ZONES)
moments = st.builds(lambda value, fold: value.replace(fold=fold), st.datetimes(timezones=zones), folds)
times = st.builds(lambda value, fold: value.replace(fold=fold), st.times(timezones=zones), folds)
offsets = st.builds(
    lambda microseconds, name: timezone(timedelta(microseconds=microseconds), *name),
    st.integers(-86_399_999_999, 86_399_999_999),
    st.lists(texts, max_size=1),
)
paths = st.builds(
    lambda cls, text: cls(text),
    st.sampled_from([pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=8),
)
decimals = st.decimals() | st.sampled_from(["-0.00", "sNaN12", "-NaN", "1E+999999", "Infinity"]).map(Decimal)
members = st.sampled_from(
    [Colour.RED, Colour.BLUE, Level.LOW, Word.YES, Access.READ | Access.WRITE, Access(0), Bits(3)]
)
hashables = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | texts
    | st.binary(max_size=200)
    | floats.filter(lambda number: not isnan(number))
    | moments
    | times
    | st.dates()
    | st.timedeltas()
    | offsets
    | st.sampled_from(ZONES)
    | st.fractions()
    | st.uuids()
    | paths
    | members
    | st.just(...)
)
arrays = st.builds(array.array, st.sampled_from("bBhHiIlLqQ"), st.lists(st.integers(0, 127), max_size=6))
leaves = (
    hashables
    | floats
    | decimals
    | st.complex_numbers()
    | st.builds(range, st.integers(), st.integers(), st.integers(1, 2**65))
    | st.binary(max_size=200).map(bytearray)
    | st.binary(max_size=200).map(memoryview)
    | arrays
)
keys = (
    hashables
    | st.tuples(hashables, hashables)
    | st.frozensets(hashables, max_size=3)
    | st.builds(Frozen, hashables)
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Everything that holds something."""
    lists, entries = st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)
    return (
        lists
        | st.dictionaries(texts | st.just("$"), inner, max_size=4)
        | entries
        | lists.map(tuple)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | entries.map(OrderedDict)
        | st.builds(defaultdict, st.sampled_from([None, list, int, dict, Counter]), entries)
        | st.builds(deque, lists, st.none() | st.integers(4, 2**40))
        | st.lists(keys, max_size=5).map(Counter)
        | st.builds(slice, inner, inner, inner)
        | st.builds(Pair, inner, inner)
        | st.builds(Point, inner, inner)
        | st.builds(Frozen, inner, inner)
        | st.builds(Slots, inner)
        | st.builds(Everything, x=inner)
        | st.builds(Defined, inner)
        | st.builds(lambda a, b, extra: Model(a=a, b=b, extra=extra), st.integers(), inner, inner)
        | st.builds(lambda one, other: [one, {"again": one}, (other, one)], inner, inner)
    )


values = st.recursive(leaves, containers, max_leaves=20)
"""Any nesting of all that Python itself brings, and of classes."""
