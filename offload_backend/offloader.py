"""Offload and resolve: the hot path on one page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from offload_backend.address import (
    AssetAddress,
    BlobName,
    StateAddress,
    blob_name,
    new_blob_id,
    parse_blob_name,
)
from offload_backend.codecs import Codec, HeldSource, JsonCodec, Source, codec_named
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ForeignRefError,
    OffloadError,
    StoreError,
    UnreadableBlobError,
    UnsupportedValueError,
    concerning,
)
from offload_backend.location import shown, without_user
from offload_backend.ref import BlobRef, PeerRef, format_ref, parse_ref
from offload_backend.row import fits_row
from offload_backend.settings import Settings
from offload_backend.storemap import FOREIGN, StoreMap

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore, Buffer, DeleteReport

__all__ = ["Offloader"]


class Offloader:
    """Values to text for a row, and back.

    Safe to use from any thread and after a fork: stores are opened at first use, in the process that
    uses them. ``open_store`` gets one of the configured paths.
    """

    def __init__(
        self,
        settings: Settings,
        open_store: Callable[[str], BlobStore],
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self._stores = StoreMap(settings, open_store)
        self._clock = clock or _seconds_since_boot
        self._codec: Codec = JsonCodec()

    def offload(self, value: Any, address: StateAddress, key: str) -> str:
        """The text that a row keeps for the value: its JSON if the row stays small, else a ref.

        When a ref is returned, its blob is complete and durable. Raises
        :class:`UnsupportedValueError` for a value that would not come back equal, type for type, and
        :class:`StoreError` when the upload took longer than ``commit_window``.
        """
        with concerning(address, key):
            self._stores.require_path()
            if value is None:
                raise UnsupportedValueError("None cannot be stored", path="value", hint="delete the key")
            pieces = self._codec.encode(value)
            head, complete = _take(pieces, self.settings.inline_limit)
            if complete and fits_row(text := head.decode(), self.settings.inline_limit):
                return text
            return self._write(chain((head,), pieces), address, key, _describe(value))

    def resolve(self, text: str) -> Any:
        """The value that :meth:`offload` was given, verified, from the text it returned.

        Also reads what Airflow's own common-io backend left in a row. Raises an
        :class:`~offload_backend.errors.OffloadError`; never returns a value in part, nor ``None`` for
        a blob that is gone.
        """
        if not isinstance(text, str):
            raise ForeignRefError("the row's envelope holds no text", hint=FOREIGN)
        ref = parse_ref(text)
        if ref is None:
            return _inline(text)
        with concerning(location=shown(ref.url)):
            if isinstance(ref, PeerRef):
                from offload_backend.peervalue import read_peer_value

                store, name = self._stores.find(without_user(ref.url))
                _refuse_hidden_dots(name)
                with _dangling():
                    return read_peer_value(store.get(name), max_bytes=self.settings.max_value_bytes)
            return self._read(ref)

    def discard(self, texts: Iterable[str]) -> DeleteReport:
        """Delete exactly the blobs, below the configured path, that these texts refer to.

        For texts whose rows are gone. Anything else among them is left alone. Trouble with the store
        is reported, never raised.
        """
        from offload_backend.blobstore import DeleteReport

        names = [name for name in map(self._stores.own_name, texts) if name]
        if not names:
            return DeleteReport()
        try:
            return self._stores.to_write().delete(names)
        except OffloadError as error:
            return DeleteReport(failed=dict.fromkeys(names, error.message))

    def blob_of(self, text: str) -> BlobName | None:
        """The blob that the text refers to, if this deployment may delete it; opens no store."""
        name = self._stores.own_name(text)
        return parse_blob_name(name) if name else None

    def _write(self, pieces: Iterable[Buffer], address: StateAddress, key: str, about: str) -> str:
        from offload_backend.blobfile import BlobFile

        blob_id = new_blob_id()
        header = {
            "id": blob_id,
            **_identity(address),
            "key": key,
            "codec": self._codec.name,
            "created": datetime.now(tz=timezone.utc).isoformat(timespec="milliseconds"),
        }
        limits = self.settings
        blob = BlobFile(header, pieces, level=limits.compression_level, max_raw=limits.max_value_bytes)
        name = blob_name(limits.deployment, address, key, blob_id, f"{self._codec.extension}.zst")
        store = self._stores.to_write()
        began = self._clock()
        store.put(name, blob)
        blob.check_unchanged()
        self._refuse_late(self._clock() - began)
        return format_ref(
            BlobRef(
                url=f"{store.location}/{name}",
                size=blob.size,
                raw=blob.raw,
                digest=blob.blake3,
                seal=blob.seal,
                codec=self._codec.name,
                about=about,
            )
        )

    def _refuse_late(self, seconds: float) -> None:
        """Hand out no ref that a collector may take for an orphan by the time its row is written.

        The collector's proof assumes that between the beginning of an upload and its commit there is
        less than ``commit_window``; a blob without a ref is one that it may delete.
        """
        if seconds > self.settings.commit_window.total_seconds():
            raise StoreError(
                f"the upload took {seconds:.0f} s, longer than commit_window",
                reason="failed",
                retryable=True,
                hint="set the key again; if uploads take that long, raise [offload_backend] commit_window, and "
                "gc_min_age above it",
            )

    def _read(self, ref: BlobRef) -> Any:
        store, name = self._stores.find(ref.url)
        blob_id = self._stores.blob_named(name).id
        codec = codec_named(ref.codec)
        self._refuse_large(ref)
        with _dangling():
            try:
                return codec.decode(self._source(ref, store, name, blob_id))
            except ValueError as error:
                if isinstance(error, OffloadError):
                    raise
                raise BlobCorruptError(f"the bytes are not {codec.name}") from error

    def _source(self, ref: BlobRef, store: BlobStore, name: str, blob_id: str) -> Source:
        """The encoded value in the blob, verified as it is read."""
        from offload_backend.blobfile import SealedBlob, read_whole

        if ref.frames == "zstd":
            whole = read_whole(store.get(name), size=ref.size, raw=ref.raw, sha256=ref.digest, blob_id=blob_id)
            return HeldSource(whole)
        return SealedBlob(
            lambda start, memory: store.read_into(name, start, memory, ref.size),
            size=ref.size,
            raw=ref.raw,
            seal=ref.seal,
            blake3=ref.digest,
            blob_id=blob_id,
            concurrency=self.settings.concurrency,
        )

    def _refuse_large(self, ref: BlobRef) -> None:
        """Nothing is allocated for a ref that claims more than may be, or than its own facts allow."""
        from offload_backend.blobfile import most_sealed_bytes, most_stored_bytes

        impossible = ref.size > most_stored_bytes(ref.raw) or ref.seal > most_sealed_bytes(ref.raw)
        if ref.raw > self.settings.max_value_bytes or impossible:
            raise UnreadableBlobError(
                f"the ref claims {max(ref.raw, ref.size)} bytes, more than this deployment reads",
                hint="raise [offload_backend] max_value_bytes if the ref is genuine",
            )


def _seconds_since_boot() -> float:
    """Also counts the time a machine is suspended, where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _refuse_hidden_dots(name: str) -> None:
    """Some drivers decode what they are asked for; the peer itself never writes such a segment."""
    if any(unquote(segment) in (".", "..") for segment in name.split("/")):
        raise ForeignRefError("the ref points outside the locations that may be read", hint=FOREIGN)


def _inline(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ForeignRefError(
            "the row holds neither a ref nor JSON",
            hint="this backend did not write it: set the key again, or delete it",
        ) from error


def _take(pieces: Iterator[bytes], limit: int) -> tuple[bytes, bool]:
    """The first pieces, and whether they are all there are, reading little further than ``limit`` bytes."""
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) > limit:
            return bytes(head), False
    return bytes(head), True


def _describe(value: Any) -> str:
    """Type and length, for people who look at a row. Never content."""
    kind = type(value).__name__
    return f"{kind}[{len(value)}]" if isinstance(value, (str, list, dict)) else kind


def _identity(address: StateAddress) -> dict[str, Any]:
    if isinstance(address, AssetAddress):
        return {"asset": {"name": address.name} if address.name is not None else {"uri": address.uri}}
    task = {"dag": address.dag_id, "run": address.run_id, "task": address.task_id, "index": address.map_index}
    return {"task": {**task, "region": str(address.region_id)} if address.region_id else task}


@contextmanager
def _dangling() -> Iterator[None]:
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
