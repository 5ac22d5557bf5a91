"""Kinds of objects whose classes are the user's: they come back only if the class is named in an allow-list.

An object is made without calling its class, and gets the very state that it had: neither ``__init__`` nor
``__post_init__`` runs, no default is computed, no property set.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from enum import Enum, Flag
from types import MemberDescriptorType
from typing import Any

from offload_backend.codecs.tree.facts import exactly, fields
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer
from offload_backend.errors import UnreadableBlobError

__all__ = ["CLASSES", "ENUM", "state_nodes"]

_HEAP_TYPE = 1 << 9
_POINTER = 8
_UNSET = object()
_PYDANTIC = "__pydantic_"
_CACHED_HASH = "_attrs_cached_hash"


class EnumMember:
    """The name of a member, or for a combination of flags its number."""

    tag = "enum"
    version = 1
    module = ""
    needs = ""

    def accepts(self, value: object) -> bool:
        return isinstance(value, Enum)

    def encode(self, value: Enum, writer: Writer) -> Json:
        cls = type(value)
        name = writer.class_name(cls)
        members: Any = cls.__members__
        plain = writer.node(value._value_, ".value") if type(value._value_) in (str, int) else None
        if value._name_ is not None and members.get(value._name_) is value:
            return [name, value._name_, plain]
        if not isinstance(value, Flag):
            writer.refuse(f"a {cls.__name__} that is not among its members", "store its value, value.value")
        return [name, None, plain]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        name, member, plain = fields(facts, 3)
        if reader.plain:
            return member if plain is None else reader.value(plain)
        cls = _class_of(name, reader, Enum, lambda cls: issubclass(cls, Enum))
        if member is None:
            number = exactly(reader.value(plain), int)
            return cls(number) if issubclass(cls, Flag) else _gone(cls, "member")
        found = cls.__members__.get(exactly(member, str))
        return found if found is not None else _gone(cls, f"member {member}")


class NamedTuple:
    """The class, the list of the elements, and what else the object has of its own."""

    tag = "namedtuple"
    version = 1
    module = ""
    needs = ""

    def accepts(self, value: object) -> bool:
        return isinstance(value, tuple) and _is_namedtuple(type(value))

    def encode(self, value: tuple[Any, ...], writer: Writer) -> Json:
        names: tuple[str, ...] = type(value)._fields  # type: ignore[attr-defined]
        if len(names) != len(value):
            writer.refuse("a named tuple with more elements than names, or fewer", "store tuple(value)")
        nodes = [writer.node(part, f".{name}") for name, part in zip(names, value, strict=True)]
        return [writer.class_name(type(value)), nodes, state_nodes(getattr(value, "__dict__", {}), writer)]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        name, nodes, state = fields(facts, 3)
        values = reader.items(nodes)
        if reader.plain:
            return tuple(values)
        cls = _class_of(name, reader, tuple, _is_namedtuple)
        if len(cls._fields) != len(values):
            _gone(cls, "field")
        made = tuple.__new__(cls, values)
        _restore(made, state, reader)
        return made


class ClassInstance:
    """A dataclass's, attrs' or pydantic's object: the class, and the state in ``__dict__`` and ``__slots__``."""

    version = 1
    module = ""
    needs = ""

    def __init__(self, tag: str, mark: str) -> None:
        self.tag = tag
        self._mark = mark

    def accepts(self, value: object) -> bool:
        return hasattr(type(value), self._mark) and not isinstance(value, type)

    def encode(self, value: Any, writer: Writer) -> Json:
        _refuse_hidden_state(type(value), writer)
        state = _state_of(value)
        if _CACHED_HASH in state:
            state[_CACHED_HASH] = None  # as attrs does: texts hash differently in every process
        unset = [name for name in getattr(type(value), "__dataclass_fields__", ()) if not hasattr(value, name)]
        return [writer.class_name(type(value)), state_nodes(state, writer), unset]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        value = self.empty(facts, version, reader)
        self.fill(value, facts, version, reader)
        return value

    def empty(self, facts: Json, version: int, reader: Reader) -> Any:
        name, _, _ = fields(facts, 3)
        if reader.plain:
            return {}
        return _new(_class_of(name, reader, object, lambda cls: hasattr(cls, self._mark)))

    def fill(self, value: Any, facts: Json, version: int, reader: Reader) -> None:
        _, state, unset = fields(facts, 3)
        if reader.plain:
            value |= _without_bookkeeping({name: reader.value(node) for name, node in exactly(state, dict).items()})
            return
        _restore(value, state, reader)
        if self.tag == "dataclass":
            _add_new_fields(value, exactly(unset, list))


