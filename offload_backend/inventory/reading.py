"""Stored values as bytes: what they were encoded to, what is stored, and what a blob says of itself; verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offload_backend.address import is_header_of
from offload_backend.blobfile import MAX_HEADER, Seal, digest_of, header_at_start
from offload_backend.blobs import Blobs, dangling, refuse_unencrypted
from offload_backend.errors import BlobCorruptError, ForeignRefError, concerning
from offload_backend.location import shown, without_user
from offload_backend.memorylimit import refuse_large, within_memory
from offload_backend.offloader import refuse_hidden_dots
from offload_backend.ref import BlobRef, PeerRef, parse_ref
from offload_backend.signature import Signatures
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.address import BlobName
    from offload_backend.blobfile.seal import Place
    from offload_backend.blobstore import BlobStore
    from offload_backend.settings import Settings

__all__ = ["Reading", "Told"]

STRETCH = 16 * 1024 * 1024
"""Bytes of an encoded value that are held at a time."""


@dataclass(frozen=True)
class Told:
    """What a blob says of itself. ``frames`` counts those that hold its value; ``verified`` is whether the ref
    pins what was read: of a blob of format 1 it pins all of it or nothing.
    """

    header: dict[str, Any]
    frames: int
    verified: bool


class Reading:
    """Reads stored values of one deployment as an operator may: of whatever state. Opens stores when needed.

    What is verified is what ``get`` verifies; every method raises as that does.
    """

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore]) -> None:
        self._settings = settings
        self._stores = StoreMap(settings, open_store)
        self._blobs = Blobs(settings, self._stores)
        self._signatures = Signatures(settings)

    def ref(self, text: str) -> BlobRef | PeerRef:
        """The ref that the text is, if this deployment would read it as far as the ref alone tells."""
        ref = parse_ref(text)
        if ref is None:
            raise ForeignRefError("this is not a ref", hint="a ref is a URL, with # and facts behind it")
        with concerning(location=shown(ref.url)):
            self._signatures.check(text)
            refuse_unencrypted(self._settings, ref)
        return ref

    def told(self, ref: BlobRef) -> Told:
        """The blob's header and seal, in two small requests; its value is not read, and no key is needed."""
        with self._blob(ref) as (store, name, blob):
            if ref.frames == "zstd":
                return Told(header_at_start(store.get_range(name, 0, MAX_HEADER)), 0, verified=False)
            above, *frames = _places(store, name, ref)
            start = store.get_range(name, above.start, above.size)
            _verify(start, above)
            header = header_at_start(start)
            if header.get("id") != blob.id or not is_header_of(blob, header):
                raise BlobCorruptError("the header is of another blob than the ref names")
            return Told(header, len(frames) - ref.is_encrypted, verified=True)

    def encoded(self, ref: BlobRef) -> Iterator[bytes | bytearray]:
        """The value as its codec wrote it, in pieces; each is verified before it is yielded.

        Memory is bounded by a piece and the requests for it; of a blob of format 1 by the value.
        """
        held = ref.raw if ref.frames == "zstd" else 0
        with (
            concerning(location=shown(ref.url)),
            dangling(),
            within_memory(held),
            closing(self._blobs.open(ref)) as source,
        ):
            for start in range(0, source.size, STRETCH):
                yield source.read(start, min(STRETCH, source.size - start))

    def stored(self, ref: BlobRef | PeerRef) -> Iterator[bytes]:
        """What is stored, in pieces; each frame is verified before it is yielded, an encrypted one without its key.

        Of the peer's files nothing can be verified; a blob of format 1 only as a whole, so what went before an
        error is worth nothing.
        """
        if isinstance(ref, PeerRef):
            with self._file(ref) as (store, name):
                yield from store.get(name)
            return
        with self._blob(ref) as (store, name, _):
            yield from _whole(store, name, ref) if ref.frames == "zstd" else _frames(store, name, ref)

    def require(self, ref: PeerRef) -> None:
        """Raise unless the store has what the ref names: all that can be told of a file of the peer's."""
        with self._file(ref) as (store, name):
            store.get_range(name, 0, 1)

    @contextmanager
    def _file(self, ref: PeerRef) -> Iterator[tuple[BlobStore, str]]:
        with concerning(location=shown(ref.url)), dangling():
            store, name = self._stores.find(without_user(ref.url))
            refuse_hidden_dots(name)
            yield store, name

    @contextmanager
    def _blob(self, ref: BlobRef) -> Iterator[tuple[BlobStore, str, BlobName]]:
        with concerning(location=shown(ref.url)), dangling():
            store, name = self._stores.find(ref.url)
            blob = self._stores.blob_named(name)
            refuse_large(self._settings, ref)
            yield store, name, blob


def _places(store: BlobStore, name: str, ref: BlobRef) -> tuple[Place, ...]:
    """Where the header and the frames are; the blob is as long as the ref says, and ends as it says."""
    if not 0 < ref.seal <= ref.size:
        raise BlobCorruptError(f"a blob of {ref.size} bytes has no seal of {ref.seal}")
    end = bytearray(ref.seal)
    store.read_into(name, ref.size - ref.seal, memoryview(end), ref.size)
    encrypted = ref.is_encrypted
    return Seal.parse(bytes(end), size=ref.size, raw=ref.raw, blake3=ref.digest, encrypted=encrypted).places


def _verify(frame: bytes | bytearray, place: Place) -> None:
    if digest_of((frame,)) != place.digest:
        raise BlobCorruptError(f"the {place.size} bytes from {place.start} are not those that were written")


def _frames(store: BlobStore, name: str, ref: BlobRef) -> Iterator[bytes]:
    places, held = iter(_places(store, name, ref)), bytearray()
    place = next(places, None)
    for chunk in store.get(name):
        held += chunk
        while place is not None and len(held) >= place.size:
            frame = bytes(memoryview(held)[: place.size])
            _verify(frame, place)
            yield frame
            del held[: place.size]
            place = next(places, None)
        if place is None and len(held) > ref.seal:
            break
    if place is not None or len(held) != ref.seal or digest_of((held,)).hex() != ref.digest:
        raise BlobCorruptError("the blob does not end with the seal that the ref pins")
    yield bytes(held)


def _whole(store: BlobStore, name: str, ref: BlobRef) -> Iterator[bytes]:
    digest, got = hashlib.sha256(), 0
    for chunk in store.get(name):
        digest.update(chunk)
        got += len(chunk)
        yield chunk
    if (got, digest.hexdigest()) != (ref.size, ref.digest):
        raise BlobCorruptError("the blob is not the one that was written: nothing of it may be used")
