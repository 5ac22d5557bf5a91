"""The files that blobs are, byte by byte in ``docs/formats.md``.

A blob is an ordinary Zstandard file. :class:`BlobFile` writes one, ``sealed``: every frame can be read and
verified alone. :class:`SealedBlob` reads it; :func:`read_whole` reads what was written before there were seals.
"""

from __future__ import annotations

from offload_backend.blobfile.frames import CHUNK, FORMAT, MAX_HEADER, digest_of, header_at_start
from offload_backend.blobfile.reader import SealedBlob
from offload_backend.blobfile.seal import Seal, most_raw_bytes, most_sealed_bytes, most_stored_bytes
from offload_backend.blobfile.whole import read_whole
from offload_backend.blobfile.writer import BlobFile

__all__ = [
    "CHUNK",
    "FORMAT",
    "MAX_HEADER",
    "BlobFile",
    "Seal",
    "SealedBlob",
    "digest_of",
    "header_at_start",
    "most_raw_bytes",
    "most_sealed_bytes",
    "most_stored_bytes",
    "read_whole",
]