def _class_of(name: object, reader: Reader, base: type, is_one: Any) -> Any:
    """The class of this name, of the family that is expected; nothing else is ever made or called."""
    cls = reader.class_named(exactly(name, str))
    if not issubclass(cls, base) or not is_one(cls):
        raise UnreadableBlobError(
            f"{cls.__module__}.{cls.__qualname__} is another sort of class than when the value was stored",
            hint="read the value with the version of the class that it was stored with",
        )
    return cls


def _new(cls: type) -> Any:
    """An object of the class without state."""
    if not _has_plain_layout(cls):
        raise UnreadableBlobError(
            f"{cls.__module__}.{cls.__qualname__} is now a class with state of its own in C",
            hint="read the value with the version of the class that it was stored with",
        )
    return object.__new__(cls)


def _refuse_hidden_state(cls: type, writer: Writer) -> None:
    """Refuse objects that keep state where only a base class in C sees it: a dataclass that is a dict."""
    if not _has_plain_layout(cls):
        writer.refuse(
            f"a {cls.__name__} has state of a base class that is written in C",
            "hold that part in a field instead of inheriting it",
        )


def _state_of(value: Any) -> dict[str, Any]:
    """Everything that the object has, by name: what is in its ``__dict__`` and in its slots."""
    state = dict(getattr(value, "__dict__", {}))
    for name, slot in _slots_of(type(value)):
        part = _slot_value(slot, value)
        if part is not _UNSET:
            state[name] = part
    return state


def _slot_value(slot: MemberDescriptorType, value: Any) -> Any:
    try:
        return slot.__get__(value)
    except AttributeError:
        return _UNSET


def _slots_of(cls: type) -> Iterator[tuple[str, MemberDescriptorType]]:
    """The slots of the class and its bases, by the names that attributes have."""
    for base in reversed(cls.__mro__):
        for name, slot in vars(base).items():
            if isinstance(slot, MemberDescriptorType):
                yield name, slot


def state_nodes(state: dict[str, Any], writer: Writer) -> dict[str, Json]:
    """The nodes of attributes by their names; refuses names that JSON does not hold."""
    if not all(type(name) is str and name.encode(errors="ignore").decode() == name for name in state):
        writer.refuse("an attribute whose name is no text", "hold it in a dict, in a field")
    return {name: writer.node(part, f".{name}") for name, part in state.items()}


def _restore(value: Any, state: object, reader: Reader) -> None:
    """Put the parts where :func:`_state_of` found them; no property or ``__setattr__`` of the class has a say."""
    slots = dict(_slots_of(type(value)))
    for name, node in exactly(state, dict).items():
        part = reader.value(node)
        if name in slots:
            slots[name].__set__(value, part)
        elif hasattr(value, "__dict__"):
            vars(value)[name] = part
        else:
            _gone(type(value), f"field {name}")


def _without_bookkeeping(state: dict[str, Any]) -> dict[str, Any]:
    """The fields of a pydantic model, those that it allowed in addition included; any other state as it is."""
    fields_only = {name: part for name, part in state.items() if not name.startswith(_PYDANTIC)}
    return fields_only | (state.get(_PYDANTIC + "extra__") or {})


def _add_new_fields(value: Any, unset: list[str]) -> None:
    """Fields that the class got since the value was stored have their defaults."""
    for field in dataclasses.fields(value):
        if field.name in unset or hasattr(value, field.name):
            continue
        if field.default is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default_factory())


def _gone(cls: type, what: str) -> Any:
    raise UnreadableBlobError(
        f"{cls.__module__}.{cls.__qualname__} no longer has a {what} that the value was stored with",
        hint="read the value with the version of the class that it was stored with",
    )


def _is_namedtuple(cls: type) -> bool:
    own = [base for base in cls.__mro__ if base not in (tuple, object)]
    names = getattr(cls, "_fields", None)
    return isinstance(names, tuple) and all(base.__flags__ & _HEAP_TYPE for base in own)


def _has_plain_layout(cls: type) -> bool:
    """Whether every byte of the class's objects is accounted for: header, ``__dict__``, ``__weakref__``, slots."""
    for base in cls.__mro__[:-1]:
        if not base.__flags__ & _HEAP_TYPE:
            return False
        own = sum(isinstance(part, MemberDescriptorType) for part in vars(base).values())
        own += ("__dict__" in vars(base)) + ("__weakref__" in vars(base))
        if base.__base__ is not None and base.__basicsize__ - base.__base__.__basicsize__ > own * _POINTER:
            return False
    return cls.__itemsize__ == 0 and sys.implementation.name == "cpython"


ENUM = EnumMember()
CLASSES: tuple[Kind, ...] = (
    ENUM,
    NamedTuple(),
    ClassInstance("dataclass", "__dataclass_fields__"),
    ClassInstance("attrs.class", "__attrs_attrs__"),
    ClassInstance("pydantic.model", _PYDANTIC + "fields_set__"),
)
"""In the order in which they are asked."""
