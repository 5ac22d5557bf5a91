"""Kinds of Python's own containers, and of its buffers."""

from __future__ import annotations

import base64
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from offload_backend.codecs.tree.facts import exactly, fields, unshared
from offload_backend.codecs.tree.hashes import MOST_ALIKE, are_spread
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer
from offload_backend.codecs.tree.leaves import LEAVES

if TYPE_CHECKING:
    from offload_backend.codecs.tree.reading import TreeReader
    from offload_backend.codecs.tree.writing import TreeWriter

__all__ = ["CONTAINERS", "INLINE_BYTES", "List"]

INLINE_BYTES = 64
"""Bytes of a ``bytes`` object that is written into the structure."""

_FACTORIES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, set, str, tuple)
} | {f"collections.{cls.__name__}": cls for cls in (Counter, OrderedDict, deque)}
_FACTORY_NAMES = {cls: name for name, cls in _FACTORIES.items()}
_VIEW_FORMATS = frozenset("bBhHiIlLqQfd?c")
_SORTABLE = (str, int, bytes)
_UNCHANGING = frozenset({*LEAVES, str, int, float, bool, bytes, type(None)}) - {slice}


class _Kind:
    """What all kinds here have in common."""

    version = 1
    module = ""
    needs = ""

    def __init__(self, tag: str, cls: type) -> None:
        self.tag = tag
        self.cls = cls

    def accepts(self, value: object) -> bool:
        """See :class:`~offload_backend.codecs.tree.kinds.Kind`."""
        return type(value) is self.cls


class List(_Kind):
    """A list in a compact form, see ``columns.py``. Others are JSON lists of nodes."""

    def encode(self, value: list[Any], writer: Writer) -> Json:
        return writer.items(value)

    def decode(self, facts: Json, version: int, reader: Reader) -> list[Any]:
        from offload_backend.codecs.tree.columns import values_from

        return values_from(facts, reader)

    def empty(self, facts: Json, version: int, reader: Reader) -> list[Any]:
        return []

    def fill(self, value: list[Any], facts: Json, version: int, reader: Reader) -> None:
        value += self.decode(facts, version, reader)


class Frozen(_Kind):
    """``tuple`` and ``frozenset``: the node of the list of their elements."""

    def encode(self, value: Iterable[Any], writer: Writer) -> Json:
        if self.cls is frozenset:
            return _hashed(_sorted(value), writer)
        return writer.items(list(value))

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        is_set = self.cls is frozenset
        return _distinct(self.cls, facts, reader) if is_set else tuple(reader.items(facts))


class Set(_Kind):
    """A set: the node of the list of its elements."""

    def encode(self, value: set[Any], writer: Writer) -> Json:
        return _hashed(_sorted(value), writer)

    def decode(self, facts: Json, version: int, reader: Reader) -> set[Any]:
        return cast("set[Any]", _distinct(set, facts, reader))

    def empty(self, facts: Json, version: int, reader: Reader) -> set[Any]:
        return set()

    def fill(self, value: set[Any], facts: Json, version: int, reader: Reader) -> None:
        value |= self.decode(facts, version, reader)


class Mapping(_Kind):
    """Dicts of all sorts: the list of the keys, the list of the values, and the attributes if it has any."""

    def encode(self, value: dict[Any, Any], writer: Writer) -> Json:
        keys, inner = list(value), cast("TreeWriter", writer)
        facts = [_hashed(keys, writer), inner.items(list(value.values()), keys)]
        attributes = getattr(value, "__dict__", None)  # as PyTorch sets them on the state of a model
        return [*facts, inner.node(dict(attributes), ".__dict__")] if attributes else facts

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        value = self.empty(facts, version, reader)
        self.fill(value, facts, version, reader)
        return value

    def empty(self, facts: Json, version: int, reader: Reader) -> Any:
        return self.cls()

    def fill(self, value: Any, facts: Json, version: int, reader: Reader) -> None:
        listed = exactly(facts, list)
        of_keys, of_values = fields(listed[:2], 2)
        keys, values = cast("TreeReader", reader).hashed(of_keys), reader.items(of_values)
        if len(keys) != len(values):
            raise ValueError("as many keys as values belong to a dict")
        entries = zip(keys, values, strict=True)
        dict.update(value, entries) if self.cls is not OrderedDict else value.update(entries)
        if len(value) != len(keys):
            raise ValueError("a key of a dict comes twice")
        for attributes in listed[2:]:
            vars(value).update(exactly(reader.value(unshared(attributes)), dict))


class DefaultDict(Mapping):
    """As a dict, and before it the factory: a builtin's name, a class's, or none."""

    def encode(self, value: Any, writer: Writer) -> Json:
        factory: Any = value.default_factory
        is_class = isinstance(factory, type)
        if factory is not None and not is_class:
            writer.refuse(
                "a defaultdict whose factory is not a class",
                "use list, dict or another class as the factory, or store a dict: dict(value)",
            )
        known = factory is None or factory in _FACTORY_NAMES
        return [
            _FACTORY_NAMES.get(factory) if known else [writer.class_name(factory)],
            super().encode(value, writer),
        ]

    def empty(self, facts: Json, version: int, reader: Reader) -> Any:
        factory, _ = fields(facts, 2)
        if isinstance(factory, list):
            (name,) = fields(factory, 1)
            return defaultdict(None if reader.plain else reader.class_named(exactly(name, str)))
        return defaultdict(None if factory is None else _FACTORIES[factory])

    def fill(self, value: Any, facts: Json, version: int, reader: Reader) -> None:
        super().fill(value, fields(facts, 2)[1], version, reader)


