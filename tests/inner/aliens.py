"""Values that JSON cannot hold exactly: each must be refused wherever it is."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import itertools
import math
import types
import uuid
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import orjson


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Items(list):
    pass


class Entries(dict):
    pass


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 1


class Word(str, enum.Enum):
    A = "a"


class Flags(enum.Flag):
    A = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Record:
    x: int


@dataclasses.dataclass(frozen=True)
class Key:
    x: int


class Unsteady:
    """A key whose hash is another one each time."""

    hashes = itertools.count()

    def __hash__(self) -> int:
        return next(self.hashes)

    def __eq__(self, other: object) -> bool:
        return self is other


ALIENS: dict[str, Any] = {
    "tuple": (1, 2),
    "empty tuple": (),
    "namedtuple": Point(1, 2),
    "set": {1},
    "frozenset": frozenset({1}),
    "bytes": b"x",
    "bytearray": bytearray(b"x"),
    "memoryview": memoryview(b"x"),
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
    "naive datetime": dt.datetime(2026, 1, 1),  # noqa: DTZ001 - naive on purpose
    "date": dt.date(2026, 1, 1),
    "time": dt.time(1, 2),
    "timedelta": dt.timedelta(1),
    "Decimal": decimal.Decimal("1.0"),
    "Fraction": fractions.Fraction(1, 2),
    "complex": 1j,
    "UUID": uuid.UUID(int=1),
    "Enum": Colour.RED,
    "IntEnum": Level.HIGH,
    "str Enum": Word.A,
    "Flag": Flags.A,
    "str subclass": Text("x"),
    "int subclass": Whole(1),
    "float subclass": Real(1.5),
    "list subclass": Items([1]),
    "dict subclass": Entries(a=1),
    "OrderedDict": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(int, a=1),
    "Counter": collections.Counter("a"),
    "deque": collections.deque([1]),
    "mapping proxy": types.MappingProxyType({"a": 1}),
    "range": range(3),
    "generator": (n for n in ()),
    "dataclass": Record(1),
    "dataclass type": Record,
    "function": math.sin,
    "object": object(),
    "Ellipsis": ...,
    "path": PurePosixPath("a"),
    "Fragment": orjson.Fragment(b"[1]"),
    "broken Fragment": orjson.Fragment(b'"'),
    "np.float64": np.float64(1.5),
    "np.float32": np.float32(1.5),
    "np.int64": np.int64(1),
    "np.bool": np.bool_(True),
    "np.str": np.str_("x"),
    "np.datetime64": np.datetime64("2026-01-01"),
    "ndarray": np.arange(3),
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "lone surrogate": "a\ud800b",
    "lone low surrogate": "\udfff",
    "surrogate pair in two": "\ud83d\ude00",
    "int of 65 bits": 2**64,
    "negative int of 65 bits": -(2**63) - 1,
    "huge int": 10**400,
    "int key": {1: "a"},
    "float key": {1.5: "a"},
    "None key": {None: "a"},
    "bool key": {True: "a"},
    "tuple key": {(1,): "a"},
    "bytes key": {b"a": "a"},
    "enum key": {Word.A: "a"},
    "date key": {dt.date(2026, 1, 1): "a"},
    "UUID key": {uuid.UUID(int=1): "a"},
    "str subclass key": {Text("x"): "a"},
    "np.str key": {np.str_("x"): "a"},
    "object key": {Key(1): "a"},
    "surrogate key": {"\ud800": "a"},
    "int key after good ones": {"a": 1, "b": [1], 3: "c"},
    "keys that would collide": {"1": "a", 1: "b"},
}
