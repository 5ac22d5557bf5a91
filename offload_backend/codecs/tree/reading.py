"""From a tree to its value, which is built around the memory that its buffers were read into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from offload_backend.codecs.tree.allowed import ClassPolicy, class_named
from offload_backend.codecs.tree.classes import CLASSES
from offload_backend.codecs.tree.containers import CONTAINERS, LIST
from offload_backend.codecs.tree.facts import exactly, shown
from offload_backend.codecs.tree.hashes import Weights, are_spread
from offload_backend.codecs.tree.kinds import Fillable, Json, Kind, kind_tagged, missing_library
from offload_backend.codecs.tree.leaves import LEAVES
from offload_backend.codecs.tree.memory import Memory, NewBytes
from offload_backend.codecs.tree.plainjson import JSON_TEXT
from offload_backend.codecs.tree.room import with_room
from offload_backend.errors import UnreadableBlobError

__all__ = ["Document", "TreeReader"]

_OWN: dict[str, Kind] = {kind.tag: kind for kind in (JSON_TEXT, *CLASSES, *LEAVES.values(), *CONTAINERS.values())}
_SINGLE = {kind.tag for kind in LEAVES.values()}
_MOST_OPEN = 512
_UNFINISHED = object()


class Document:
    """The structure, taken apart. Raises :class:`ValueError` for one that is none."""

    def __init__(self, document: object) -> None:
        facts = exactly(document, dict)
        if "value" not in facts or not facts.keys() <= {"value", "shared", "frozen", "packed"}:
            raise ValueError("no tree")
        self.value: Json = facts["value"]
        self.shared: list[Json] = exactly(facts.get("shared", []), list)
        self.frozen = {exactly(number, int) for number in exactly(facts.get("frozen", []), list)}
        self.packed = [exactly(size, int) for size in exactly(facts.get("packed", []), list)]


class TreeReader:
    """See :class:`~offload_backend.codecs.tree.kinds.Reader`.

    ``sizes`` are those of the buffers, and ``take`` gives the memory of one, filled; it is asked once for each.
    """

    def __init__(
        self,
        document: Document,
        sizes: Sequence[int],
        take: Callable[[int], Memory | NewBytes],
        policy: ClassPolicy,
        *,
        plain: bool = False,
    ) -> None:
        self.plain = plain
        self._document = document
        self._sizes = sizes
        self._take = take
        self._policy = policy
        self._taken: set[int] = set()
        self._made: dict[int, Any] = {}
        self._open = 0
        self._weights = Weights()
        self._kinds: dict[str, Kind] = {}

    def value(self, node: Json) -> Any:
        """See :class:`~offload_backend.codecs.tree.kinds.Reader`."""
        if type(node) is list:
            return [self.value(part) if type(part) in (list, dict) else part for part in node]
        if type(node) is not dict:
            return node
        if "$" in node:
            return self._tagged(node)
        return {key: self.value(part) if type(part) in (list, dict) else part for key, part in node.items()}

    def items(self, node: Json) -> list[Any]:
        """See :class:`~offload_backend.codecs.tree.kinds.Reader`."""
        if type(node) is dict and _parts(node)[0] not in (
            LIST.tag,
            JSON_TEXT.tag,
        ):  # or one that others share
            raise ValueError("no list of parts")
        return exactly(self.value(node), list)

    def size(self, number: int) -> int:
        """See :class:`~offload_backend.codecs.tree.kinds.Reader`."""
        if not 0 <= exactly(number, int) < len(self._sizes):
            raise ValueError(f"there is no buffer {number}")
        return self._sizes[number]

    def hashed(self, node: Json) -> list[Any]:
        """The list that :meth:`TreeWriter.hashed` gave this node for.

        Raises :class:`ValueError` for elements whose hashing would take too long.
        """
        elements = self.items(node)
        self._weights.check(elements)
        if not are_spread(elements):
            raise ValueError("too many elements of a set, or keys of a dict, have one hash")
        return elements

    def buffer(self, number: int) -> memoryview:
        """See :class:`~offload_backend.codecs.tree.kinds.Reader`."""
        return self._memory(number, frozen=False).view

    def array(self, number: int) -> bytearray:
        """The buffer as what holds it."""
        memory = self._memory(number, frozen=False)
        return memory.array  # type: ignore[union-attr]  # what is not frozen has one

    def frozen(self, number: int) -> bytes:
        """The buffer as ``bytes``."""
        return self._memory(number, frozen=True).finish()

    def class_named(self, name: str) -> type:
        """See :class:`~offload_backend.codecs.tree.kinds.Reader`."""
        return class_named(exactly(name, str), self._policy)

    def _memory(self, number: int, *, frozen: bool) -> Memory | NewBytes:
        if number in self._taken or self.size(number) < 0:
            raise ValueError(f"the buffer {number} belongs to several values")
        if frozen != (number in self._document.frozen):
            raise ValueError(f"the buffer {number} belongs to a value of another type")
        self._taken.add(number)
        return self._take(number)

    def _tagged(self, node: dict[str, Any]) -> Any:
        tag, version, facts = _parts(node)
        if tag == "ref":
            return self._shared(exactly(facts, int))
        kind = self._kind(tag, version)
        try:
            return kind.decode(facts, version, self)
        except ImportError as error:
            raise missing_library(tag, kind.needs or tag) from error

    def _kind(self, tag: str, version: int) -> Kind:
        kind = _OWN.get(tag) or self._kinds.get(tag) or kind_tagged(tag)
        if kind is None:
            raise UnreadableBlobError(
                f"the value holds a {shown(tag)}, a kind that this installation does not know",
                hint="upgrade offload-backend where the value is read, or install the package that has the kind",
            )
        if version > kind.version:
            raise UnreadableBlobError(
                f"the value holds a {tag} as a newer version writes it",
                hint="upgrade the package of that kind where the value is read",
            )
        self._kinds[tag] = kind
        return kind

    def _shared(self, number: int) -> Any:
        if not 0 <= number < len(self._document.shared):
            raise ValueError(f"there is no shared object {number}")
        if number not in self._made:
            if self._open >= _MOST_OPEN:
                raise ValueError("nested too deeply")
            self._open += 1
            self._made[number] = _UNFINISHED
            with_room(lambda: self._make(number))
            self._weights.note(self._made[number])
            self._open -= 1
        if self._made[number] is _UNFINISHED:
            raise ValueError("a cycle through an object that cannot be in one")
        return self._made[number]

    def _make(self, number: int) -> None:
        node = self._document.shared[number]
        if type(node) is list:
            self._made[number] = made = []
            made += self.value(node)
            return
        tag, version, facts = _parts(node) if "$" in exactly(node, dict) else ("dict", 0, node)
        if tag == "ref" or tag in _SINGLE:
            raise ValueError("an object that is not shared")
        if not version:
            entries: dict[str, Any] = {}
            self._made[number] = entries
            entries.update(self.value(node))
            return
        kind = self._kind(tag, version)
        if isinstance(kind, Fillable):
            value = self._made[number] = kind.empty(facts, version, self)
            kind.fill(value, facts, version, self)
        else:
            self._made[number] = self.value(node)


def _parts(node: Any) -> tuple[str, int, Json]:
    """Tag, version and facts."""
    match node:
        case {"$": [str(tag), int(version), facts]} if len(node) == 1 and type(version) is int and version > 0:
            return tag, version, facts
    raise ValueError("not a node")
