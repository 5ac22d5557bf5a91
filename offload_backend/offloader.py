"""Offload and resolve: the hot path on one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from offload_backend.address import BlobName, StateAddress, parse_blob_name
from offload_backend.codecs import Codec, Codecs
from offload_backend.codecs.json import NotJsonError
from offload_backend.codecs.view import HeldView, View
from offload_backend.description import described
from offload_backend.errors import (
    ForeignRefError,
    OffloadError,
    UnsupportedValueError,
    concerning,
    without_text,
)
from offload_backend.isolation import IsOwn, require_own
from offload_backend.location import shown, without_user
from offload_backend.memorylimit import within_memory
from offload_backend.observation.operation import noted
from offload_backend.ref import BlobRef, PeerRef, parse_ref
from offload_backend.row import envelope, fits_row, is_typed
from offload_backend.settings import Settings
from offload_backend.signature import Signatures
from offload_backend.storemap import FOREIGN, StoreMap

if TYPE_CHECKING:
    from offload_backend.blobs import Blobs
    from offload_backend.blobstore import BlobStore, Buffer, DeleteReport

__all__ = ["Offloader", "refuse_hidden_dots"]


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
        self._codecs = Codecs(settings)
        self._signatures = Signatures(settings)
        self._clock = clock
        self._opened: Blobs | None = None

    @property
    def _blobs(self) -> Blobs:
        """Imported with the first blob: most values stay in their rows."""
        if self._opened is None:
            from offload_backend.blobs import Blobs

            self._opened = Blobs(self.settings, self._stores, self._clock)
        return self._opened

    def offload(self, value: Any, address: StateAddress, key: str) -> str:
        """The text that a row keeps for the value: the value itself if the row stays small, else a ref.

        When a ref is returned, its blob is complete and durable. Raises
        :class:`UnsupportedValueError` for a value that would not come back equal, type for type, and
        :class:`StoreError` when the upload took longer than ``commit_window``.
        """
        with concerning(address, key):
            self._stores.require_path()
            if value is None:
                raise UnsupportedValueError("None cannot be stored", path="value", hint="delete the key")
            try:
                return self._as_json(value, address, key)
            except NotJsonError:
                pass  # and what is sent already is forgotten: that part of the value was JSON
            return self._as_tree(value, address, key)

    def resolve(self, text: str, is_own: IsOwn | None = None) -> Any:
        """The value that :meth:`offload` was given, verified, from the text it returned.

        ``is_own`` tells whose the row is, so that a ref copied from another row is a
        :class:`ForeignRefError`; ``None`` is the operator, who may read all that is the deployment's.
        Also reads what Airflow's own common-io backend left in a row. Raises an
        :class:`~offload_backend.errors.OffloadError`; never returns a value in part, nor ``None`` for
        a blob that is gone.
        """
        if not isinstance(text, str):
            raise ForeignRefError("the row's envelope holds no text", hint=FOREIGN)
        ref = parse_ref(text)
        if ref is None:
            return self._inline(text)
        with concerning(location=shown(noted(ref).url)):
            self._signatures.check(text)
            if isinstance(ref, PeerRef):
                from offload_backend.blobs import dangling, refuse_unencrypted
                from offload_backend.peervalue import peer_scopes, read_peer_value

                refuse_unencrypted(self.settings, ref)
                store, name = self._stores.find(without_user(ref.url))
                refuse_hidden_dots(name)
                require_own(is_own, *((scope, None) for scope in peer_scopes(name)))
                with within_memory(0), dangling():
                    return read_peer_value(store.get(name), max_bytes=self.settings.max_value_bytes)
            return self._read(ref, is_own)

    def look(self, text: str, *, plain: bool = False) -> View:
        """A look at the value: of a tree only what is asked for is read, anything else is read whole.

        ``plain`` gives dicts, tuples and values where a tree holds instances of classes. Raises as :meth:`resolve`,
        and so does the view.
        """
        ref = parse_ref(text) if isinstance(text, str) else None
        if not isinstance(ref, BlobRef) or ref.codec != "tree":
            inline = isinstance(text, str) and ref is None
            return HeldView(self._inline(text, plain=plain) if inline else self.resolve(text))
        from offload_backend.blobs import readable

        with concerning(location=shown(ref.url)), readable("tree"):
            self._signatures.check(text)
            return self._codecs.tree.opened(self._blobs.open(ref), plain=plain)

    def discard(self, texts: Iterable[str], is_own: IsOwn | None = None) -> DeleteReport:
        """Delete exactly the blobs, below the configured path, that these texts refer to.

        For texts whose rows are gone. Anything else among them is left alone, and so is what is not ``is_own``.
        Trouble with the store is reported, never raised.
        """
        from offload_backend.blobstore import DeleteReport, delete_told

        names = [name for name in map(self._own_name, texts) if name and _is_of(is_own, name)]
        if not names:
            return DeleteReport()
        return delete_told(lambda names: self._stores.to_write().delete(names), names)

    def blob_read(self, text: str) -> BlobName | None:
        """The blob of ours that the text refers to, wherever :meth:`resolve` would read it."""
        with suppress(OffloadError):
            ref = parse_ref(text)
            if isinstance(ref, BlobRef):
                return self._stores.blob_named(self._stores.find(ref.url)[1])
        return None

    def blob_of(self, text: str) -> BlobName | None:
        """The blob that the text refers to, if this deployment may delete it; opens no store."""
        name = self._own_name(text)
        return parse_blob_name(name) if name else None

    def _own_name(self, text: str) -> str | None:
        """See :meth:`StoreMap.own_name`; of a ref that would not be read, nothing is believed here either."""
        name = self._stores.own_name(text)
        return name if name and self._signatures.vouches(text) else None

    def _as_json(self, value: Any, address: StateAddress, key: str) -> str:
        codec, limit = self._codecs.json, self.settings.inline_limit
        pieces = codec.encode(value)
        head, complete = _take(pieces, limit)
        if complete and fits_row(text := head.decode(), limit):
            return text
        return self._stored(codec, chain((head,), pieces), value, address, key)

    def _as_tree(self, value: Any, address: StateAddress, key: str) -> str:
        codec, limit = self._codecs.tree, self.settings.inline_limit
        try:
            text, pieces = codec.inline_or_encoded(value, limit)
            if text is not None and len(envelope(text)) <= limit:
                return text
            return self._stored(codec, pieces, value, address, key)
        except UnsupportedValueError:
            pickled = self._codecs.pickle
            if pickled is None:
                raise
        return self._stored(pickled, pickled.encode(value), value, address, key)

    def _stored(self, codec: Codec, pieces: Iterable[Buffer], value: Any, address: StateAddress, key: str) -> str:
        about, again = described(value), partial(codec.encode, value)
        return self._signatures.signed(self._blobs.write(codec, pieces, address, key, about=about, again=again))

    def _read(self, ref: BlobRef, is_own: IsOwn | None) -> Any:
        from offload_backend.blobs import readable

        codec = self._codecs.named(ref.codec)
        allowed = ref.raw <= self.settings.max_value_bytes  # else Blobs refuses it, and says why
        with within_memory(ref.raw if allowed else 0), readable(codec.name):
            return self._blobs.read(codec, ref, is_own)

    def _inline(self, text: str, *, plain: bool = False) -> Any:
        try:
            with within_memory(len(text)):
                return self._codecs.tree.value_of_inline(text, plain=plain) if is_typed(text) else json.loads(text)
        except (ValueError, RecursionError) as error:
            if isinstance(error, OffloadError):
                raise
            raise ForeignRefError(
                "the row holds neither a ref nor a value",
                hint="this backend did not write it: set the key again, or delete it",
            ) from without_text(error)


def _is_of(is_own: IsOwn | None, name: str) -> bool:
    blob = parse_blob_name(name)
    return is_own is None or (blob is not None and is_own(blob.scope, blob.key))


def refuse_hidden_dots(name: str) -> None:
    """Some drivers decode what they are asked for; the peer itself never writes such a segment."""
    if any(unquote(segment) in (".", "..") for segment in name.split("/")):
        raise ForeignRefError("the ref points outside the locations that may be read", hint=FOREIGN)


def _take(pieces: Iterator[bytes], limit: int) -> tuple[bytes, bool]:
    """The first pieces, and whether they are all there are, reading little further than ``limit`` bytes."""
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) > limit:
            return bytes(head), False
    return bytes(head), True
