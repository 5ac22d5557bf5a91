"""Nodes that version 1 wrote are read for ever, and it still writes them so.

Each line of ``golden_nodes.jsonl`` is the text of an inline value and the expression of its value. A line is never
changed; a newer form of a kind adds lines.
"""

from __future__ import annotations

import array
import collections
import datetime  # noqa: ICN001  # golden expressions say so
import decimal
import fractions
import json
import pathlib
import struct
import uuid
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offload_backend.codecs.tree.codec import INLINE
from offload_backend.codecs.tree.reading import _OWN
from tests.codecs import classes
from tests.codecs.values import CODEC, portrait

FILE = Path(__file__).with_name("golden_nodes.jsonl")
NAMES: dict[str, Any] = {
    **{
        module.__name__: module
        for module in (array, collections, datetime, decimal, fractions, pathlib, uuid, zoneinfo)
    },
    "classes": classes,
    "nan": lambda digits: struct.unpack(">d", bytes.fromhex(digits))[0],
}
NAMES["loop"] = []
NAMES["loop"].append(NAMES["loop"])
LINES = [json.loads(line) for line in FILE.read_text(encoding="ascii").splitlines()] if FILE.exists() else []

EXPRESSIONS = [
    "None",
    "1.5",
    "'text'",
    "[1, {'a': 2}]",
    "{'$': 1}",
    "{1: 'a', None: ()}",
    "2**64",
    "-(2**63) - 1",
    "float('inf')",
    "nan('fff8000000000abc')",
    "'\\ud800'",
    "complex(-0.0, 1.5)",
    "b'few'",
    "b'many' * 20",
    "bytearray(b'few')",
    "bytearray(b'many' * 20)",
    "memoryview(b'12345678').cast('H', (2, 2))",
    "memoryview(bytearray(b'x'))",
    "(1, (2,))",
    "{3, 1, 2}",
    "frozenset({'a'})",
    "range(1, 10, 2)",
    "slice(1, None, 'x')",
    "...",
    "array.array('d', [1.5, -0.0])",
    "collections.OrderedDict(b=1, a=2)",
    "collections.Counter('aab')",
    "collections.defaultdict(list, {'a': [1]})",
    "collections.defaultdict(None, {'a': 1})",
    "collections.defaultdict(collections.OrderedDict)",
    "collections.defaultdict(classes.Point)",
    "collections.deque([1, (2,)], 5)",
    "datetime.datetime(2026, 1, 2, 3, 4, 5, 6)",
    "datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)",
    "datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))",
    "datetime.date(2026, 1, 2)",
    "datetime.time(3, 4, 5, 6, datetime.timezone.utc)",
    "datetime.timedelta(-1, 2, 3)",
    "datetime.timezone(datetime.timedelta(hours=-3))",
    "datetime.timezone(datetime.timedelta(0), 'Zulu')",
    "zoneinfo.ZoneInfo('Europe/Berlin')",
    "zoneinfo.ZoneInfo.no_cache('UTC')",
    "decimal.Decimal('-1.50E+7')",
    "decimal.Decimal('sNaN12')",
    "fractions.Fraction(-1, 3)",
    "uuid.UUID(int=5)",
    "uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)",
    "pathlib.PurePosixPath('a/b')",
    "pathlib.PureWindowsPath('c:/a')",
    "classes.Pair(1, (2,))",
    "classes.Point(1, [2])",
    "classes.Slots((1,), [])",
    "classes.Defined(1, [])",
    "classes.Model(a=1, b=(2,), more=3)",
    "classes.Colour.RED",
    "classes.Access.READ | classes.Access.WRITE",
    "(lambda one: [one, (one,)])([1])",
    "loop",
    "[float(n) for n in range(256)]",
    "tuple(range(256))",
    "[datetime.datetime(2026, 1, 1 + n % 9) for n in range(64)]",
    "[b'x' * (n % 3) for n in range(64)]",
    "[decimal.Decimal(n) for n in range(64)]",
    "[uuid.UUID(int=n) for n in range(200)]",
    "[{'n': n, 'at': datetime.date(2026, 1, 1)} for n in range(64)]",
    "[(n, ()) for n in range(64)]",
    "[None if n % 2 else datetime.date(2026, 1, 1) for n in range(128)]",
    "({'records': [{'n': n, 'text': 'some text or other'} for n in range(150)]},)",
]


def made(expression: str) -> Any:
    return eval(expression, dict(NAMES))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["value"][:60])
def test_a_golden_node_is_read(line):
    assert portrait(CODEC.value_of_inline(INLINE + json.dumps(line["text"]))) == portrait(made(line["value"]))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["value"][:60])
def test_a_golden_node_is_still_written(line):
    text = CODEC.inline_text(made(line["value"]))
    assert text is not None
    assert json.loads(text[len(INLINE) :]) == line["text"]


def test_every_kind_has_a_golden_node():
    tags = {tag for line in LINES for tag in _tags(line["text"])}
    assert tags == {*_OWN, "ref"}
    assert [line["value"] for line in LINES] == EXPRESSIONS


def _tags(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        if isinstance(document.get("$"), list):
            yield document["$"][0]
        if "of" in document:
            yield document["of"][0]
        for part in document.values():
            yield from _tags(part)
    elif isinstance(document, list):
        for part in document:
            yield from _tags(part)


def write() -> None:
    """Add the lines that are missing: ``python -m tests.codecs.test_golden_nodes``."""
    with FILE.open("a", encoding="ascii") as file:
        for expression in EXPRESSIONS[len(LINES) :]:
            text = CODEC.inline_text(made(expression))
            assert text is not None
            file.write(json.dumps({"value": expression, "text": json.loads(text[len(INLINE) :])}) + "\n")


if __name__ == "__main__":
    write()