class Deque(_Kind):
    """The longest it may be, and the list of its elements."""

    def encode(self, value: deque[Any], writer: Writer) -> Json:
        return [writer.node(value.maxlen, ".maxlen"), writer.items(list(value))]

    def decode(self, facts: Json, version: int, reader: Reader) -> deque[Any]:
        value = self.empty(facts, version, reader)
        self.fill(value, facts, version, reader)
        return value

    def empty(self, facts: Json, version: int, reader: Reader) -> deque[Any]:
        longest = fields(facts, 2)[0]
        return deque(maxlen=None if longest is None else exactly(longest, int))

    def fill(self, value: deque[Any], facts: Json, version: int, reader: Reader) -> None:
        elements = reader.items(fields(facts, 2)[1])
        value.extend(elements)
        if len(value) != len(elements):
            raise ValueError("a deque longer than it may be")


class Bytes(_Kind):
    """``bytes`` and ``bytearray``: the number of the buffer, or base64 if they are few."""

    def encode(self, value: bytes | bytearray, writer: Writer) -> Json:
        if len(value) <= INLINE_BYTES:
            return base64.b64encode(value).decode()
        return cast("TreeWriter", writer).buffer(value, frozen=self.cls is bytes)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        if isinstance(facts, str):
            return self.cls(base64.b64decode(facts, validate=True))
        inner = cast("TreeReader", reader)
        number = exactly(facts, int)
        return inner.frozen(number) if self.cls is bytes else inner.array(number)


class View(_Kind):
    """A memoryview: format, element size, shape, whether it is read-only, the buffer with its bytes in C order."""

    def encode(self, value: memoryview, writer: Writer) -> Json:
        shape = list(value.shape or ())
        if value.format not in _VIEW_FORMATS or sys.byteorder != "little" or (0 in shape and len(shape) > 1):
            writer.refuse(f"a memoryview of format {value.format!r} and shape {shape}", "store bytes(value)")
        flat = value.cast("B") if value.c_contiguous and shape and 0 not in shape else value.tobytes()
        number = cast("TreeWriter", writer).buffer(flat, frozen=value.readonly)
        return [value.format, value.itemsize, shape, value.readonly, number]

    def decode(self, facts: Json, version: int, reader: Reader) -> memoryview:
        form, size, shape, readonly, number = fields(facts, 5)
        inner = cast("TreeReader", reader)
        data = (inner.frozen if exactly(readonly, bool) else inner.array)(exactly(number, int))
        if exactly(form, str) not in _VIEW_FORMATS or any(type(side) is not int for side in exactly(shape, list)):
            raise ValueError("not the facts of a memoryview")
        if memoryview(b"").cast(form).itemsize != size:
            raise ValueError("a memoryview of elements that have another size here")
        view = memoryview(data)
        if shape in ([0], [len(data) // size]):
            return view.cast(form)
        return view.cast(form, shape)


class Array(_Kind):
    """An ``array.array``: its type code, the size of an element, and its bytes."""

    def encode(self, value: array[Any], writer: Writer) -> Json:
        if value.typecode in "uw":
            return [value.typecode, 0, writer.node(value.tounicode(), "")]
        if sys.byteorder != "little":
            writer.refuse("an array of this machine's byte order", "store a list: value.tolist()")
        return [value.typecode, value.itemsize, writer.buffer(memoryview(value).cast("B"))]

    def decode(self, facts: Json, version: int, reader: Reader) -> array[Any]:
        code, size, data = fields(facts, 3)
        made: array[Any] = array(exactly(code, str))
        if code in "uw":
            made.fromunicode(exactly(reader.value(data), str))
            return made
        if made.itemsize != size:
            raise ValueError("an array of elements that have another size here")
        made.frombytes(reader.buffer(exactly(data, int)))
        return made


def _sorted(elements: Iterable[Any]) -> list[Any]:
    """The elements, in an order that does not change from run to run where they have one."""
    listed = list(elements)
    kinds = set(map(type, listed))
    return sorted(listed) if len(kinds) == 1 and kinds < set(_SORTABLE) else listed


def _hashed(elements: list[Any], writer: Writer) -> Json:
    """The node of their list; refuses those that no new set or dict would take all of."""
    if not _UNCHANGING.issuperset(map(type, elements)) and not _are_distinct(elements):
        writer.refuse(
            "elements of a set, or keys of a dict, that have become equal since they were added",
            "make it anew: set(value), dict(value)",
        )
    if not are_spread(elements):
        writer.refuse(
            f"more than {MOST_ALIKE} elements of a set, or keys of a dict, that have one hash",
            "store a list: list(value), list(value.items())",
        )
    return cast("TreeWriter", writer).hashed(elements)


def _are_distinct(elements: list[Any]) -> bool:
    try:
        return len(set(elements)) == len(elements)
    except Exception:  # noqa: BLE001  # their own code runs
        return False


def _distinct(make: Callable[[list[Any]], Any], node: Json, reader: Reader) -> Any:
    elements = cast("TreeReader", reader).hashed(node)
    made = make(elements)
    if len(made) != len(elements):
        raise ValueError("an element of a set comes twice")
    return made


LIST = List("list", list)
_ALL: tuple[Kind, ...] = (
    LIST,
    Frozen("tuple", tuple),
    Frozen("frozenset", frozenset),
    Set("set", set),
    Mapping("dict", dict),
    Mapping("collections.ordereddict", OrderedDict),
    Mapping("collections.counter", Counter),
    DefaultDict("collections.defaultdict", defaultdict),
    Deque("collections.deque", deque),
    Bytes("bytes", bytes),
    Bytes("bytearray", bytearray),
    View("memoryview", memoryview),
    Array("array.array", array),
)

CONTAINERS: dict[type, Kind] = {cast("Any", kind).cls: kind for kind in _ALL}
"""For each exact type its kind."""
