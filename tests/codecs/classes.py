"""Classes of a user, in a module that can be imported."""

from __future__ import annotations

import enum
import subprocess  # noqa: F401  # what a module imports is not its own
from collections import namedtuple
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import pydantic

T = TypeVar("T")
CALLS: list[str] = []
"""What of the classes below was called."""


@dataclass
class Point:
    x: Any
    y: Any = 0
    norm: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        CALLS.append("Point")
        self.norm = 1.0

    @cached_property
    def cached(self) -> int:
        CALLS.append("cached")
        return 7


@dataclass(frozen=True)
class Frozen:
    x: Any
    y: Any = field(default=0, compare=False)


@dataclass(slots=True)
class Slots:
    x: Any
    y: Any = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything(Generic[T]):
    x: T
    never_set: int = field(init=False)


@dataclass
class Child(Point):
    z: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        CALLS.append(f"set {name}")
        super().__setattr__(name, value)


@dataclass(eq=False)
class Node:
    children: set[Node] = field(default_factory=set)
    parent: Node | None = None


@dataclass
class DictToo(dict):  # type: ignore[type-arg]
    x: int = 0


class Pair(NamedTuple):
    left: Any
    right: Any = None


class PairToo(namedtuple("PairToo", "left right")):  # noqa: PYI024, SLOT002
    """Has a ``__dict__`` of its own."""


class PairOfThree(tuple):  # noqa: SLOT001
    """Says of itself that it is a named tuple."""

    _fields = ("left", "right")


@dataclass(unsafe_hash=True)
class Key:
    """May change while it is a key."""

    x: Any


class Obliging(type):
    def __getattr__(cls, name: str) -> int:
        return 5


class Anything(metaclass=Obliging):
    """Its class says that it has every attribute."""


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> int:
        return 1


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("b", 3)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(str, enum.Enum):
    YES = "yes"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", arbitrary_types_allowed=True)

    a: int
    b: Any = None
    _secret: Any = pydantic.PrivateAttr(default=1)

    @pydantic.field_validator("a")
    @classmethod
    def _validated(cls, value: int) -> int:
        CALLS.append("validated")
        return value


class Many(pydantic.RootModel[list[Any]]):
    pass


@attrs.define
class Defined:
    x: Any
    y: Any = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        CALLS.append("Defined")


@attrs.frozen(cache_hash=True)
class Hashed:
    x: Any


@attrs.define(slots=False)
class Loose:
    x: Any


class Outer:
    class Inner(NamedTuple):
        x: Any


class Plain:
    """Of no family."""


class Text(str):  # noqa: SLOT000
    pass


class Mine(list):  # type: ignore[type-arg]
    pass
