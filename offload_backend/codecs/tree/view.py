"""A look into a stored tree that reads its structure alone, and of the buffers only what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from offload_backend.codecs.source import Source
from offload_backend.codecs.tree.allowed import AllowedClasses, ClassPolicy
from offload_backend.codecs.tree.codec import places_of
from offload_backend.codecs.tree.facts import exactly, fields
from offload_backend.codecs.tree.kinds import Json
from offload_backend.codecs.tree.layout import read_layout
from offload_backend.codecs.tree.memory import Memory, NewBytes, memory_for
from offload_backend.codecs.tree.plainjson import JSON_TEXT
from offload_backend.codecs.tree.reading import Document, TreeReader
from offload_backend.codecs.view import HeldView
from offload_backend.errors import BlobCorruptError, OffloadError, without_text
from offload_backend.memory import unset_memory

__all__ = ["MAPPINGS", "OBJECTS", "TreeView", "open_tree"]

MAPPINGS = ("dict", "collections.ordereddict", "collections.counter")
OBJECTS = ("dataclass", "attrs.class", "pydantic.model")
_WITH_PARTS = ("collections.deque", "namedtuple")
_SEQUENCES = ("tuple", *_WITH_PARTS)
_LISTED = ("list", *_SEQUENCES, *MAPPINGS)
_ARRAY = "numpy.ndarray"


class _Opened:
    """The file behind all views of it."""

    def __init__(self, source: Source, policy: ClassPolicy, *, plain: bool) -> None:
        layout = read_layout(source)
        self.document = Document(orjson.loads(layout.text))
        self.places = places_of(layout, self.document)
        self._source = source
        self._policy = policy
        self._plain = plain

    def value(self, node: Json) -> Any:
        """The value of a node; its buffers are read one by one, as its kind asks for them."""
        return self.reader().value(node)

    def reader(self) -> TreeReader:
        """A reader for values that have nothing in common with those of others."""
        sizes = [end - begin for begin, end in self.places]
        return TreeReader(self.document, sizes, self._take, self._policy, plain=self._plain)

    def stretch(self, number: int, begin: int, end: int) -> memoryview:
        """Some bytes of a buffer."""
        start, stop = self.places[number]
        if not 0 <= begin <= end <= stop - start:
            raise ValueError(f"the buffer {number} has no such stretch")
        memory = memoryview(unset_memory(end - begin))
        if memory:
            self._source.fill([(start + begin, memory)])
        return memory

    def _take(self, number: int) -> Memory | NewBytes:
        begin, end = self.places[number]
        memory = memory_for(end - begin, frozen=number in self.document.frozen)
        if memory.view:
            self._source.fill([(begin, memory.view)])
        return memory


class TreeView:
    """One value inside a stored tree.

    ``view[key]`` is a view of what a dict, list, tuple or object holds there; of a NumPy array
    ``view[10:20]`` are these rows, and only they are read. :meth:`value` reads everything below. Raises
    :class:`KeyError` or :class:`IndexError` for what is not there, an ``OffloadError`` for all else.
    """

    def __init__(self, opened: _Opened, node: Json) -> None:
        with _taken_for_damage():
            node, kind, facts = _taken_apart(node, opened.document.shared)
        self._opened = opened
        self._node = node
        self.kind: str = kind
        """The tag of the kind, or the name of the JSON type."""
        self.facts: Any = facts
        """What the kind wrote down."""
        self._read: HeldView | None = None
        self._inside: dict[Any, Json] | None = None

    def value(self) -> Any:
        """The value. What it shares with other parts of the tree, it has for itself."""
        with _taken_for_damage():
            return self._opened.value(self._node)

    def keys(self) -> list[Any]:
        """What leads on from here: keys, positions, or names of fields."""
        return self._whole().keys() if self.is_whole else list(self._children())

    @property
    def is_whole(self) -> bool:
        """Whether what it holds was written at once: there are no nodes for it, only its value."""
        with _taken_for_damage():
            parts = self.facts[1] if self.kind in (*_WITH_PARTS, *MAPPINGS) else self.facts
        return self.kind == JSON_TEXT.tag or (self.kind in _LISTED and not isinstance(parts, list))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of a NumPy array."""
        with _taken_for_damage():
            return tuple(self.facts["shape"]) if self.kind == _ARRAY else None

    def __len__(self) -> int:
        return self.shape[0] if self.shape else len(self.keys())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __getitem__(self, key: Any) -> Any:
        if self.kind == _ARRAY and isinstance(key, slice):
            return self._rows(key)
        if self.is_whole:
            return self._whole()[key]
        if isinstance(key, slice):
            return self.value()[key]
        children = self._children()
        if isinstance(key, int) and key < 0 and self.kind in ("list", *_SEQUENCES):
            key += len(children)
        if key not in children:
            raise (IndexError if self.kind in ("list", *_SEQUENCES) else KeyError)(key)
        return TreeView(self._opened, children[key])

    def __repr__(self) -> str:
        return f"TreeView({self.kind}{self.shape or ''})"

    def _whole(self) -> HeldView:
        self._read = self._read or HeldView(self.value())
        return self._read

    def _children(self) -> dict[Any, Json]:
        if self._inside is None:
            self._inside = self._taken_children()
        return self._inside

    def _taken_children(self) -> dict[Any, Json]:
        with _taken_for_damage():
            facts = self.facts
            if self.kind in OBJECTS:
                return dict(exactly(facts[1], dict))
            if self.kind in MAPPINGS:
                keys, values = facts[0], facts[1]
                return dict(zip(self._opened.reader().items(keys), values, strict=True))
            if self.kind == "object":
                return dict(facts)
            if self.kind not in ("list", *_SEQUENCES):
                return {}
            return dict(enumerate(facts[1] if self.kind in _WITH_PARTS else facts))

    def _rows(self, wanted: slice) -> Any:
        from offload_backend.codecs.tree.numpy import from_rows, rows

        with _taken_for_damage():
            start, stop, step = wanted.indices(self.facts["shape"][0])
        if step != 1 or "buffer" not in self.facts:
            return self.value()[wanted]
        stop = max(start, stop)
        try:
            begin, end = rows(self.facts, start, stop)
        except ValueError:  # its rows do not lie one after another
            return self.value()[wanted]
        with _taken_for_damage():
            memory = self._opened.stretch(exactly(self.facts["buffer"], int), begin, end)
            return from_rows(self.facts, memory, stop - start)


