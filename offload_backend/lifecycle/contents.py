"""Whether a stored blob is the one that a ref names, found by reading it."""

from __future__ import annotations

import hashlib

from offload_backend.blobfile import Seal, digest_of, most_sealed_bytes
from offload_backend.blobstore import BlobStore
from offload_backend.errors import BlobCorruptError, BlobNotFoundError
from offload_backend.ref import BlobRef

__all__ = ["content_of", "difference"]


def content_of(ref: BlobRef) -> str:
    """What the ref says of the blob's bytes beside their number, as one text for a census."""
    return f"{ref.frames} {ref.raw} {ref.seal} {ref.digest}"


def difference(store: BlobStore, name: str, size: int, content: str) -> tuple[str, int]:
    """What is wrong with the blob, or an empty text; and how many bytes were read. Memory is bounded."""
    frames, raw, seal, digest = content.split(" ")
    try:
        if frames != "zstd":
            sizes = {"raw": int(raw), "seal": int(seal)}
            return _sealed(store, name, size, **sizes, blake3=digest, encrypted=frames == "encrypted")
        return _whole(store, name, size, digest)
    except BlobNotFoundError:
        return "gone", 0


def _whole(store: BlobStore, name: str, size: int, sha256: str) -> tuple[str, int]:
    digest, got = hashlib.sha256(), 0
    for chunk in store.get(name):
        digest.update(chunk)
        got += len(chunk)
    if got != size:
        return f"corrupt: expected {size} bytes, got {got}", got
    if digest.hexdigest() != sha256:
        return f"corrupt: expected sha256 {sha256}, got {digest.hexdigest()}", got
    return "", got


def _sealed(
    store: BlobStore, name: str, size: int, *, raw: int, seal: int, blake3: str, encrypted: bool
) -> tuple[str, int]:
    """The seal, then every frame, each held in memory until its digest is known. It takes no key."""
    if not 0 < seal <= min(size, most_sealed_bytes(raw)):
        return f"corrupt: a blob of {size} bytes has no seal of {seal}", 0
    end = store.get_range(name, size - seal, seal)
    try:
        places = Seal.parse(end, size=size, raw=raw, blake3=blake3, encrypted=encrypted).places
    except BlobCorruptError as error:
        return f"corrupt: {error.message}", len(end)
    got, held, frames = 0, bytearray(), iter(places)
    place = next(frames, None)
    for chunk in store.get(name):
        got += len(chunk)
        if got > size:
            return f"corrupt: expected {size} bytes, got more", got
        held += chunk
        while place is not None and len(held) >= place.size:
            if digest_of((memoryview(held)[: place.size],)) != place.digest:
                return f"corrupt: the {place.size} bytes from {place.start} are not those that were written", got
            del held[: place.size]
            place = next(frames, None)
    if got != size:
        return f"corrupt: expected {size} bytes, got {got}", got
    return ("" if held == end else "corrupt: its seal is another at every reading"), got
