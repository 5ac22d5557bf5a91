"""Which refs need other keys: the first of ``encryption_keys`` for blobs, that of ``signing_keys`` for refs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from offload_backend.address import blob_scope
from offload_backend.blobs import refuse_unencrypted
from offload_backend.crypto import Keyring
from offload_backend.errors import ConfigError, ForeignRefError, OffloadError
from offload_backend.lifecycle.copying import Copying
from offload_backend.lifecycle.named import named_blob, own_blob, ref_of
from offload_backend.lifecycle.remaking import NOTHING, Change, Need, Remade
from offload_backend.location import location_of
from offload_backend.ref import BlobRef, PeerRef, format_ref, parse_ref, signature_of
from offload_backend.row import envelope
from offload_backend.settings.keyplaces import key_places
from offload_backend.signature import Signatures
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.address import StateAddress
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import FoundRow
    from offload_backend.settings import Settings

__all__ = ["Rekeying"]


class Rekeying:
    """Remakes rows by the keys that ``settings`` name first; ``decrypt`` instead takes blobs out of encryption.

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
        keys = settings.encryption_keys
        self._keyring = Keyring("encryption_keys", keys, settings) if keys else None
        self._signatures = Signatures(settings)
        self._copying = Copying(settings, writing, open_store)
        self._stores = StoreMap(settings, open_store)

    def ids_of_several(self) -> list[str]:
        """Ids of ``encryption_keys`` that stand for several keys: no ref tells which of them reads its blob."""
        if (keyring := self._keyring) is None:
            return []
        places = key_places(self._settings.encryption_keys)
        fernets = [place.id for place in places if place.kind == "fernet"]
        return [key_id for key_id in fernets if len(keyring.to_read(key_id)) > 1]

    def target(self) -> BlobStore:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        return self._stores.to_write()

    def need(self, found: FoundRow) -> Need:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`; a ref that is not its row's own stays.

        Raises for one that tasks refuse, or whose key is not there: nothing makes that good but a setting.
        """
        ref = ref_of(found)
        change = self.change(ref) if ref else Change.NONE
        if ref is None or change is Change.NONE:
            return NOTHING
        blob = own_blob(ref, found, self._settings.deployment, location_of(self._settings.path))
        if blob is None:
            return Need(Change.ELSEWHERE, lacks=self._lacks(ref))
        self._require_readable(ref)
        return Need(change, ref, blob, blob.size, blob.size)

    def remake(self, found: FoundRow, need: Need) -> Remade:
        """See :class:`~offload_backend.lifecycle.remaking.Remaking`."""
        if need.blob is None:
            raise ForeignRefError("only a blob of this backend can be written anew")
        place, key = (need.blob.parts.scope, need.blob.parts.key), found.row.key
        address = next(each for each in found.addresses if blob_scope(each, key) == place)
        ref = self.remade(need.text, address, key)
        new = named_blob(ref, self._settings.deployment, location_of(self._settings.path))
        return Remade(envelope(ref), new.name if new and new.name != need.blob.name else "")

    def change(self, ref: str) -> Change:
        """The value's for a blob of another key, the text's for a signature that is not the first key's.

        What cannot be parsed may need it; a ref of Airflow's own backend needs it where refs are signed or blobs
        encrypted, and can have neither.
        """
        try:
            parsed = parse_ref(ref)
        except OffloadError:
            return Change.TEXT
        if not isinstance(parsed, BlobRef):
            return Change.TEXT if isinstance(parsed, PeerRef) else Change.NONE
        if self._settings.encryption_keys and parsed.key != self._key:
            return Change.VALUE
        is_signed = not self._settings.signing_keys or self._signatures.signed(format_ref(parsed)) == ref
        return Change.NONE if is_signed else Change.TEXT

    def remade(self, ref: str, address: StateAddress, key: str) -> str:
        """The ref to put in the place of this one, of a new blob if it needs one.

        Raises an :class:`~offload_backend.errors.OffloadError` for a ref whose value cannot be read or stored.
        """
        parsed = self._require_readable(ref)
        if not isinstance(parsed, BlobRef):
            raise ForeignRefError("only a blob of this backend can be written anew")
        if self.change(ref) is Change.TEXT:
            return self._signatures.signed(format_ref(parsed))
        return self._signatures.signed(self._copying.copied(parsed, address, key))

    def _require_readable(self, ref: str) -> BlobRef | PeerRef | None:
        """The ref, or the error that tasks get for it, as far as it tells without a store."""
        self._signatures.check(ref)
        parsed = parse_ref(ref)
        if parsed is not None:
            refuse_unencrypted(self._settings, parsed)
        if isinstance(parsed, BlobRef) and parsed.key and self._keyring:
            self._keyring.reader(parsed.key)
        return parsed

    def _lacks(self, ref: str) -> tuple[str, ...]:
        """The settings that, if they are ``refuse``, let no task read it."""
        lacks = {
            "unsigned_refs": self._settings.signing_keys and signature_of(ref) is None,
            "unencrypted_blobs": self._key and not _is_encrypted(ref),
        }
        return tuple(setting for setting, is_lacking in lacks.items() if is_lacking)


def _is_encrypted(ref: str) -> bool:
    try:
        parsed = parse_ref(ref)
    except OffloadError:
        return False
    return isinstance(parsed, BlobRef) and parsed.is_encrypted
