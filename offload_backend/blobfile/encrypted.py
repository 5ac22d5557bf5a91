"""Encrypted frames: AES-256-GCM, under a key that is this blob's alone.

::

    skippable frame 0x184D2A52   a frame of the encoded value, encrypted, and its tag; the next; …
    skippable frame 0x184D2A53   the closing frame: what finds the key, and a tag of all that the seal says

The blob's key comes from one of the configured keys and a random salt, by HKDF. The nonce of a frame is its
number, so no key and nonce ever meet twice. A frame's tag also covers the digest of the header, which holds the
blob's id; the closing frame's covers the digests and sizes of all frames: who has the key knows from it that none
was changed, moved, left out or added, before any of them is read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from offload_backend.blobfile.frames import Frame, digest_of
from offload_backend.blobfile.seal import Place, entries_of
from offload_backend.blobstore import Buffer
from offload_backend.crypto.source import LENGTH, MOST_WRAPPED, Secret
from offload_backend.errors import BlobCorruptError, ConfigError, WrongKeyError

__all__ = ["MOST_CLOSING", "Encryption", "FrameCipher", "Keys", "open_closing"]

Keys = Callable[[bytes], Sequence[bytes]]
"""The keys that a blob may have been encrypted with, for what its closing frame holds of its key's source."""

FRAME_MAGIC = 0x184D2A52
CLOSING_MAGIC = 0x184D2A53
INFO = b"offload-backend blob 1"
_HEAD = struct.Struct("<II")
_SALT = 32
_CHECK = 16
_TAG = 16
_NONCE = 12

MOST_CLOSING = _HEAD.size + _SALT + _CHECK + MOST_WRAPPED + _TAG
"""So many bytes before the seal hold the closing frame whole."""


class FrameCipher:
    """Encrypts and decrypts the frames of one blob, in any thread. ``check`` tells its key from any other."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers import algorithms
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise ConfigError(
                "cryptography is not installed",
                hint="pip install 'offload-backend[encryption]' where values are read and written",
            ) from error
        derived = HKDF(SHA256(), LENGTH + _CHECK, salt, INFO).derive(key)
        self.check = derived[LENGTH:]
        self._algorithm = algorithms.AES(derived[:LENGTH])

    def encrypted(self, number: int, bound: Sequence[Buffer], content: Sequence[Buffer]) -> tuple[Buffer, bytes]:
        """The content encrypted, and the tag over it and what it is bound to."""
        from cryptography.hazmat.primitives.ciphers import Cipher

        context: Any = Cipher(self._algorithm, self._mode(number)).encryptor()
        for buffer in bound:
            context.authenticate_additional_data(buffer)
        # A little more than is needed, which some releases of the library insist on.
        out = memoryview(bytearray(sum(map(len, content)) + _TAG))
        done = 0
        for buffer in content:
            done += context.update_into(buffer, out[done:])
        context.finalize()
        return out[:done], context.tag

    def decrypted(self, number: int, bound: Sequence[Buffer], content: Buffer, tag: Buffer) -> memoryview:
        """The content; :class:`BlobCorruptError` unless all of this was encrypted together, with this key."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers import Cipher

        context: Any = Cipher(self._algorithm, self._mode(number, bytes(tag))).decryptor()
        for buffer in bound:
            context.authenticate_additional_data(buffer)
        out = memoryview(bytearray(len(content) + _TAG))
        done = context.update_into(content, out)
        try:
            context.finalize()
        except InvalidTag:
            raise BlobCorruptError(f"frame {number} was not encrypted as this one of this blob") from None
        return out[:done]

    def _mode(self, number: int, tag: bytes | None = None) -> Any:
        from cryptography.hazmat.primitives.ciphers.modes import GCM

        return GCM(number.to_bytes(_NONCE, "little"), tag)

    def __reduce__(self) -> Any:
        raise TypeError("a key is not pickled")


class Encryption:
    """How a new blob is encrypted. ``header`` is the digest of its header's frame."""

    def __init__(self, secret: Secret, header: bytes) -> None:
        self._salt = os.urandom(_SALT)
        self._wrapped = secret.wrapped
        self._cipher = FrameCipher(secret.key, self._salt)
        self._header = header

    def frame(self, number: int, buffers: Sequence[Buffer]) -> tuple[Buffer, ...]:
        """The frame of the encoded value, stored as that of this number."""
        content, tag = self._cipher.encrypted(number, (self._header,), buffers)
        return _HEAD.pack(FRAME_MAGIC, len(content) + len(tag)), content, tag

    def closing(self, frames: Sequence[tuple[int, int, bytes]]) -> Frame:
        """What comes after all these frames, the header first: stored bytes, held bytes and digest of each."""
        facts = self._salt + self._cipher.check + self._wrapped
        begin = _HEAD.pack(CLOSING_MAGIC, len(facts) + _TAG) + facts
        digests = b"".join(digest for _, _, digest in frames)
        _, tag = self._cipher.encrypted(len(frames), (begin, digests, entries_of(frames)), ())
        data = begin + tag
        return Frame((data,), len(data), 0, digest_of((data,)))


@dataclass(frozen=True)
class Decryption:
    """How the frames of a blob whose closing frame is genuine are decrypted."""

    cipher: FrameCipher
    header: bytes

    def frame(self, number: int, frame: memoryview) -> memoryview:
        """The frame of the encoded value that is stored as that of this number, or :class:`BlobCorruptError`."""
        if len(frame) < _HEAD.size + _TAG or _HEAD.unpack_from(frame) != (FRAME_MAGIC, len(frame) - _HEAD.size):
            raise BlobCorruptError(f"frame {number} is not an encrypted one")
        return self.cipher.decrypted(number, (self.header,), frame[_HEAD.size : -_TAG], frame[-_TAG:])


def open_closing(frame: bytes, places: Sequence[Place], keys: Keys) -> Decryption:
    """How to decrypt the blob with these frames, the header first, which this frame closes.

    Raises :class:`WrongKeyError` where ``keys`` gives none that the blob was encrypted with,
    :class:`BlobCorruptError` for a blob that is not as it was encrypted, and what ``keys`` raises.
    """
    form = _HEAD.pack(CLOSING_MAGIC, len(frame) - _HEAD.size)
    if not MOST_CLOSING - MOST_WRAPPED <= len(frame) <= MOST_CLOSING or not frame.startswith(form):
        raise BlobCorruptError("the blob is not closed as an encrypted one is")
    begin, tag = frame[:-_TAG], frame[-_TAG:]
    salt, check, wrapped = (
        begin[_HEAD.size :][:_SALT],
        begin[_HEAD.size + _SALT :][:_CHECK],
        begin[_HEAD.size + _SALT + _CHECK :],
    )
    ciphers = (FrameCipher(key, salt) for key in keys(wrapped))
    cipher = next((cipher for cipher in ciphers if compare_digest(cipher.check, check)), None)
    if cipher is None:
        raise WrongKeyError(
            "the blob was encrypted with another key than the one that now has its id",
            hint="in [offload_backend] encryption_keys, leave every id the key it had, and give a new key a new id",
        )
    frames = [(place.size, place.raw, place.digest) for place in places]
    digests = b"".join(place.digest for place in places)
    cipher.decrypted(len(frames), (begin, digests, entries_of(frames)), b"", tag)
    return Decryption(cipher, places[0].digest)