def open_tree(source: Source, policy: ClassPolicy | None = None, *, plain: bool = False) -> TreeView:
    """A view of the whole value. Reads its structure, and raises as the codec's ``decode`` does.

    ``plain`` gives dicts, tuples and values in the place of classes, whatever the policy says.
    """
    opened = _Opened(source, policy or AllowedClasses(), plain=plain)
    return TreeView(opened, opened.document.value)


def _taken_apart(node: Json, shared: list[Json]) -> tuple[Json, str, Json]:
    """The node, or the shared one that it stands for; its kind, and what that wrote down."""
    if isinstance(node, dict) and "$" in node:
        tag, _, facts = fields(node["$"], 3)
        if tag != "ref":
            return node, exactly(tag, str), facts
        if exactly(facts, int) < 0:
            raise ValueError("no shared object")
        return _taken_apart(shared[facts], [])  # none of them is a reference itself
    return node, _json_type(node), node


@contextmanager
def _taken_for_damage() -> Iterator[None]:
    """Whatever hostile facts set off: :meth:`TreeCodec.decode` is checked as a whole, a view piece by piece."""
    try:
        yield
    except (OffloadError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # its text is left out
        hint = "set the key again, or delete it"
        raise BlobCorruptError("the bytes are not tree", hint=hint) from without_text(error)


def _json_type(node: Json) -> str:
    return "object" if isinstance(node, dict) else type(node).__name__
