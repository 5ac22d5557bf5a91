"""The seam between the tree codec and the types it holds: what a kind is, and which kinds there are.

A *kind* knows one family of types. Register one with :func:`register`, or name it in the entry point
group ``offload_backend.kinds``; ``examples/own_kind.py`` is one, and
:class:`offload_backend.testing.kinds.KindContract` is what it must pass.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias, TypeVar, runtime_checkable

from offload_backend.blobstore import Buffer
from offload_backend.errors import UnreadableBlobError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "Buffer",
    "Fillable",
    "Json",
    "Kind",
    "Pieces",
    "Reader",
    "Writer",
    "kind_tagged",
    "kinds_for",
    "kinds_installed",
    "register",
]

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None
"""What orjson writes and reads back the same; as facts, with the nodes that a writer gave inside."""

ENTRY_POINTS = "offload_backend.kinds"

_BUILT_IN = {
    name: f"{__name__.rpartition('.')[0]}.{name}"
    for name in ("numpy", "pandas", "pendulum", "polars", "pyarrow", "pytz", "scipy", "torch")
}
"""Library, which is also the first word of its kinds' tags: the module whose ``KINDS`` they are."""


@dataclass(frozen=True)
class Pieces:
    """Bytes that are made when they are wanted: ``size`` of them in all, yielded by ``make()``, which may
    be called more than once.
    """

    size: int
    make: Callable[[], Iterable[Buffer]]


class Writer(Protocol):
    """What a kind writes the parts of a value with."""

    def node(self, value: Any, step: str) -> Json:
        """The node of a value inside this one, for the facts. ``step`` leads to it, for the paths of errors
        and for the names of buffers: ``["w"]``, ``[3]`` or ``.field``.
        """
        ...

    def items(self, values: list[Any]) -> Json:
        """The node of a list that was made for this call, ``list(value)``; compact if the values are alike."""
        ...

    def buffer(self, data: Buffer | Pieces, *, dtype: str = "U8", shape: tuple[int, ...] | None = None) -> int:
        """Put the bytes next to the structure, as they are and without a copy; the number goes into the facts.

        ``dtype`` and ``shape`` are in safetensors' words (``F32``, ``BF16``, …; without a shape, one
        dimension), so that other programs can open the tensor. Their size must be that of the data.
        """
        ...

    def class_name(self, cls: type) -> str:
        """What :meth:`Reader.class_named` finds the class by. Refuses one that could not be read back."""
        ...

    def refuse(self, message: str, hint: str) -> NoReturn:
        """Raise :class:`~offload_backend.errors.UnsupportedValueError` with the path of this value."""
        ...


class Reader(Protocol):
    """What a kind builds a value with."""

    @property
    def plain(self) -> bool:
        """Whether objects of classes are wanted as plain data. Then no class is asked for."""
        ...

    def value(self, node: Json) -> Any:
        """The value that :meth:`Writer.node` gave this node for."""
        ...

    def items(self, node: Json) -> list[Any]:
        """The list that :meth:`Writer.items` gave this node for."""
        ...

    def buffer(self, number: int) -> memoryview:
        """All bytes of a buffer, verified: flat, of format ``B``, writable, and the value's to keep.

        Raises :class:`ValueError` for a number that no buffer has, or that was taken before.
        """
        ...

    def size(self, number: int) -> int:
        """How many bytes the buffer has. Raises as :meth:`buffer`."""
        ...

    def class_named(self, name: str) -> type:
        """The class ``module:qualified.name``, imported only if the allow-list permits it.

        Raises :class:`~offload_backend.errors.UnreadableBlobError` otherwise, and if there is no such class.
        """
        ...


