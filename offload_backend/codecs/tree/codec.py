"""The tree codec: any nesting of values that a kind knows, exact."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import orjson

from offload_backend.blobstore import Buffer
from offload_backend.codecs.garbage import collector_paused
from offload_backend.codecs.source import Source
from offload_backend.codecs.tree.allowed import AllowedClasses, ClassPolicy
from offload_backend.codecs.tree.facts import exactly
from offload_backend.codecs.tree.layout import Layout, pieces_of, read_layout
from offload_backend.codecs.tree.memory import Memory, NewBytes, memory_for
from offload_backend.codecs.tree.reading import Document, TreeReader
from offload_backend.codecs.tree.room import with_room
from offload_backend.codecs.tree.writing import Tree, tree_of
from offload_backend.errors import OffloadError, UnreadableBlobError, UnsupportedValueError
from offload_backend.row import TYPED

if TYPE_CHECKING:
    from offload_backend.codecs.tree.view import TreeView

__all__ = ["TreeCodec"]

INLINE = TYPED
"""How the text of an inline value begins; JSON follows, of nothing but ASCII."""

INLINE_VERSION = 1


class TreeCodec:
    """Values of kinds, as a safetensors file with the structure in its first tensor; small ones also as a text.

    Classes come back if ``policy`` permits them; with ``classes="plain"`` as dicts, tuples and values instead.
    """

    name = "tree"
    extension = "safetensors"

    def __init__(
        self, policy: ClassPolicy | None = None, *, classes: Literal["restored", "plain"] = "restored"
    ) -> None:
        self._policy = policy or AllowedClasses()
        self._plain = classes == "plain"

    def encode(self, value: Any) -> Iterator[Buffer]:
        """The file: header and structure, then every buffer of the value as it is, without a copy.

        Raises :class:`~offload_backend.errors.UnsupportedValueError` before the first piece.
        """
        tree = self._tree_of(value)
        yield from pieces_of(tree.text, tree.tensors)

    def decode(self, source: Source) -> Any:
        """The value. All memory is allocated once, at most as much as the source has bytes, and filled at once.

        Raises :class:`ValueError` for what ``encode`` cannot have written, and
        :class:`~offload_backend.errors.UnreadableBlobError` for classes that are not permitted, for kinds
        and versions that are not known here, and for libraries that are not installed.
        """
        with _only_value_errors():
            layout = read_layout(source)
            with collector_paused():
                document = Document(orjson.loads(layout.text))
            places = places_of(layout, document)
            memories = [
                memory_for(end - begin, frozen=number in document.frozen)
                for number, (begin, end) in enumerate(places)
            ]
            source.fill(_in_order(places, memories))
            return self._built(document, memories, plain=self._plain)

    def opened(self, source: Source, *, plain: bool = False) -> TreeView:
        """A look into the value, which reads its structure now and the rest when it is asked for."""
        from offload_backend.codecs.tree.view import open_tree

        with _only_value_errors():
            return open_tree(source, self._policy, plain=plain or self._plain)

    def inline_text(self, value: Any, limit: int | None = None) -> str | None:
        """The value as one line of ASCII, for a row; ``None`` if it takes more than ``limit`` characters.

        Raises as :meth:`encode`.
        """
        return _inline_text(self._tree_of(value), limit)

    def inline_or_encoded(self, value: Any, limit: int) -> tuple[str | None, Iterator[Buffer]]:
        """What :meth:`inline_text` and :meth:`encode` give, for a caller that uses one: one walk for both."""
        tree = self._tree_of(value)
        return _inline_text(tree, limit), pieces_of(tree.text, tree.tensors)

    def value_of_inline(self, text: str, *, plain: bool = False) -> Any:
        """The value of a text that :meth:`inline_text` gave. Raises as :meth:`decode`."""
        with _only_value_errors():
            if not text.startswith(INLINE) or not text.isascii():
                raise ValueError("not the text of an inline value")
            facts = exactly(orjson.loads(text[len(INLINE) :]), dict)
            if facts.pop("offload_tree", None) != INLINE_VERSION:
                raise UnreadableBlobError(
                    "the row holds an inline value of a version that this installation does not know",
                    hint="upgrade offload-backend where the value is read",
                )
            buffers = [base64.b64decode(exactly(part, str), validate=True) for part in facts.pop("buffers", [])]
            document = Document(facts)
            memories = []
            for number, data in enumerate(buffers):
                memory = memory_for(len(data), frozen=number in document.frozen)
                memory.view[:] = data
                memories.append(memory)
            return self._built(document, memories, plain=plain or self._plain)

    def _tree_of(self, value: Any) -> Tree:
        """The tree; the error of this package for whatever an odd object raises when it is looked at."""
        try:
            return tree_of(value, self._policy)
        except (OffloadError, RecursionError, MemoryError):
            raise
        except Exception as error:
            message = f"a part of it cannot be looked at: {type(error).__name__}"
            raise UnsupportedValueError(message, path="value", hint="store plain data") from error

    def _built(self, document: Document, memories: list[Memory | NewBytes], *, plain: bool) -> Any:
        kept: dict[int, Memory | NewBytes] = dict(enumerate(memories))
        sizes = [len(memory.view) for memory in memories]
        memories.clear()  # the value's parts take over, one by one, and a part that copies lets go of its buffer
        reader = TreeReader(document, sizes, kept.pop, self._policy, plain=plain)
        with collector_paused():  # it would walk the growing value, again and again
            return with_room(lambda: reader.value(document.value))


def _in_order(places: list[tuple[int, int]], memories: list[Memory | NewBytes]) -> list[tuple[int, memoryview]]:
    """What is to be filled from where. Nothing else may keep the list, and with it the memories."""
    starts = (begin for begin, _ in places)
    targets = [(begin, memory.view) for begin, memory in zip(starts, memories, strict=True) if memory.view]
    return sorted(targets, key=lambda target: target[0])


def _inline_text(tree: Tree, limit: int | None) -> str | None:
    if limit is not None and len(tree.text) + sum(tensor.size for tensor in tree.tensors) > limit:
        return None
    document = orjson.loads(tree.text)
    if "packed" in document:
        return None
    buffers = [base64.b64encode(b"".join(tensor.pieces())).decode() for tensor in tree.tensors]
    facts = {"offload_tree": INLINE_VERSION, **document, "buffers": buffers}
    text = INLINE + json.dumps(facts, separators=(",", ":"))
    return text if limit is None or len(text) <= limit else None


def places_of(layout: Layout, document: Document) -> list[tuple[int, int]]:
    """Begin and end of every buffer, also of those that share a tensor. Raises :class:`ValueError`."""
    places = list(layout.places)
    if not document.packed:
        return places
    if not layout.names or layout.names[-1] != "packed" or min(document.packed) < 0:
        raise ValueError("packed buffers, and nothing that they are packed in")
    begin, end = places.pop()
    for size in document.packed:
        places.append((begin, begin + size))
        begin += size
    if begin != end:
        raise ValueError("packed buffers that are not all of their tensor")
    return places


@contextmanager
def _only_value_errors() -> Iterator[None]:
    """Whatever hostile facts set off in a kind, they are not what ``encode`` wrote.

    But what a signal raises while a lock is taken may come out as that lock's error, and says nothing of the blob.
    """
    before = sys.exc_info()[1]
    try:
        yield
    except (OffloadError, ValueError, MemoryError):
        raise
    except Exception as error:
        raised: BaseException | None = error
        while raised is not None and raised is not before:
            if not isinstance(raised, Exception):
                raise raised from None
            raised = raised.__context__
        raise ValueError(f"not a tree: {type(error).__name__}") from error
