"""Values that carry their own proof: who gets one can tell whose it is, the how many-th, and that it is whole."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timezone
from importlib.util import find_spec
from typing import Any, NamedTuple

SMALLEST, LARGEST = 100, 20_000_000
_EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
_CHANGED = 4096
_HAS_ARRAYS = find_spec("numpy") is not None


class WrongValueError(Exception):
    """A value that nobody set under this key, or that is not as it was set."""


class Claim(NamedTuple):
    """Who set a value, and how many they had set before."""

    writer: str
    count: int


def proof(key: str, claim: Claim, dice: random.Random, largest: int = LARGEST) -> Any:
    """A new value between a hundred bytes and ``largest``: text, bytes, or an array that changes little."""
    size = int(SMALLEST * (largest / SMALLEST) ** (dice.random() ** 3))
    kind = dice.choices(("text", "bytes", "array"), (50, 46, 4 if _HAS_ARRAYS else 0))[0]
    if kind == "text":
        bulk: Any = [dice.randbytes(1024).hex() for _ in range(size // 2052)] or ["few"]
    elif kind == "bytes":
        bulk = dice.randbytes(size)
    else:
        bulk = _checkpoint(key, claim, largest)
    value = {
        "key": key,
        "writer": claim.writer,
        "count": claim.count,
        "digest": _digest(key, claim, bulk),
        "bulk": bulk,
    }
    return value if kind == "text" else {**value, "at": _EPOCH, "pair": (claim.count, key)}


def claim_of(value: Any, key: str) -> Claim:
    """Whose value this is; raises :class:`WrongValueError` unless it is of this key, type for type, and whole."""
    try:
        claim = Claim(value["writer"], value["count"])
        typed = "at" not in value or (value["at"], value["pair"]) == (_EPOCH, (claim.count, key))
        if typed and value["key"] == key and value["digest"] == _digest(key, claim, value["bulk"]):
            return claim
    except (TypeError, KeyError, AttributeError) as error:
        raise WrongValueError(f"{key}: {type(value).__name__} of another form") from error
    raise WrongValueError(f"{key}: says {value['key']}, {claim}")


def _checkpoint(key: str, claim: Claim, largest: int) -> Any:
    """An array as the writer's former one for this key, but for a stretch: S3 may copy the rest."""
    import numpy as np

    array = np.frombuffer(random.Random(f"{key} {claim.writer}").randbytes(largest // 3), "uint8").copy()
    where = random.Random(claim.count).randrange(max(1, largest // 3 - _CHANGED))
    array[where : where + _CHANGED] = claim.count % 251
    return array


def _digest(key: str, claim: Claim, bulk: Any) -> str:
    digest = hashlib.sha256(f"{key} {claim.writer} {claim.count} {type(bulk).__name__}".encode())
    if isinstance(bulk, list):
        digest.update("".join(bulk).encode())
    else:
        digest.update(bulk.dtype.str.encode() if hasattr(bulk, "dtype") else b"")
        digest.update(bulk)
    return digest.hexdigest()
