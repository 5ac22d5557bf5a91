"""Values to measure with: the same at every run, of any size.

Imports nothing that a backend might import, since the time that takes is measured too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

__all__ = ["SHAPES", "compare", "make"]

_SEED = 20_261_123
_SAMPLE = 200
_WORDS = 4_000
_SYLLABLES = tuple("an be co dra el fi gor hu ist jan ka lo mé nü or pa qui ré sto tu 検査 данные ü 📦".split())  # noqa: SIM905 - one line is readable


def records() -> Iterator[dict[str, Any]]:
    """What a task keeps of the items it has worked through: small flat dicts, some nested."""
    random = Random(_SEED)
    for number in range(1 << 40):
        bits = random.getrandbits(64)
        yield {
            "id": number,
            "token": f"{bits:016x}",
            "status": ("done", "failed", "skipped", "retried")[bits & 3],
            "score": random.random(),
            "attempts": bits >> 3 & 7,
            "cached": bits >> 6 & 1 == 1,
            "source": {"bucket": f"raw-{bits >> 7 & 15}", "offset": bits >> 11 & 0xFFFFFF},
            "error": None,
        }


def floats() -> Iterator[list[float]]:
    """Weights or embeddings: rows of 1,000 floats with every digit they have."""
    random = Random(_SEED)
    draw = random.random
    while True:
        yield [draw() - 0.5 for _ in range(1_000)]


def text() -> Iterator[dict[str, Any]]:
    """Documents of 500 words with line breaks, quotes and letters beyond ASCII."""
    random = Random(_SEED)
    words = ["".join(random.choices(_SYLLABLES, k=random.randrange(1, 5))) for _ in range(_WORDS)]
    for number in range(1 << 40):
        body = random.choices(words, k=500)
        body[100:101], body[300:301] = ["\n"], ['"so"']
        yield {"id": f"doc-{number}", "body": " ".join(body)}


SHAPES: dict[str, Callable[[], Iterator[Any]]] = {"records": records, "floats": floats, "text": text}


def make(shape: str, megabytes: float) -> list[Any]:
    """A list whose compact JSON has about so many million bytes."""
    import orjson

    sample = list(islice(SHAPES[shape](), _SAMPLE))
    each = len(orjson.dumps(sample)) / _SAMPLE
    return list(islice(SHAPES[shape](), max(1, round(megabytes * 1e6 / each))))


def compare(value: Any, shape: str) -> int:
    """The bytes of the value's compact JSON, or an ``AssertionError`` unless it is what ``make`` made.

    Element by element, so that no second value is needed; type for type, since 1, 1.0 and True differ as JSON.
    """
    import orjson

    assert type(value) is list, f"a {type(value).__name__} came back, not a list"
    size = 1
    for number, (found, expected) in enumerate(zip(value, SHAPES[shape](), strict=False)):
        encoded = orjson.dumps(found)
        assert encoded == orjson.dumps(expected), f"element {number} came back changed"
        size += len(encoded) + 1
    return size
