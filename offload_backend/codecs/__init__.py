"""Codecs turn a value into bytes and back. A blob's ref names the codec that reads it, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from offload_backend.blobstore import Buffer
from offload_backend.codecs.json import JsonCodec
from offload_backend.codecs.source import HeldSource, Source
from offload_backend.errors import UnreadableBlobError

if TYPE_CHECKING:
    from offload_backend.codecs.tree.codec import TreeCodec
    from offload_backend.settings import Settings

__all__ = ["Codec", "Codecs", "HeldSource", "JsonCodec", "Source"]


class Codec(Protocol):
    """Pure functions of the value; no input or output."""

    @property
    def name(self) -> str:
        """The word that refs carry."""
        ...

    @property
    def extension(self) -> str:
        """File name extension of the encoded bytes, for people."""
        ...

    def encode(self, value: Any) -> Iterator[Buffer]:
        """The value's bytes, piece by piece, so that memory is bounded by a piece and not by the value.

        A piece may be a view of the value's own memory.

        Raises :class:`~offload_backend.errors.UnsupportedValueError`, at the latest with the last
        piece, unless ``decode`` of the joined pieces gives the value back, type for type.
        """
        ...

    def decode(self, source: Source) -> Any:
        """The value; raises :class:`ValueError` for bytes that ``encode`` cannot have made."""
        ...


class Codecs:
    """The codecs that a deployment uses. What is not JSON is imported when it is first needed."""

    # Without functools.cached_property: until Python 3.12 it has a lock, which a fork could leave held.

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tree: TreeCodec | None = None
        self.json = JsonCodec()

    @property
    def tree(self) -> TreeCodec:
        """For what JSON does not hold; with the classes that the settings allow."""
        if self._tree is None:
            from offload_backend.codecs.tree.allowed import AllowedClasses
            from offload_backend.codecs.tree.codec import TreeCodec

            allowed, regexps = self._settings.allowed_classes, self._settings.allowed_classes_regexp
            setting = "[offload_backend] allowed_classes"
            self._tree = TreeCodec(AllowedClasses(allowed, regexps, setting=setting))
        return self._tree

    @property
    def pickle(self) -> Codec | None:
        """For what a tree does not hold either, where the deployment has chosen it."""
        if self._settings.codec != "pickle":
            return None
        from offload_backend.codecs.pickle import PickleCodec

        return PickleCodec()

    def named(self, name: str) -> Codec:
        """The codec that a ref names, or :class:`UnreadableBlobError`."""
        if name == "json":
            return self.json
        if name == "tree":
            return self.tree
        if name != "pickle":
            raise UnreadableBlobError(
                f"this version has no codec {name!r} (it has: json, pickle, tree)",
                hint="upgrade offload-backend where the value is read",
            )
        pickled = self.pickle
        if pickled is None:
            raise UnreadableBlobError(
                "the value is a pickle, and reading one can run whatever its writer chose",
                hint="set [offload_backend] codec = pickle where it is read, if everybody who can write rows and "
                "blobs may run code there",
            )
        return pickled
