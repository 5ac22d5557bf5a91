"""From a value to a tree: nodes for its structure, buffers for its bulk.

An object that is met twice is written once. Which are is known only at the end, so a value that has some is
walked twice: first to find them, then to write each in a list of its own, ``shared``, that the others refer to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any, NoReturn

import msgspec

from offload_backend.codecs.garbage import collector_paused
from offload_backend.codecs.refusal import MAX_DEPTH
from offload_backend.codecs.tree.allowed import ClassPolicy, name_of, why_not_importable
from offload_backend.codecs.tree.buffers import Buffers
from offload_backend.codecs.tree.classes import CLASSES, ENUM
from offload_backend.codecs.tree.columns import column_of, numbers_of
from offload_backend.codecs.tree.containers import CONTAINERS
from offload_backend.codecs.tree.kinds import Buffer, Fillable, Json, Kind, Pieces, kinds_for, kinds_installed
from offload_backend.codecs.tree.layout import Tensor, size_of
from offload_backend.codecs.tree.leaves import LEAVES
from offload_backend.codecs.tree.path import Step, dotted, shown
from offload_backend.codecs.tree.plainjson import node_of_json
from offload_backend.codecs.tree.room import STEP, with_room
from offload_backend.codecs.tree.unknown import why_unknown
from offload_backend.errors import UnsupportedValueError

__all__ = ["Tree", "tree_of"]


@dataclass(frozen=True)
class Tree:
    """A value as a document, of which ``text`` is the JSON, and the buffers that it numbers."""

    text: bytes
    tensors: list[Tensor]


def tree_of(value: Any, policy: ClassPolicy) -> Tree:
    """The tree of a value, which its buffers refer to: nothing large is copied.

    Raises :class:`~offload_backend.errors.UnsupportedValueError` for what would not come back the same.
    """
    try:
        with collector_paused():
            return _tree_of(value, policy)
    except RecursionError:
        raise
    except RuntimeError as error:
        raise UnsupportedValueError(
            "the value changed while it was being stored",
            path="value",
            hint="let other threads wait, or set a copy: copy.deepcopy(value)",
        ) from error


def _tree_of(value: Any, policy: ClassPolicy) -> Tree:
    writer = TreeWriter(policy)
    tree = with_room(lambda: writer.tree(value))
    if writer.met_again:
        again = TreeWriter(policy, writer.met_again)  # the first writer keeps all of them alive meanwhile
        tree = with_room(lambda: again.tree(value))
    return tree


class TreeWriter:
    """See :class:`~offload_backend.codecs.tree.kinds.Writer`."""

    def __init__(self, policy: ClassPolicy, known: Iterable[int] = ()) -> None:
        self.met_again: set[int] = set()
        """Of the objects met, those met twice: their ids."""
        self.path: list[object] = []
        self._policy = policy
        self._known = frozenset(known)
        self._numbers: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._met: dict[int, object] = {}
        self._met_in_bulk: set[int] = set()
        self._shared: list[Json] = []
        self._buffers = Buffers()
        self._kinds: dict[type, list[Kind]] = {}
        self._class_names: dict[type, str] = {}
        self._hashed_since: int | None = None

    def node(self, value: Any, step: str) -> Json:
        """See :class:`~offload_backend.codecs.tree.kinds.Writer`."""
        return self.child(value, Step(step))

    def child(self, value: Any, step: object) -> Json:
        """As :meth:`node`, for a step that is a key or a position."""
        self.path.append(step)
        try:
            return self.written(value)
        finally:
            self.path.pop()

    def items(self, values: list[Any], steps: Sequence[object] | None = None) -> Json:
        """See :class:`~offload_backend.codecs.tree.kinds.Writer`."""
        node = numbers_of(values, self)
        if node is None:
            node = node_of_json(values, self)
        if node is None:
            node = column_of(values, self)
        if node is None:
            child, places = self.child, range(len(values)) if steps is None else steps
            node = [child(value, step) for value, step in zip(values, places, strict=True)]
        return node

    def hashed(self, values: list[Any]) -> Json:
        """As :meth:`items`, for values that are hashed before what is being written around them is complete."""
        outer = self._hashed_since
        self._hashed_since = len(self._open) if outer is None else outer
        try:
            return self.items(values)
        finally:
            self._hashed_since = outer

    def buffer(
        self,
        data: Buffer | Pieces,
        *,
        dtype: str = "U8",
        shape: tuple[int, ...] | None = None,
        frozen: bool = False,
    ) -> int:
        """See :class:`~offload_backend.codecs.tree.kinds.Writer`; ``frozen`` ones are read as ``bytes``."""
        shape = (size_of(data),) if shape is None else shape
        return self._buffers.add(dotted(self.path), data, dtype, shape, frozen=frozen)

    def refuse(self, message: str, hint: str) -> NoReturn:
        """See :class:`~offload_backend.codecs.tree.kinds.Writer`."""
        raise UnsupportedValueError(message, path=shown(self.path), hint=hint)

    def class_name(self, cls: type) -> str:
        """See :class:`~offload_backend.codecs.tree.kinds.Writer`."""
        name = self._class_names.get(cls)
        if name is None:
            dotted_name = f"{cls.__module__}.{cls.__qualname__}"
            reason = why_not_importable(cls)
            if reason:
                self.refuse(
                    f"no other process could import the class {dotted_name}: {reason}",
                    "define it at the top of a module that workers import, or store a dict",
                )
            if not self._policy.permits(dotted_name):
                self.refuse(
                    f"{dotted_name} is not a class that may be read back",
                    f"add {dotted_name} to {self._policy.setting}, or store a dict",
                )
            name = self._class_names[cls] = name_of(cls)
        return name

    def written(self, value: Any) -> Json:
        """The node of a value at this place."""
        cls = type(value)
        if cls is str:
            if value.isascii() or _is_utf8(value):
                return value  # type: ignore[no-any-return]
        elif cls is int:
            if -(2**63) <= value < 2**64:
                return value  # type: ignore[no-any-return]
        elif cls is float:
            if isfinite(value):
                return value  # type: ignore[no-any-return]
        elif value is None or cls is bool:
            return value  # type: ignore[no-any-return]
        leaf = LEAVES.get(cls)
        if leaf is not None:
            return self.tagged(leaf, value)
        return self._object(value)

    def tagged(self, kind: Kind, value: Any) -> Json:
        """The node of a value of this kind."""
        return {"$": [kind.tag, kind.version, kind.encode(value, self)]}

    def are_new(self, identities: set[int]) -> bool:
        """Whether no object of these was met before, or will be again as far as that is known."""
        return all(identities.isdisjoint(some) for some in (self._met.keys(), self._met_in_bulk, self._known))

    def meet(self, identities: set[int], owner: object) -> None:
        """Note that these objects, which ``owner`` keeps alive, were written in bulk."""
        self._met_in_bulk |= identities
        self._met[id(owner)] = owner

    def tree(self, value: Any) -> Tree:
        """The tree of a value. If it has ``met_again`` any object, it is not complete."""
        document: dict[str, Any] = {"value": self.written(value)}
        if self._shared:
            document["shared"] = self._shared
        facts, tensors = self._buffers.finished()
        return Tree(msgspec.json.encode(document | facts), tensors)

    def _object(self, value: Any) -> Json:
        if isinstance(value, Enum):
            return self.tagged(ENUM, value)
        identity = id(value)
        if identity in self._known:
            return self._reference(value)
        if type(value) not in (tuple, frozenset, bytes) or len(value) > (64 if type(value) is bytes else 0):
            if identity in self._met or identity in self._met_in_bulk:
                if not self._known:
                    self.met_again.add(identity)
                    return None
                if identity in self._open:
                    raise RuntimeError("a cycle that was not there before")
            self._met[identity] = value
        depth = len(self.path)
        if depth and depth % STEP == 0 and type(value) is not bytes:
            if depth >= MAX_DEPTH:
                self._refuse_depth()
            number = self._out_of_line(value)
            return {"$": ["ref", 1, number]}
        return self._container(value)

    def _reference(self, value: Any) -> Json:
        identity = id(value)
        if identity in self._open:
            self._check_cycle(value)
        elif identity not in self._numbers:
            self._out_of_line(value)
        return {"$": ["ref", 1, self._numbers[identity]]}

    def _out_of_line(self, value: Any) -> int:
        number = self._numbers[id(value)] = len(self._shared)
        self._shared.append(None)
        self._open[id(value)] = len(self._open)
        self._shared[number] = with_room(lambda: self._container(value))
        del self._open[id(value)]
        return number

    def _container(self, value: Any) -> Json:
        if len(self.path) >= MAX_DEPTH:
            self._refuse_depth()
        cls = type(value)
        if cls is list or cls is dict:
            return self.items(value) if cls is list else self._dict(value)
        kind = CONTAINERS.get(cls) or self._kind_of(value)
        if self._hashed_since is None or not _hashed_by_identity(cls):
            return self.tagged(kind, value)
        outer, self._hashed_since = self._hashed_since, None  # its hash does not depend on what is in it
        try:
            return self.tagged(kind, value)
        finally:
            self._hashed_since = outer

    def _dict(self, entries: dict[Any, Any]) -> Json:
        node = node_of_json(entries, self)
        if node is not None:
            return node
        if "$" in entries or not all(type(key) is str and (key.isascii() or _is_utf8(key)) for key in entries):
            return self.tagged(CONTAINERS[dict], entries)
        child = self.child
        return {key: child(value, key) for key, value in entries.items()}

    def _kind_of(self, value: Any) -> Kind:
        cls = type(value)
        kinds = self._kinds.get(cls)
        if kinds is None:
            kinds = self._kinds[cls] = [*kinds_for(cls), *CLASSES]
        found = next((kind for kind in kinds if kind.accepts(value)), None)
        if found is None:
            kinds += (kind for kind in kinds_installed() if kind not in kinds)
            found = next((kind for kind in kinds if kind.accepts(value)), None)
        return found or self.refuse(*why_unknown(value))

    def _check_cycle(self, value: Any) -> None:
        cls = type(value)
        if cls not in (list, dict) and not isinstance(CONTAINERS.get(cls) or self._kind_of(value), Fillable):
            self.refuse(
                f"a cycle that goes through a {cls.__name__}", "make the cycle go through a list or a dict only"
            )
        inside = self._hashed_since is not None and self._open[id(value)] < self._hashed_since
        if inside and not _hashed_by_identity(cls):
            self.refuse(
                "a cycle that goes through an element of a set or a key of a dict, whose hash it is part of",
                "hold the elements in a list",
            )

    def _refuse_depth(self) -> NoReturn:
        self.refuse(f"nested deeper than {MAX_DEPTH} levels", "flatten the value")


def _hashed_by_identity(cls: type) -> bool:
    own: Any = cls.__hash__
    return own is object.__hash__


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