class Kind(Protocol):
    """One family of types, and the only code that knows how its values become facts and back."""

    @property
    def tag(self) -> str:
        """Stands in blobs for ever: ``numpy.ndarray``. Lower case; the first word is the library's name."""
        ...

    @property
    def version(self) -> int:
        """Of the facts that :meth:`encode` writes; :meth:`decode` reads these and all older ones."""
        ...

    @property
    def module(self) -> str:
        """Where the values come from: a kind is asked only once this module is imported. Empty for Python's own."""
        ...

    @property
    def needs(self) -> str:
        """What ``pip install`` takes to read the values; empty for nothing."""
        ...

    def accepts(self, value: object) -> bool:
        """Whether :meth:`decode` gives this value back, type for type, bit for bit. Quick, raises nothing."""
        ...

    def encode(self, value: Any, writer: Writer) -> Json:
        """The facts of a value that is accepted. Refuses, through the writer, what cannot come back the same."""
        ...

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        """The value. The facts are whatever a hostile blob holds: raises :class:`ValueError` unless
        ``encode`` can have written them; allocates nothing that only a number in them asks for.
        """
        ...


@runtime_checkable
class Fillable(Protocol):
    """A kind whose values exist before their parts do, so that the parts may refer back to them."""

    def empty(self, facts: Json, version: int, reader: Reader) -> Any:
        """The value without its parts. ``decode`` is this, filled."""
        ...

    def fill(self, value: Any, facts: Json, version: int, reader: Reader) -> None:
        """Add the parts to what :meth:`empty` gave."""
        ...


_KindT = TypeVar("_KindT", bound=Kind)
_registered: dict[str, Kind] = {}
_loaded: set[str] = set()


def register(kind: _KindT) -> _KindT:
    """Add a kind for this process, ahead of the built-in ones that accept the same value; a class decorator's
    work is done by ``register(MyKind())``. Raises :class:`ValueError` if another kind has its tag.
    """
    present = _registered.setdefault(kind.tag, kind)
    if type(present) is not type(kind):
        raise ValueError(f"two kinds are tagged {kind.tag!r}: {type(present)} and {type(kind)}")
    return kind


def kinds_for(value_type: type) -> list[Kind]:
    """The kinds of libraries that may accept values of this type, registered ones first."""
    tops = {base.__module__.partition(".")[0] for base in value_type.__mro__}
    for library in sorted(tops & _BUILT_IN.keys() & sys.modules.keys()):
        with suppress(ImportError):  # a library that is there in part; then it has no kinds
            _load(library)
    kinds = [kind for kind in tuple(_registered.values()) if not kind.module or kind.module in sys.modules]
    return sorted(kinds, key=_is_built_in)


def kinds_installed() -> list[Kind]:
    """The kinds of installed packages that are imported: asked last, for it takes time to look for them."""
    found: list[Kind] = []
    for point in _entry_points():
        if point.name in sys.modules:
            found += _load_entry_point(point)
    return found


def kind_tagged(tag: str) -> Kind | None:
    """The kind with this tag, its library's kinds loaded by now; ``None`` if there is none.

    Raises :class:`~offload_backend.errors.UnreadableBlobError` if the library is not installed.
    """
    library = tag.partition(".")[0]
    try:
        if tag not in _registered and library in _BUILT_IN:
            _load(library)
        if tag not in _registered:
            for point in _entry_points(name=library):
                _load_entry_point(point)
    except ImportError as error:
        raise missing_library(tag, library) from error
    return _registered.get(tag)


def missing_library(tag: str, needs: str) -> UnreadableBlobError:
    """The error for a value whose library cannot be imported here."""
    return UnreadableBlobError(
        f"the value holds a {tag}, and {needs} cannot be imported here",
        hint=f"pip install {needs} where the value is read",
    )


def _is_built_in(kind: Kind) -> bool:
    return type(kind).__module__ in _BUILT_IN.values()


def _load(library: str) -> None:
    """Register the kinds for a library that come with this package, once."""
    if library not in _loaded:
        for kind in import_module(_BUILT_IN[library]).KINDS:
            register(kind)
        _loaded.add(library)


def _load_entry_point(point: EntryPoint) -> list[Kind]:
    loaded: Kind | Sequence[Kind] = point.load()
    return [register(kind) for kind in (loaded if isinstance(loaded, Sequence) else (loaded,))]


def _entry_points(name: str | None = None) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS)
    return found if name is None else found.select(name=name)
