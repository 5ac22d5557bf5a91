"""The frames that a blob is made of: its header, and Zstandard frames of the encoded value."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import zstandard

from offload_backend.blobstore import Buffer
from offload_backend.errors import BlobCorruptError, InvalidKeyError, UnreadableBlobError

__all__ = [
    "CHUNK",
    "ENCRYPTED",
    "FLOW",
    "FORMAT",
    "HEADER_MAGIC",
    "MAX_HEADER",
    "OWN_FRAME",
    "Frame",
    "digest_of",
    "header_at_start",
    "header_frame",
    "holds",
    "parse_header",
    "raw_frame",
    "skippable",
]

FORMAT = 2
"""Of a sealed blob."""

ENCRYPTED = 3
"""The format of one that is encrypted as well."""

CHUNK = 4 * 1024 * 1024
"""The most bytes of the encoded value in a frame."""

FLOW = 512 * 1024
"""So many in a frame of what comes in small pieces: little waits, and equal beginnings make equal frames."""

OWN_FRAME = 1024 * 1024
"""A view of so many bytes begins a frame of its own, so that an array's frames depend on the array alone."""

HEADER_MAGIC = 0x184D2A50
_HEAD = struct.Struct("<II")
"""How a skippable frame begins: magic number and length."""

_LONGEST = 64 * 1024
MAX_HEADER = _HEAD.size + _LONGEST
"""So many bytes from a blob's start hold its header whole."""

_BLOCK = 128 * 1024
"""The most that the Zstandard format allows in a block."""
_RAW_FRAME = b"\x28\xb5\x2f\xfd\xa0"
"""Magic number; single segment, content size in four bytes, no checksum."""

_RLE = 1
"""The type of a block that stands for one byte, many times."""


@dataclass(frozen=True, slots=True)
class Frame:
    """``size`` bytes as they are stored, in buffers; ``raw`` bytes once decompressed."""

    buffers: tuple[Buffer, ...]
    size: int
    raw: int
    digest: bytes


def digest_of(buffers: Iterable[Buffer]) -> bytes:
    """BLAKE3 of the bytes, 32 bytes."""
    import blake3

    hasher = blake3.blake3()
    for buffer in buffers:
        hasher.update(buffer)
    return hasher.digest()


def skippable(magic: int, content: bytes) -> bytes:
    """A frame that every Zstandard decoder passes over."""
    return _HEAD.pack(magic, len(content)) + content


def header_frame(header: dict[str, Any], version: int = FORMAT) -> Frame:
    """The first frame of a blob of that format.

    Raises :class:`InvalidKeyError` for names so long that no reader would accept it.
    """
    text = json.dumps({"offload": version, **header}, separators=(",", ":")).encode()
    if len(text) > _LONGEST:
        raise InvalidKeyError(
            f"the key and its address take {len(text)} bytes, more than the {_LONGEST} of a header",
            hint="choose shorter names",
        )
    data = skippable(HEADER_MAGIC, text)
    return Frame((data,), len(data), 0, digest_of((data,)))


def raw_frame(chunk: memoryview) -> tuple[Buffer, ...]:
    """A Zstandard frame that holds the chunk as it is, in views of it: nothing is copied."""
    blocks: list[Buffer] = []
    before = _RAW_FRAME + struct.pack("<I", len(chunk))
    for start in range(0, len(chunk), _BLOCK):
        block = chunk[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(chunk)
        blocks += [before + (len(block) << 3 | is_last).to_bytes(3, "little"), block]
        before = b""
    return tuple(blocks)


def holds(frame: memoryview, raw: int) -> bool:
    """Whether the bytes are one Zstandard frame and nothing else, which says that it holds ``raw`` bytes.

    So every decoder finds in them what the reader does. Raises ``ZstdError`` for what does not begin as a frame.
    """
    facts = zstandard.get_frame_parameters(frame)
    if facts.content_size != raw or facts.window_size > CHUNK:
        return False
    end, is_last = zstandard.frame_header_size(frame), 0
    while not is_last and end + 3 <= len(frame):
        head = int.from_bytes(frame[end : end + 3], "little")
        is_last, kind, size = head & 1, head >> 1 & 3, head >> 3
        end += 3 + (1 if kind == _RLE else size)
    return bool(is_last) and end + 4 * facts.has_checksum == len(frame)


def parse_header(frame: bytes, newest: int = ENCRYPTED) -> dict[str, Any]:
    """The header in the frame at the start of a blob.

    Raises :class:`BlobCorruptError` for what is no header, and :class:`UnreadableBlobError` for one of a
    format newer than ``newest``.
    """
    if len(frame) < _HEAD.size:
        raise BlobCorruptError("the file does not begin with the header of a blob")
    magic, length = _HEAD.unpack_from(frame)
    if magic != HEADER_MAGIC or length > _LONGEST:
        raise BlobCorruptError("the file does not begin with the header of a blob")
    try:
        header = json.loads(frame[_HEAD.size : _HEAD.size + length])
    except (ValueError, RecursionError) as error:
        raise BlobCorruptError("the header is not JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get("offload"), int):
        raise BlobCorruptError("the header is not that of a blob")
    if header["offload"] > newest:
        raise UnreadableBlobError(
            f"blob format {header['offload']} is newer than {newest}, the newest this version reads",
            hint="upgrade offload-backend where the value is read",
        )
    return header


def header_at_start(start: bytes) -> dict[str, Any]:
    """The header of the blob that begins with these bytes, ``MAX_HEADER`` of them or all."""
    return parse_header(start)
