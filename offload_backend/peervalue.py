"""Values as ``airflow.providers.common.io.state_store.backend``, the backend Airflow ships, writes and reads them.

It stores ``json.dumps`` of the value, compressed by an fsspec codec or not. What a blob is compressed
with is told from its first bytes, never from its name: a key may end in ``.gz`` by itself, and no JSON
text begins like any of the compressed formats.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import IO, Any
from urllib.parse import quote, unquote
from uuid import UUID

import zstandard

from offload_backend.address import AssetAddress, StateAddress, TaskAddress, blob_scope, new_blob_id
from offload_backend.errors import BlobCorruptError, ConfigError, UnreadableBlobError

__all__ = ["new_peer_name", "peer_bytes", "peer_scopes", "read_peer_value"]

_READ = 1024 * 1024
_MOST_FOR_XZ = 128 * 1024 * 1024
"""Bytes; xz -9 takes 65 MiB."""
_OF_ASSET, _OF_TASK, _OF_REGION = 3, 5, 6
"""Segments of a name: ``assets/<name or uri>/<key>``, ``<dag>/<run>/[region=<uuid>/]<task>/<index>/<key>``."""
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MAY_BE_HALF_WRITTEN = "get the key again: the peer may just be writing it; else set the key again"
_BROKEN = (
    EOFError,
    IndexError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
)


def peer_scopes(name: str) -> list[str]:
    """The scopes whose state a blob of the peer's may be, by its name, as common-io 1.11.0 makes it.

    Segments before the peer's own, where the location is one above its path, say nothing.
    """
    segments = [unquote(segment) for segment in name.split("/")]
    last = segments[-2] if len(segments) > 1 else ""
    found: list[StateAddress] = []
    if len(segments) >= _OF_ASSET and segments[-_OF_ASSET] == "assets" and last:
        found += [AssetAddress(name=last), AssetAddress(uri=last)]
    if len(segments) >= _OF_TASK and re.fullmatch(r"-?[0-9]{1,18}", last):
        dag, run, task = segments[-_OF_TASK:-2]
        found.append(TaskAddress(dag, run, task, int(last)))
        if len(segments) >= _OF_REGION and (region := re.fullmatch(rf"region=({_UUID})", run)):
            dag, run = segments[-_OF_REGION : -_OF_REGION + 2]
            found.append(TaskAddress(dag, run, task, int(last), UUID(region[1])))
    return [blob_scope(address, "")[0] for address in found]


def new_peer_name(address: StateAddress, key: str, compression: str = "") -> str:
    """A name that is not used yet, in the folder where the peer stores the key, and clears it with the others.

    The peer reads what a row names, whatever it is called below its path, and takes the compression from the end of
    the name. Its own name of the key would be used again: a request that arrives late, with an older value, would
    replace a newer one.
    """
    last = f"{quote(key, safe='')}~{new_blob_id()}{_suffix(compression)}"
    if isinstance(address, AssetAddress):
        return f"assets/{quote(address.name or address.uri or '', safe='')}/{last}"
    region = f"region={address.region_id}/" if address.region_id else ""
    owner = f"{quote(address.dag_id, safe='')}/{quote(address.run_id, safe='')}/{region}"
    return f"{owner}{quote(address.task_id, safe='')}/{address.map_index}/{last}"


def peer_bytes(text: str, compression: str = "") -> bytes:
    """What the peer stores for a JSON text. Raises :class:`ConfigError` for a compression that is not there."""
    if not compression:
        return text.encode()
    from fsspec.compression import compr

    _suffix(compression)
    kept = _Kept()
    with compr[compression](kept, mode="w") as file:
        file.write(text.encode())
    return kept.getvalue()


class _Kept(io.BytesIO):
    """Some compressions close what they write to."""

    def close(self) -> None:
        """Stay readable."""


def _suffix(compression: str) -> str:
    if not compression:
        return ""
    from fsspec.utils import compressions

    found = [suffix for suffix, name in compressions.items() if name == compression]
    if not found:
        raise ConfigError(
            f"there is no compression {compression!r} here",
            hint="correct [common.io] state_store_objectstorage_compression, or install what fsspec needs for it",
        )
    return f".{found[0]}"


def read_peer_value(chunks: Iterable[bytes], *, max_bytes: int) -> Any:
    """The value; nothing says what its size and digest should be, so only damage that breaks it is found.

    Raises :class:`BlobCorruptError` for bytes that do not give JSON, :class:`UnreadableBlobError` for a
    compression whose library is missing and for values of more than ``max_bytes`` bytes.
    """
    stored = _gather(chunks, max_bytes)
    opener = next((open_ for magic, open_ in _FORMATS.items() if stored.startswith(magic)), None)
    try:
        text = stored if opener is None else _read_all(opener(io.BytesIO(stored)), max_bytes)
        return json.loads(text)
    except _BROKEN as error:
        kind = "is not JSON" if opener is None else "does not decompress to JSON"
        raise BlobCorruptError(f"the blob {kind}", hint=_MAY_BE_HALF_WRITTEN) from error


def _gather(chunks: Iterable[bytes], max_bytes: int) -> bytearray:
    stored = bytearray()
    for chunk in chunks:
        stored += chunk
        _bound(stored, max_bytes)
    return stored


def _read_all(file: IO[bytes], max_bytes: int) -> bytearray:
    text = bytearray()
    with file:
        while piece := file.read(_READ):
            text += piece
            _bound(text, max_bytes)
    return text


def _bound(data: bytearray, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise UnreadableBlobError(f"larger than {max_bytes} bytes", hint="raise [offload_backend] max_value_bytes")


def _open_gzip(file: IO[bytes]) -> IO[bytes]:
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # typeshed: a BufferedIOBase


class _XzFile(io.RawIOBase):
    """As ``lzma.LZMAFile``, which allocates a dictionary of whatever size the file states."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream: lzma.LZMADecompressor | None = None

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._stream is None or self._stream.eof:
                data = (self._stream.unused_data if self._stream else b"") or self._file.read(_READ)
                if not data.strip(b"\0"):  # padding
                    return b""
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_FOR_XZ)
            elif self._stream.needs_input:
                data = self._file.read(_READ)
                if not data:
                    raise EOFError("the file ends within a stream")
            else:
                data = b""
            if piece := self._stream.decompress(data, size):
                return piece


def _open_zip(file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    first = archive.infolist()[0]
    if first.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("a compression that asks for any memory")
    return archive.open(first)


def _open_zstd(file: IO[bytes]) -> IO[bytes]:
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


def _open_lz4(file: IO[bytes]) -> IO[bytes]:
    from fsspec.compression import compr

    if "lz4" not in compr:
        raise UnreadableBlobError("the blob is compressed with lz4", hint="pip install lz4 where it is read")
    return compr["lz4"](file, mode="r")  # type: ignore[no-any-return]


_FORMATS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _open_gzip,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": _XzFile,  # type: ignore[dict-item]  # typeshed: a RawIOBase is no IO
    b"PK\x03\x04": _open_zip,
    b"\x28\xb5\x2f\xfd": _open_zstd,
    b"\x04\x22\x4d\x18": _open_lz4,
}
