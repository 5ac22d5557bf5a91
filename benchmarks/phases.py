"""Where the time of our own ``set`` and ``get`` goes: each phase alone, on what the phase before it made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from offload_backend.address import TaskAddress
from offload_backend.airflow.configuration import load_settings
from offload_backend.airflow.connections import open_store
from offload_backend.blobfile import BlobFile, read_blob
from offload_backend.codecs import JsonCodec
from offload_backend.offloader import Offloader

__all__ = ["measure"]

_NAME = "v1/phases"


def measure(value: Any) -> dict[str, dict[str, float]]:
    """Seconds by phase. ``whole`` is the operation as users run it, where phases may overlap."""
    settings = load_settings()
    store = open_store(settings.path, settings)
    offloader = Offloader(settings, lambda path: open_store(path, settings))
    address = TaskAddress("dag", "run", "task", -1)
    ref, whole_set = _timed(offloader.offload, value, address, "key")

    pieces, encode = _timed(lambda: list(JsonCodec().encode(value)))
    blob = BlobFile({"id": _NAME}, pieces, level=settings.compression_level, max_raw=settings.max_value_bytes)
    frames, compress_and_digest = _timed(list, blob)
    del pieces
    _, digest = _timed(_sha256, frames)
    _, upload = _timed(store.put, _NAME, frames)
    del frames

    chunks, download = _timed(lambda: list(store.get(_NAME)))
    expected = {"size": blob.size, "raw": blob.raw, "sha256": blob.sha256, "blob_id": _NAME}
    data, decompress_and_digest = _timed(read_blob, chunks, **expected)
    del chunks
    found, decode = _timed(JsonCodec().decode, data)
    del found, data
    _, whole_get = _timed(offloader.resolve, ref)
    return {
        "set": {
            "encode": encode,
            "compress": compress_and_digest - digest,
            "digest": digest,
            "upload": upload,
            "whole": whole_set,
        },
        "get": {
            "download": download,
            "digest": digest,
            "decompress": decompress_and_digest - digest,
            "decode": decode,
            "whole": whole_get,
        },
    }


def _sha256(frames: list[bytes]) -> None:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame)


def _timed(action: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = action(*arguments, **named)
    return result, time.perf_counter() - start
