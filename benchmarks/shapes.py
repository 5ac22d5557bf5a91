"""Values to measure with: the same at every run, of any size.

Imports nothing that a backend might import, since the time that takes is measured too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from random import Random
from typing import Any

__all__ = ["SHAPES", "compare", "make"]

_SEED = 20_261_123
_SAMPLE = 200
_WORDS = 4_000
_BLOCK = 1_000_000
_LATIN = tuple("an be co dra el fi gor hu ist jan ka lo men nu or pa qui res sto tu ver wa yel zo".split())  # noqa: SIM905 - one line is readable
_ALL = tuple("an be co dra el fi gor hu ist jan ka lo mé nü or pa qui ré sto tu 検査 данные ü 📦".split())  # noqa: SIM905 - one line is readable


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


def floats() -> Iterator[float]:
    """Weights or embeddings in one flat list, with every digit they have."""
    random = Random(_SEED)
    draw = random.random
    while True:
        yield draw() - 0.5


def rows() -> Iterator[list[float]]:
    """The same floats in rows of 1,000."""
    source = floats()
    while True:
        yield list(islice(source, 1_000))


def text() -> Iterator[tuple[str, dict[str, Any]]]:
    """A dict of documents, each a dict with sections in it; one in ten has letters beyond ASCII."""
    random = Random(_SEED)
    latin, every = _words(random, _LATIN), _words(random, _ALL)
    for number in range(1 << 40):
        words = latin if number % 10 else every
        sections = [
            {"title": " ".join(random.choices(words, k=6)), "body": _prose(random, words)} for _ in range(4)
        ]
        about = {"language": "la", "pages": number % 40, "tags": random.choices(words, k=3)}
        yield f"doc-{number}", {"about": about, "sections": sections}


def multilingual() -> Iterator[dict[str, Any]]:
    """Documents of 500 words, each with line breaks, quotes and letters beyond ASCII."""
    random = Random(_SEED)
    words = _words(random, _ALL)
    for number in range(1 << 40):
        yield {"id": f"doc-{number}", "body": _prose(random, words)}


def blocks() -> Iterator[bytes]:
    """Random bytes, as compressed or encrypted data are, a million at a time."""
    random = Random(_SEED)
    while True:
        yield random.randbytes(_BLOCK)


SHAPES: dict[str, Callable[[], Iterator[Any]]] = {
    "records": records,
    "floats": floats,
    "float rows": rows,
    "text": text,
    "multilingual": multilingual,
    "bytes": blocks,
}
_WHOLE: dict[str, type] = {"text": dict, "bytes": bytes}


def make(shape: str, megabytes: float) -> Any:
    """A value whose compact JSON has about so many million bytes; of ``bytes``, exactly so many."""
    if shape == "bytes":
        return _bytes(round(megabytes * 1e6))
    import orjson

    whole = _WHOLE.get(shape, list)
    sample = whole(islice(SHAPES[shape](), _SAMPLE))
    each = len(orjson.dumps(sample)) / _SAMPLE
    return whole(islice(SHAPES[shape](), max(1, round(megabytes * 1e6 / each))))


def compare(value: Any, shape: str) -> int:
    """The bytes of the value's compact JSON, or an ``AssertionError`` unless it is what ``make`` made.

    Piece by piece, so that no second value is needed; type for type, since 1, 1.0 and True differ as JSON.
    Of ``bytes``, how many there are.
    """
    whole = _WHOLE.get(shape, list)
    assert type(value) is whole, f"a {type(value).__name__} came back, not a {whole.__name__}"
    if shape == "bytes":
        return _compare_bytes(value)
    import orjson

    size, joint = 1, 1
    found, expected = iter(value), SHAPES[shape]()
    if shape == "floats":  # in batches: a million elements take long one by one
        found, expected, joint = _batches(found), _batches(islice(expected, len(value))), -1
    elif whole is dict:
        found, joint = iter(value.items()), -1
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        encoded = orjson.dumps(one)
        assert encoded == orjson.dumps(other), f"element {number} came back changed"
        size += len(encoded) + joint
    return size


def _batches(source: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(source, 1_000)):
        yield batch


def _bytes(size: int) -> bytes:
    """Without joining: of 4 GB there is no second copy."""
    buffer = BytesIO()
    for block in blocks():
        buffer.write(block[: size - buffer.tell()])
        if buffer.tell() == size:
            return buffer.getvalue()
    raise AssertionError("blocks never end")


def _compare_bytes(value: bytes) -> int:
    whole, start = memoryview(value), 0
    for number, block in enumerate(blocks()):
        if start >= len(whole):
            break
        assert whole[start : start + _BLOCK] == block[: len(whole) - start], f"block {number} came back changed"
        start += _BLOCK
    return len(whole)


def _words(random: Random, syllables: tuple[str, ...]) -> list[str]:
    return ["".join(random.choices(syllables, k=random.randrange(1, 5))) for _ in range(_WORDS)]


def _prose(random: Random, words: list[str]) -> str:
    body = random.choices(words, k=500)
    body[100:101], body[300:301] = ["\n"], ['"so"']
    return " ".join(body)
