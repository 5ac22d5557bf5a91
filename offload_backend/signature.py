"""Signatures of refs: who holds no key can copy a ref, but can neither make one nor change one.

What a signature covers, and what it does not, is in ``docs/adr/0013-signed-refs.md``.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from offload_backend.errors import ConfigError, ForeignRefError, OffloadError
from offload_backend.ref import is_ref, signature_of, to_sign
from offload_backend.settings import Settings

if TYPE_CHECKING:
    from offload_backend.crypto import Keyring

__all__ = ["Signatures"]

_MOST_BELIEVED = 10_000
"""So many refs that were signed or checked here are remembered: as many as may be deleted here."""

_PURPOSE = b"offload_backend signature of refs, version 1"


class Signatures:
    """Signs refs and checks them, as ``[offload_backend] signing_keys`` says; without keys it does neither.

    Safe to use from any thread and after a fork. Keys are looked up for each :meth:`signed` and :meth:`check`: that
    may run a command or ask a service, where Airflow has ``fernet_key`` from one.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys = _keyring(settings) if settings.signing_keys else None
        self._refuses_unsigned = settings.unsigned_refs == "refuse"
        self._believed: set[str] = set()

    def signed(self, text: str) -> str:
        """The ref with the first key's signature at its end.

        Raises :class:`ConfigError` for a key that cannot be used.
        """
        if self._keys is None or not is_ref(text):
            return text
        signer, secret = self._keys.to_write()
        if secret.wrapped:
            raise ConfigError(
                f"the key {signer!r} of [offload_backend] signing_keys is another one each time",
                hint="a source of keys that sign gives the same key always, and nothing that wraps it",
            )
        covered = to_sign(text, signer)
        return self._remembered(f"{covered}&mac={_mac(secret.key, covered)}")

    def check(self, text: str) -> None:
        """Nothing, or :class:`ForeignRefError` for a ref that no configured key has signed as it is.

        One that is not signed passes if ``unsigned_refs`` is ``accept``. :class:`UnreadableBlobError` names a key
        that is not configured, :class:`ConfigError` one that cannot be used. Takes as long whatever the MAC is.
        """
        if self._keys is None:
            return
        signature = signature_of(text)
        if signature is None:
            if self._refuses_unsigned:
                raise ForeignRefError(
                    "the ref is not signed",
                    hint="set [offload_backend] unsigned_refs = accept as long as rows from before signing_keys "
                    "was set are to be read; else set the key again, or delete it",
                )
            return
        macs = [_mac(key, signature.text) for key in self._keys.to_read(signature.signer)]
        matches = [hmac.compare_digest(mac, signature.mac) for mac in macs]
        if not any(matches):
            raise ForeignRefError(
                "the ref is not as it was signed",
                hint=f"somebody changed the row, or the key {signature.signer!r} of [offload_backend] signing_keys "
                "is another one than where the value was written",
            )
        self._remembered(text)

    def vouches(self, text: str) -> bool:
        """Whether :meth:`check` passes, or has passed; what is in doubt, as keys are not there, does not."""
        if text in self._believed:
            return True
        try:
            self.check(text)
        except OffloadError:
            return False
        return True

    def _remembered(self, text: str) -> str:
        if len(self._believed) >= _MOST_BELIEVED:
            self._believed.clear()
        self._believed.add(text)
        return text


def _keyring(settings: Settings) -> Keyring:
    """Imported where there are keys: every task imports what is imported here."""
    from offload_backend.crypto import Keyring

    return Keyring("signing_keys", settings.signing_keys, settings)


def _mac(secret: bytes, text: str) -> str:
    """HMAC-SHA256 in hexadecimal, by a key that is derived: the secret itself may encrypt blobs.

    HKDF-SHA256 (RFC 5869) without a salt, 32 bytes.
    """
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), secret, "sha256")
    key = hmac.digest(extracted, _PURPOSE + b"\x01", "sha256")
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256").hex()
