"""Long lists whose elements are alike, as columns: ``{"$": ["list", 1, {"floats": 0}]}``.

Each form is an object with one of these words and what belongs to it:

* ``floats``, ``ints``: the buffer with the numbers, 64 bits each, little-endian.
* ``moments``: the buffer with microseconds since 1970-01-01T00:00 of the wall clock, and ``zone``.
* ``joined``: the buffer with all ``bytes`` one after another, and ``lengths``.
* ``of``: tag and version of the kind of all elements, and ``facts``: those of each, or the buffer with their text.
* ``records``: the keys that all dicts have in this order, and ``columns``, the values of each.
* ``rows``: the columns of tuples of one length.
* ``mask``: the buffer that says with 1 which elements are not ``None``, and ``others``, the list of these.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from offload_backend.codecs.tree.containers import INLINE_BYTES
from offload_backend.codecs.tree.facts import exactly
from offload_backend.codecs.tree.kinds import Buffer, Json, Kind, Reader
from offload_backend.codecs.tree.leaves import LEAVES
from offload_backend.codecs.tree.moments import is_usual
from offload_backend.codecs.tree.path import Column
from offload_backend.codecs.tree.plainjson import text_or_buffer, value_of_text

if TYPE_CHECKING:
    from offload_backend.codecs.tree.writing import TreeWriter

__all__ = ["column_of", "numbers_of", "values_from"]

MANY = 64
"""Elements from which a column is worth its buffer."""

_LONG_NUMBERS = 256
_SHORT_BYTES = 4096
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # the wall clock's
_DAY = 86_400_000_000


def numbers_of(values: list[Any], writer: TreeWriter) -> Json:
    """The node of a long list of nothing but floats, or of ints of 64 bits; else ``None``."""
    if len(values) < _LONG_NUMBERS or type(values[0]) not in (int, float) or len(set(map(type, values))) > 1:
        return None
    if type(values[0]) is float:
        return _list(floats=writer.buffer(_little("d", values), dtype="F64", shape=(len(values),)))
    try:
        return _list(ints=writer.buffer(_little("q", values), dtype="I64", shape=(len(values),)))
    except OverflowError:
        return None


def column_of(values: list[Any], writer: TreeWriter) -> Json:
    """The node of a long list of elements that are alike; ``None`` for any other."""
    if len(values) < MANY:
        return None
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return _sparse(values, writer) if len(kinds - {type(None)}) == 1 else None
    (kind,) = kinds
    if kind in LEAVES and kind not in (int, float, str):
        return (kind is datetime and _moments(values, writer)) or _of(LEAVES[kind], values, writer)
    return _COLUMNS[kind](values, writer) if kind in _COLUMNS else None


def values_from(facts: Json, reader: Reader) -> list[Any]:  # noqa: PLR0911  # one for each form
    """The list. Raises :class:`ValueError` for what the functions above cannot have made."""
    match facts:
        case {"floats": int(number)}:
            return _numbers("d", number, reader)
        case {"ints": int(number)}:
            return _numbers("q", number, reader)
        case {"moments": int(number), "zone": zone}:
            return _moments_from(_numbers("q", number, reader), reader.value(zone))
        case {"joined": int(number), "lengths": lengths}:
            return _split(reader.buffer(number), reader.items(lengths))
        case {"of": [str(tag), int(version)], "facts": each}:
            kind, each = _leaf(tag, version), each if isinstance(each, list) else value_of_text(each, reader)
            return [kind.decode(one, version, reader) for one in exactly(each, list)]
        case {"records": keys, "columns": [*nodes]}:
            return _records_from(reader.items(keys), nodes, reader)
        case {"rows": [*nodes]}:
            return _zipped(nodes, reader)
        case {"mask": int(number), "others": node}:
            return _masked(reader.buffer(number), reader.items(node))
    raise ValueError("not a column")


def _list(**facts: Json) -> Json:
    return {"$": ["list", 1, facts]}


def _is_present(value: object) -> bool:
    return value is not None


def _little(code: str, values: Sequence[Any]) -> Buffer:
    numbers = array(code, values)
    if sys.byteorder != "little":
        numbers.byteswap()
    return memoryview(numbers).cast("B")


def _numbers(code: str, number: int, reader: Reader) -> list[Any]:
    numbers = array(code)
    numbers.frombytes(reader.buffer(number))
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers.tolist()


def _moments(values: list[datetime], writer: TreeWriter) -> Json:
    zone = values[0].tzinfo
    if not is_usual(zone) or any(value.tzinfo is not zone or value.fold for value in values):
        return None
    epoch = _EPOCH.replace(tzinfo=zone)  # two moments of one zone object differ by what the wall clock says
    spans = [value - epoch for value in values]
    numbers = [span.days * _DAY + span.seconds * 1_000_000 + span.microseconds for span in spans]
    number = writer.buffer(_little("q", numbers), dtype="I64", shape=(len(numbers),))
    return _list(moments=number, zone=writer.child(zone, "tzinfo"))


def _moments_from(numbers: list[int], zone: Any) -> list[datetime]:
    epoch = _EPOCH.replace(tzinfo=zone)
    try:
        return [epoch + timedelta(0, 0, number) for number in numbers]
    except OverflowError:
        raise ValueError("a moment beyond the year 9999") from None


def _of(leaf: Kind, values: list[Any], writer: TreeWriter) -> Json:
    facts = [leaf.encode(value, writer) for value in values]
    return _list(of=[leaf.tag, leaf.version], facts=text_or_buffer(facts, writer))


def _sparse(values: list[Any], writer: TreeWriter) -> Json:
    others = [value for value in values if value is not None]
    column = numbers_of(others, writer) or column_of(others, writer)
    return column and _list(mask=writer.buffer(bytes(map(_is_present, values))), others=column)


def _joined(values: list[bytes], writer: TreeWriter) -> Json:
    if sum(map(len, values)) > _SHORT_BYTES * len(values):
        return None
    if len(max(values, key=len)) > INLINE_BYTES and not _are_new(values, writer):
        return None
    lengths = writer.items(list(map(len, values)))
    return _list(joined=writer.buffer(b"".join(values)), lengths=lengths)


def _split(memory: memoryview, lengths: list[Any]) -> list[bytes]:
    if not all(type(length) is int and length >= 0 for length in lengths) or sum(lengths) != len(memory):
        raise ValueError("lengths that are not those of the parts")
    ends = list(accumulate(lengths))
    return [bytes(memory[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _records(values: list[dict[Any, Any]], writer: TreeWriter) -> Json:
    keys = list(values[0])
    if not keys or set(map(type, keys)) != {str} or len(set(map(tuple, values))) > 1:
        return None
    if set(map(type, chain.from_iterable(values))) != {str} or not _are_new(values, writer):
        return None
    columns = zip(*map(dict.values, values), strict=True)
    return _list(
        records=writer.items(keys),
        columns=[_column(list(column), key, writer) for key, column in zip(keys, columns, strict=True)],
    )


def _records_from(keys: list[Any], nodes: list[Any], reader: Reader) -> list[dict[str, Any]]:
    if not all(type(key) is str for key in keys) or not len(set(keys)) == len(keys) == len(nodes):
        raise ValueError("keys that are not those of records")
    return [dict(zip(keys, row, strict=True)) for row in _zipped(nodes, reader)]


def _rows(values: list[tuple[Any, ...]], writer: TreeWriter) -> Json:
    if not values[0] or len(set(map(len, values))) > 1 or not _are_new(values, writer):
        return None
    columns = zip(*values, strict=True)
    return _list(rows=[_column(list(column), place, writer) for place, column in enumerate(columns)])


def _column(values: list[Any], step: object, writer: TreeWriter) -> Json:
    writer.path.append(Column(step))
    try:
        return writer.items(values)
    finally:
        writer.path.pop()


def _are_new(values: list[Any], writer: TreeWriter) -> bool:
    identities = set(map(id, values))
    if len(identities) < len(values) or not writer.are_new(identities):
        return False
    writer.meet(identities, values)
    return True


def _zipped(nodes: list[Any], reader: Reader) -> list[tuple[Any, ...]]:
    columns = [reader.items(node) for node in nodes]
    if len(set(map(len, columns))) != 1:
        raise ValueError("columns of different lengths")
    return list(zip(*columns, strict=True))


def _masked(mask: memoryview, others: list[Any]) -> list[Any]:
    present = mask.tobytes()
    if present.count(1) != len(others) or present.count(0) + len(others) != len(present):
        raise ValueError("a mask that does not fit its list")
    rest = iter(others)
    return [next(rest) if one else None for one in present]


def _leaf(tag: str, version: int) -> Kind:
    leaf = next((kind for kind in LEAVES.values() if kind.tag == tag), None)
    if leaf is None or version > leaf.version:
        raise ValueError("a column of an unknown kind")
    return leaf


_COLUMNS: dict[type, Callable[[list[Any], TreeWriter], Json]] = {bytes: _joined, dict: _records, tuple: _rows}
