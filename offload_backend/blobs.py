"""Blobs at their places: an encoded value is written as one, and read from one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from offload_backend.address import (
    BlobName,
    StateAddress,
    blob_name,
    blob_scope,
    header_facts,
    is_header_of,
    new_blob_id,
)
from offload_backend.blobfile import (
    BlobFile,
    SealedBlob,
    digest_of,
    read_whole,
)
from offload_backend.blobstore import BlobStore, Buffer, CopiesRanges, CopiesRefusedError
from offload_backend.codecs import Codec, HeldSource, Source
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ForeignRefError,
    OffloadError,
    StoreError,
    UnsupportedValueError,
    without_text,
)
from offload_backend.isolation import IsOwn
from offload_backend.knownrefs import Row
from offload_backend.memorylimit import refuse_large
from offload_backend.observation.operation import note_copied, noted
from offload_backend.recent import RecentBlobs
from offload_backend.ref import BlobRef, PeerRef, format_ref
from offload_backend.settings import Settings
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.crypto import Keyring

__all__ = ["Blobs", "dangling", "readable", "refuse_unencrypted"]

_log = logging.getLogger(__name__)


class Blobs:
    """Writes and finds blobs. Safe to use from any thread and after a fork."""

    def __init__(self, settings: Settings, stores: StoreMap, clock: Callable[[], float] | None = None) -> None:
        self._settings = settings
        self._stores = stores
        self._clock = clock or _seconds_since_boot
        self._recent = RecentBlobs()
        self._copying = settings.copy_unchanged
        self._keyring: Keyring | None = None

    def write(
        self,
        codec: Codec,
        pieces: Iterable[Buffer],
        address: StateAddress,
        key: str,
        *,
        about: str,
        again: Callable[[], Iterable[Buffer]],
    ) -> str:
        """The ref of a new blob that holds the pieces; it is complete and durable.

        ``again`` gives the same pieces once more, for a store that turns out not to copy. Raises what ``pieces``
        and the store raise, and then there is no ref, and :class:`StoreError` when the upload took longer than
        ``commit_window``.
        """
        try:
            return self._written(codec, pieces, address, key, about=about)
        except CopiesRefusedError as error:
            self._copying = False
            _log.warning("nothing is copied any more, but sent: %s", error)
        return self._written(codec, again(), address, key, about=about)

    def _written(
        self, codec: Codec, pieces: Iterable[Buffer], address: StateAddress, key: str, *, about: str
    ) -> str:
        limits, blob_id = self._settings, new_blob_id()
        key_id, secret = self._keys().to_write() if limits.encryption_keys else ("", None)
        header = {
            "id": blob_id,
            **header_facts(address, key),
            "codec": codec.name,
            "created": datetime.now(tz=timezone.utc).isoformat(timespec="milliseconds"),
            **({"encrypted": key_id} if key_id else {}),
        }
        blob = BlobFile(
            header, pieces, level=limits.compression_level, max_raw=limits.max_value_bytes, secret=secret
        )
        extension = f"{codec.extension}.{'zst' if secret is None else 'enc'}"
        name = blob_name(limits.deployment, address, key, blob_id, extension)
        store, began = self._stores.to_write(), self._clock()
        self._put(store, name, blob, blob_scope(address, key))
        self._refuse_late(self._clock() - began)
        ref = BlobRef(
            url=f"{store.location}/{name}",
            size=blob.size,
            raw=blob.raw,
            digest=blob.blake3,
            seal=blob.seal,
            codec=codec.name,
            frames="encrypted" if key_id else "sealed",
            about=about,
            key=key_id,
        )
        return format_ref(noted(ref))

    def _put(self, store: BlobStore, name: str, blob: BlobFile, row: Row) -> None:
        """Store the blob; what the row's last one has in common with it need not be sent."""
        # No two encrypted blobs have a frame in common.
        copying = self._copying and isinstance(store, CopiesRanges) and not self._settings.encryption_keys
        last = self._recent.of(row) if copying else None
        with closing(blob.frames()) as frames:  # whatever raises, its threads end here
            if last is None or not isinstance(store, CopiesRanges):
                store.put(name, chain.from_iterable(frame.buffers for frame in frames))
            elif copied := store.put_with_copies(name, last.stretches(frames), last.name):
                note_copied(copied)
                _require_seal(store, name, blob)
        try:
            blob.check_unchanged()
        except UnsupportedValueError:
            store.delete([name])
            raise
        if copying:
            self._recent.remember(row, name, blob.places)

    def _refuse_late(self, seconds: float) -> None:
        """Hand out no ref that a collector may take for an orphan by the time its row is written.

        The collector's proof assumes that between the beginning of an upload and its commit there is
        less than ``commit_window``; a blob without a ref is one that it may delete.
        """
        if seconds > self._settings.commit_window.total_seconds():
            raise StoreError(
                f"the upload took {seconds:.0f} s, longer than commit_window",
                reason="failed",
                retryable=True,
                hint="set the key again; if uploads take that long, raise [offload_backend] commit_window, and "
                "gc_min_age above it",
            )

    def read(self, codec: Codec, ref: BlobRef, is_own: IsOwn | None = None) -> Any:
        """The value in the blob that the ref names, verified as it is read.

        Raises :class:`~offload_backend.errors.ForeignRefError` for a ref that points elsewhere, or to what is
        not ``is_own``, before any store is asked, and what ``codec`` raises.
        """
        store, name = self._stores.find(ref.url)
        blob = self._stores.blob_named(name, is_own)
        row = blob.scope, blob.key
        self._recent.remember(row, name, ())  # who sets the key again after damage must not get copies of it
        source = self._source(ref, store, name, blob)
        value = codec.decode(source)
        copying = self._copying and isinstance(store, CopiesRanges) and ref.frames == "sealed"
        if copying and isinstance(source, SealedBlob):
            self._recent.remember(row, name, source.verified.values())
        return value

    def open(self, ref: BlobRef) -> Source:
        """The encoded value in the blob, verified as it is read. Raises as :meth:`read`."""
        store, name = self._stores.find(ref.url)
        return self._source(ref, store, name, self._stores.blob_named(name))

    def _source(self, ref: BlobRef, store: BlobStore, name: str, blob: BlobName) -> Source:
        refuse_large(self._settings, ref)
        refuse_unencrypted(self._settings, ref)
        if ref.frames == "zstd":
            whole = read_whole(store.get(name), size=ref.size, raw=ref.raw, sha256=ref.digest, blob_id=blob.id)
            return HeldSource(whole)
        return SealedBlob(
            lambda start, memory: store.read_into(name, start, memory, ref.size),
            size=ref.size,
            raw=ref.raw,
            seal=ref.seal,
            blake3=ref.digest,
            blob_id=blob.id,
            concurrency=self._settings.concurrency,
            keys=self._keys().reader(ref.key) if ref.is_encrypted else None,
            confirm=partial(_require_state, blob) if ref.is_encrypted else None,
        )

    def _keys(self) -> Keyring:
        if self._keyring is None:
            from offload_backend.crypto import Keyring

            self._keyring = Keyring("encryption_keys", self._settings.encryption_keys, self._settings)
        return self._keyring


