"""The elements of object arrays, and of what pandas keeps in them.

Most hold text, with ``None`` or NaN where there is none. Where all elements are such, or other plain JSON,
they go into a buffer of their own: a JSON array a line, of 32,768 elements each. NaN is ``null`` there,
and its places are in another buffer. All else is the node of a list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from offload_backend.codecs.tree.kinds import Json, Pieces, Reader, Writer

__all__ = ["FEW", "elements_from", "elements_of"]

FEW = 64
"""Elements up to which nodes serve as well, and can be read in the structure."""

LINE = 32 * 1024
"""Elements of one line."""

_PLAIN = frozenset({str, bool, int, float, type(None)})
_NAN = np.array(math.nan).view("u8")


def elements_of(flat: Any, writer: Writer) -> dict[str, Json]:
    """Facts of the elements of a one-dimensional object array: ``elements``, the node of their list, or
    ``lines``, the buffer and the bytes of each line, with the buffer of ``nans``.
    """
    items = flat.tolist()
    types = set(map(type, items)) if len(items) > FEW else {object}
    if _PLAIN.issuperset(types):
        nans = _nans(items) if float in types else []
        sizes = None if nans is None else _sizes(items)
        if sizes is not None:
            buffer = writer.buffer(Pieces(sum(sizes), lambda: _lines(items)))
            facts: dict[str, Json] = {"lines": [buffer, sizes]}
            return facts | {"nans": writer.buffer(np.array(nans, "<u8").tobytes())} if nans else facts
    return {"elements": writer.items(items)}


def elements_from(facts: dict[str, Any], count: int, reader: Reader) -> Any:
    """The one-dimensional array of ``count`` elements; :class:`ValueError` for another number of them."""
    items = _read_lines(facts["lines"], reader) if "lines" in facts else reader.items(facts.get("elements"))
    if len(items) != count:
        raise ValueError("another number of elements")
    array = np.fromiter(items, object, count)
    if "nans" in facts:
        places = np.frombuffer(reader.buffer(facts["nans"]), "<u8")
        if places.max(initial=0) >= count:
            raise ValueError("no such element")
        array[places.astype(np.intp)] = math.nan
    return array


def _nans(items: list[Any]) -> list[int] | None:
    """Where NaN is; ``None`` if there is an infinity, or a NaN with bits of its own."""
    places = [place for place, item in enumerate(items) if type(item) is float and not math.isfinite(item)]
    bits = np.array([items[place] for place in places]).view("u8")
    return places if (bits == _NAN).all() else None


def _lines(items: list[Any]) -> Iterator[bytes]:
    for start in range(0, len(items), LINE):
        yield orjson.dumps(items[start : start + LINE], option=orjson.OPT_APPEND_NEWLINE)


def _sizes(items: list[Any]) -> list[int] | None:
    """The bytes of each line; ``None`` if an integer or a text is too large for JSON, or is none."""
    try:
        return [len(line) for line in _lines(items)]
    except orjson.JSONEncodeError:
        return None


def _read_lines(facts: Json, reader: Reader) -> list[Any]:
    if not isinstance(facts, list) or len(facts) != 2 or not isinstance(facts[1], list):  # noqa: PLR2004
        raise ValueError("no lines")
    memory, start, items = reader.buffer(facts[0]), 0, list[Any]()
    for size in facts[1]:
        if type(size) is not int or not 0 < size <= len(memory) - start:
            raise ValueError("a line is not as long as said")
        line = orjson.loads(memory[start : start + size])
        if not isinstance(line, list) or not _PLAIN.issuperset(map(type, line)):
            raise ValueError("no line of elements")
        items += line
        start += size
    return items
