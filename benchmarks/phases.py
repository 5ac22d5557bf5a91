"""Where the time of our own ``set`` and ``get`` goes: each phase alone, on what the phase before it made."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from offload_backend.address import TaskAddress
from offload_backend.airflow.configuration import load_settings
from offload_backend.airflow.connections import open_store
from offload_backend.blobfile import BlobFile, SealedBlob, digest_of
from offload_backend.codecs import HeldSource, JsonCodec
from offload_backend.offloader import Offloader

__all__ = ["measure"]

_NAME = "v1/phases"


def measure(value: Any) -> dict[str, dict[str, float]]:
    """Seconds by phase. ``whole`` is the operation as users run it, where phases overlap, in several threads."""
    settings = load_settings()
    store = open_store(settings.path, settings)
    offloader = Offloader(settings, lambda path: open_store(path, settings))
    address = TaskAddress("dag", "run", "task", -1)
    ref, whole_set = _timed(offloader.offload, value, address, "key")

    pieces, encode = _timed(lambda: list(JsonCodec().encode(value)))
    blob = BlobFile({"id": _NAME}, pieces, level=settings.compression_level, max_raw=settings.max_value_bytes)
    frames, compress_and_digest = _timed(list, blob)
    del pieces
    _, digest = _timed(digest_of, frames)
    _, upload = _timed(store.put, _NAME, frames)
    del frames

    held = memoryview(bytearray(blob.size))
    _, download = _timed(store.read_into, _NAME, 0, held, blob.size)
    data, decompress_and_digest = _timed(_opened, blob, held, settings.concurrency)
    found, decode = _timed(JsonCodec().decode, HeldSource(data))
    del found, data
    _, whole_get = _timed(offloader.resolve, ref)
    return {
        "set": {
            "encode": encode,
            "compress": max(0.0, compress_and_digest - digest),
            "digest": digest,
            "upload": upload,
            "whole": whole_set,
        },
        "get": {
            "download": download,
            "digest": digest,
            "decompress": max(0.0, decompress_and_digest - digest),
            "decode": decode,
            "whole": whole_get,
        },
    }


def _opened(blob: BlobFile, held: memoryview, concurrency: int) -> bytearray:
    """The encoded value of a blob that is in memory."""

    def fetch(start: int, memory: memoryview) -> None:
        memory[:] = held[start : start + len(memory)]

    facts = {"size": blob.size, "raw": blob.raw, "seal": blob.seal, "blake3": blob.blake3}
    return SealedBlob(fetch, **facts, blob_id=_NAME, concurrency=concurrency).read(0, blob.raw)


def _timed(action: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = action(*arguments)
    return result, time.perf_counter() - start