def refuse_unencrypted(settings: Settings, ref: BlobRef | PeerRef) -> None:
    """Where all is encrypted, whoever can write rows and blobs, and has no key, is not to be believed.

    Raises :class:`ForeignRefError`.
    """
    is_encrypted = isinstance(ref, BlobRef) and ref.is_encrypted
    if settings.encryption_keys and settings.unencrypted_blobs == "refuse" and not is_encrypted:
        raise ForeignRefError(
            "the blob is not encrypted",
            hint="if it is genuine, set [offload_backend] unencrypted_blobs = accept and run offload rekey",
        )


def _require_state(blob: BlobName, header: dict[str, Any]) -> None:
    """Raise :class:`BlobCorruptError` for a header of other state than the blob's name says.

    A name can be had without a key, by copying the blob; what was encrypted with the header cannot.
    """
    if not is_header_of(blob, header):
        raise BlobCorruptError("the blob was encrypted for other state than its name says")


def _require_seal(store: BlobStore, name: str, blob: BlobFile) -> None:
    """Raise :class:`CopiesRefusedError` unless the stored blob is as long as it should be and ends as it should.

    Not every store keeps to the range that it is to copy, and nothing in its answer tells. Raises
    :class:`StoreError` as well, where the store does not answer or has no such blob.
    """
    end = bytearray(blob.seal)
    try:
        store.read_into(name, blob.size - blob.seal, memoryview(end), blob.size)
        if digest_of((end,)).hex() == blob.blake3:
            return
    except BlobNotFoundError as error:
        raise StoreError(
            "the store does not have the blob that it has just taken",
            reason="failed",
            retryable=True,
            location=error.location,
            hint="set the key again; should it happen again, set [offload_backend] copy_unchanged = false",
        ) from error
    except BlobCorruptError:
        pass
    store.delete([name])
    raise CopiesRefusedError("the store has copied other bytes than it was asked to", reason="failed")


def _seconds_since_boot() -> float:
    """Also counts the time a machine is suspended, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@contextmanager
def readable(codec: str) -> Iterator[None]:
    """:class:`BlobCorruptError` for bytes that the codec cannot have written; as :func:`dangling` for the rest."""
    with dangling():
        try:
            yield
        except ValueError as error:
            if isinstance(error, OffloadError):
                raise
            raise BlobCorruptError(f"the bytes are not {codec}") from without_text(error)


@contextmanager
def dangling() -> Iterator[None]:
    """Tell those who meet a missing or damaged blob what they can do."""
    try:
        yield
    except BlobNotFoundError as error:
        error.hint = error.hint or (
            "the row refers to a blob that is gone: look for a lifecycle rule on the bucket and for a "
            "restored version of the blob; set the key again, or delete it, to go on without"
        )
        raise
    except BlobCorruptError as error:
        error.hint = error.hint or (
            "the blob was changed after it was written: restore an older version of it if the bucket "
            "keeps versions; set the key again, or delete it, to go on without"
        )
        raise
