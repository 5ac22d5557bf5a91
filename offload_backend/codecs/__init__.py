"""Codecs turn a value into bytes and back. A blob's ref names the codec that reads it, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from offload_backend.blobstore import Buffer
from offload_backend.codecs.json import JsonCodec
from offload_backend.codecs.source import HeldSource, Source
from offload_backend.errors import UnreadableBlobError

__all__ = ["Codec", "HeldSource", "JsonCodec", "Source", "codec_named"]


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


_CODECS: dict[str, Codec] = {codec.name: codec for codec in (JsonCodec(),)}


def codec_named(name: str) -> Codec:
    """The codec that a ref names, or :class:`UnreadableBlobError`."""
    codec = _CODECS.get(name)
    if codec is None:
        known = ", ".join(sorted(_CODECS))
        raise UnreadableBlobError(
            f"this version has no codec {name!r} (it has: {known})",
            hint="upgrade offload-backend where the value is read",
        )
    return codec
