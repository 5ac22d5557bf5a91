"""Encoded values are copied from one blob to another, verified, without becoming values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from offload_backend.blobfile import SealedBlob
from offload_backend.blobs import Blobs, dangling
from offload_backend.codecs import Codecs, Source
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.address import StateAddress
    from offload_backend.blobstore import BlobStore, Buffer
    from offload_backend.ref import BlobRef
    from offload_backend.settings import Settings

__all__ = ["Copying"]

STRETCH = 8 * 1024 * 1024
"""Bytes of the encoded value that are read at a time, and a frame more."""


class Copying:
    """Copies blobs that ``reading`` finds to the path of ``writing``, encrypted and compressed as that says.

    In memory for a few frames; only a blob of format 1 is held whole.
    """

    def __init__(self, reading: Settings, writing: Settings, open_store: Callable[[str], BlobStore]) -> None:
        self._codecs = Codecs(reading)
        self._from = Blobs(reading, StoreMap(reading, open_store))
        self._to = Blobs(writing, StoreMap(writing, open_store))

    def copied(self, ref: BlobRef, address: StateAddress, key: str) -> str:
        """The ref of a new blob with the same encoded value, cut into the same frames; not signed.

        Raises as a task's ``get`` and ``set`` do.
        """
        codec = self._codecs.named(ref.codec)
        with dangling():
            source = self._from.open(ref)
            try:
                again = partial(_pieces, source)
                return self._to.write(codec, again(), address, key, about=ref.about, again=again)
            finally:
                source.close()


def _pieces(source: Source) -> Iterator[Buffer]:
    """The encoded value as its frames hold it, read a few of them at a time."""
    frames = [place.raw for place in source.seal.places if place.raw] if isinstance(source, SealedBlob) else []
    start, run = 0, list[int]()
    for size in frames or [source.size]:
        run.append(size)
        if sum(run) >= STRETCH:
            yield from _stretch(source, start, run)
            start, run = start + sum(run), []
    yield from _stretch(source, start, run)


def _stretch(source: Source, start: int, sizes: list[int]) -> Iterator[Buffer]:
    # As bytes, which nobody changes: the writer needs not look at them again when they are stored.
    held = memoryview(bytes(source.read(start, sum(sizes))))
    for size in sizes:
        yield held[:size]
        held = held[size:]
