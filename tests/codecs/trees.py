"""What the tests of kinds share: a round trip, and files with facts that no ``encode`` wrote."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import orjson

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree.allowed import AllowedClasses
from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.codecs.tree.layout import Tensor, pieces_of
from offload_backend.codecs.tree.writing import tree_of


def encoded(value: Any) -> bytes:
    return b"".join(TreeCodec().encode(value))


def decoded(data: bytes) -> Any:
    return TreeCodec().decode(HeldSource(data))


def round_trip(value: Any) -> Any:
    return decoded(encoded(value))


def document_of(value: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The structure and the buffers of a value, to be changed."""
    tree = tree_of(value, AllowedClasses())
    return orjson.loads(tree.text), [_joined(tensor.data) for tensor in tree.tensors]


def value_of(document: dict[str, Any], buffers: list[bytes]) -> Any:
    tensors = [Tensor(f"t{number}", "U8", (len(data),), data) for number, data in enumerate(buffers)]
    return decoded(b"".join(pieces_of(json.dumps(document).encode(), tensors)))


def places(node: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a structure."""
    yield way
    if isinstance(node, dict | list):
        for step, part in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(part, (*way, step))


def replaced(node: Any, way: tuple[Any, ...], part: Any) -> Any:
    """A copy in which the part at the end of the way is another one."""
    if not way:
        return part
    changed = copy.copy(node)
    changed[way[0]] = replaced(node[way[0]], way[1:], part)
    return changed


def with_facts(value: Any, **facts: Any) -> Any:
    """What comes of a value of one kind if these of its facts are others."""
    document, buffers = document_of(value)
    document["value"]["$"][2].update(facts)
    return value_of(document, buffers)


def _joined(data: Any) -> bytes:
    return b"".join(data.make()) if hasattr(data, "make") else bytes(data)


JUNK = (
    *(None, True, -1, 0, 1, 2**31, 2**62, 2**63 - 1, 0.5, "", "x", "O", "|O8", "<f8", "object"),
    *("__import__('os').system('true')", [], [-1], [2**62], [2**62, 2**62], {}, {"$": ["none", 1, None]}),
)
"""What stands in the place of one fact after the other."""
