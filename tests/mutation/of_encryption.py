"""Mutants of what keeps a blob from who has no key, and of what is believed without one."""

from __future__ import annotations

__all__ = ["ENCRYPTION"]

_FRAMES = ("tests/inner/test_encryption.py", "tests/golden/test_encrypted.py")
_KEYS = ("tests/inner/test_encryption_keys.py",)
_KMS = ("tests/inner/test_encryption_kms.py",)
_STORES = ("tests/stores/test_s3_encryption.py",)

ENCRYPTION: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, str]]] = {
    ("blobfile/encrypted.py", _FRAMES): [
        ("os.urandom(_SALT)", "bytes(_SALT)", "every blob has the same key"),
        ('GCM(number.to_bytes(_NONCE, "little"), tag)', "GCM(bytes(_NONCE), tag)", "one nonce for all frames"),
        (
            "self._cipher.encrypted(number, (self._header,), buffers)",
            "self._cipher.encrypted(number, (), buffers)",
            "a frame is bound to no header",
        ),
        (
            'raise BlobCorruptError(f"frame {number} was not encrypted as this one of this blob") from None',
            "pass",
            "a wrong tag is passed over",
        ),
        (
            '    cipher.decrypted(len(frames), (begin, digests, entries_of(frames)), b"", tag)\n',
            "",
            "the closing frame is not checked",
        ),
        ("if compare_digest(cipher.check, check)", "if True", "any key is taken for the right one"),
        (
            "not MOST_CLOSING - MOST_WRAPPED <= len(frame) <= MOST_CLOSING or not",
            "not",
            "a closing frame of any length is looked into",
        ),
        ("derived[LENGTH:]", "derived[:LENGTH]", "the blob's key stands in the blob"),
    ],
    ("crypto/static.py", _KEYS): [
        ("return () if wrapped else self._keys()", "return self._keys()", "what a service wrapped is anybody's"),
        ('self._find().split(",")]', 'self._find().split(",")[:1]]', "only the first fernet key decrypts"),
        (".translate({45: 43, 95: 47})", "", "base64 for URLs is read as another key"),
    ],
    ("crypto/keyring.py", _KEYS): [
        ("cannot be had: {type(error).__name__}", "cannot be had: {error}", "errors of others are quoted"),
        ("place = self._places[0]\n", "place = self._places[-1]\n", "the last key encrypts"),
        ("require_secret(self._source(place).fresh())", "self._source(place).fresh()", "short keys are used"),
    ],
    ("crypto/kms.py", _KMS): [
        (" and next(kept[1]) < BLOBS", "", "one data key for all blobs"),
        (
            "if kept is not None and time.monotonic() < kept[0] and",
            "if kept is not None and",
            "a key is kept for ever",
        ),
        ("KeyId=self._key, EncryptionContext=context", "KeyId=self._key", "the deployment is not told"),
        ("if client is None or pid != os.getpid():", "if client is None:", "a client is used after a fork"),
        ("            while len(self._unwrapped) > CACHED:\n", "            while False:\n", "all keys are kept"),
    ],
    ("stores/s3_direct.py", _STORES): [
        (
            "if self._checksums else {}), **self._encryption}",
            "if self._checksums else {})}",
            "large objects are not encrypted as they should be",
        ),
    ],
}
