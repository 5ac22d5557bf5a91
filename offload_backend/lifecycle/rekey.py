"""Which refs need other keys: the first of ``encryption_keys`` for blobs, that of ``signing_keys`` for refs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from offload_backend.blobfile import SealedBlob
from offload_backend.blobs import Blobs, dangling
from offload_backend.codecs import Codecs, Source
from offload_backend.crypto import Keyring
from offload_backend.errors import ConfigError, ForeignRefError, OffloadError
from offload_backend.lifecycle.remaking import Change
from offload_backend.ref import BlobRef, PeerRef, format_ref, parse_ref
from offload_backend.settings.keyplaces import key_places
from offload_backend.signature import Signatures
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.address import StateAddress
    from offload_backend.blobstore import BlobStore, Buffer
    from offload_backend.settings import Settings

__all__ = ["Rekeying"]

STRETCH = 8 * 1024 * 1024
"""Bytes of the encoded value that are read at a time, and a frame more."""


class Rekeying:
    """Remakes refs by the keys that ``settings`` name first; ``decrypt`` instead takes blobs out of encryption.

    A value is read as tasks read it, verified and with the signature of its ref checked: what they refuse is not
    made good here. Its encoded bytes are copied without becoming a value, in memory for a few frames; only a blob
    of format 1 is held whole. Raises :class:`~offload_backend.errors.ConfigError` where there are no keys.
    """

    def __init__(
        self, settings: Settings, open_store: Callable[[str], BlobStore], *, decrypt: bool = False
    ) -> None:
        if not settings.encryption_keys and (decrypt or not settings.signing_keys):
            raise ConfigError(
                "there are no keys to go by",
                hint="set [offload_backend] encryption_keys or signing_keys as they are set where tasks run",
            )
        if decrypt and settings.unencrypted_blobs == "refuse":
            raise ConfigError(
                "what is decrypted would not be read",
                hint="set [offload_backend] unencrypted_blobs = accept, here and where tasks run",
            )
        writing = settings.replaced({"encryption_keys": ()}) if decrypt else settings
        self._key = key_places(writing.encryption_keys)[0].id if writing.encryption_keys else ""
        self._settings = settings
        self._signatures = Signatures(settings)
        self._codecs = Codecs(settings)
        self._from = Blobs(settings, StoreMap(settings, open_store))
        self._to = Blobs(writing, StoreMap(writing, open_store))

    def ids_of_several(self) -> list[str]:
        """Ids of ``encryption_keys`` that stand for several keys: no ref tells which of them reads its blob."""
        entries = self._settings.encryption_keys
        keyring = Keyring("encryption_keys", entries, self._settings)
        fernets = [place.id for place in key_places(entries) if place.kind == "fernet"]
        return [key_id for key_id in fernets if len(keyring.to_read(key_id)) > 1]

    def change(self, ref: str) -> Change:
        """A blob's for one of another key, the ref's for a signature that is not the first key's.

        What cannot be parsed may need it; a ref of Airflow's own backend needs it where refs are signed or blobs
        encrypted, and can have neither.
        """
        try:
            parsed = parse_ref(ref)
        except OffloadError:
            return Change.REF
        if not isinstance(parsed, BlobRef):
            return Change.REF if isinstance(parsed, PeerRef) else Change.NONE
        if self._settings.encryption_keys and parsed.key != self._key:
            return Change.BLOB
        is_signed = not self._settings.signing_keys or self._signatures.signed(format_ref(parsed)) == ref
        return Change.NONE if is_signed else Change.REF

    def remade(self, ref: str, address: StateAddress, key: str) -> str:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        self._signatures.check(ref)
        parsed = parse_ref(ref)
        if not isinstance(parsed, BlobRef):
            raise ForeignRefError("only a blob of this backend can be written anew")
        if self.change(ref) is Change.REF:
            return self._signatures.signed(format_ref(parsed))
        with dangling():
            return self._signatures.signed(self._copied(parsed, address, key))

    def _copied(self, ref: BlobRef, address: StateAddress, key: str) -> str:
        """The ref of a new blob with the same encoded value, cut into the same frames."""
        codec, source = self._codecs.named(ref.codec), self._from.open(ref)
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
