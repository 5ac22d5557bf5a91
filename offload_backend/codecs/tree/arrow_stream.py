"""What an Arrow IPC stream says of itself, before a library reads it.

Only what a library would act upon too trustingly is looked at: compressed buffers, which say how much
memory they want; buffers beyond their message, which polars allocates before it reads them, and where that fails it
ends the process; and a type that is a pickle. The rest is the library's to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error

__all__ = ["check_stream"]

_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_PICKLED = b"arrow.py_extension_type"

_U8, _U16, _U32, _I32, _I64 = Struct("<B"), Struct("<H"), Struct("<I"), Struct("<i"), Struct("<q")
_PAIR = Struct("<qq")


def check_stream(stream: memoryview) -> None:
    """Raise :class:`ValueError` for a stream with compressed buffers or a pickled type, with buffers beyond the
    body of their message, or with another end.
    """
    try:
        at = 0
        while (length := _length(stream, at)) > 0:
            message = stream[at + 8 : at + 8 + length]
            body = _checked(message)
            at += 8 + length + body
        if at + 8 != len(stream):
            raise ValueError("an Arrow stream that does not end where it should")
    except (error, IndexError) as damage:
        raise ValueError("no Arrow stream") from damage


def _length(stream: memoryview, at: int) -> int:
    """Bytes of the message that begins here; none at the end of the stream."""
    mark, length = _at(_U32, stream, at), _at(_I32, stream, at + 4)
    if mark != _CONTINUATION or not 0 <= length <= len(stream) - at - 8:
        raise ValueError("no Arrow stream")
    return length


def _checked(message: memoryview) -> int:
    """Bytes of the body that follows the message."""
    root = _at(_U32, message, 0)
    kind = _field(message, root, 1)
    header = _field(message, root, 2)
    body = _field(message, root, 3)
    if kind is None or header is None:
        raise ValueError("no Arrow message")
    table = header + _at(_U32, message, header)
    kind = _at(_U8, message, kind)
    if kind == _SCHEMA and _PICKLED in bytes(message):
        raise ValueError("a pickled Arrow type")
    if kind == _DICTIONARY:
        data = _field(message, table, 1)
        if data is None:
            raise ValueError("no Arrow message")
        table = data + _at(_U32, message, data)
    size = 0 if body is None else _at(_I64, message, body)
    if size < 0:
        raise ValueError("no Arrow message")
    if kind in (_DICTIONARY, _BATCH):
        _check_batch(message, table, size)
    return size


def _check_batch(message: memoryview, table: int, body: int) -> None:
    if _field(message, table, 3) is not None:
        raise ValueError("a compressed Arrow stream")
    if any(nulls > length or nulls < 0 for length, nulls in _pairs(message, table, 1)):
        raise ValueError("an Arrow column with more nulls than elements")
    if any(start < 0 or length < 0 or start + length > body for start, length in _pairs(message, table, 2)):
        raise ValueError("an Arrow buffer beyond its message")


def _pairs(message: memoryview, table: int, slot: int) -> Iterator[tuple[int, int]]:
    """The structs of two 64-bit integers in a vector: nodes, each a length and its nulls, or buffers."""
    field = _field(message, table, slot)
    if field is None:
        return
    start = field + _at(_U32, message, field)
    end = start + 4 + _PAIR.size * _at(_U32, message, start)
    if end > len(message):
        raise ValueError("no Arrow message")
    yield from _PAIR.iter_unpack(message[start + 4 : end])


def _field(message: memoryview, table: int, slot: int) -> int | None:
    """Where a field of a flatbuffers table is; ``None`` if the table does not have it."""
    entries = table - _at(_I32, message, table)
    if 4 + 2 * slot >= _at(_U16, message, entries):
        return None
    offset = _at(_U16, message, entries + 4 + 2 * slot)
    return table + offset if offset else None


def _at(kind: Struct, data: memoryview, at: int) -> int:
    if at < 0:
        raise ValueError("no Arrow message")
    number: int = kind.unpack_from(data, at)[0]
    return number
