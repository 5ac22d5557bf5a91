"""The dataset and the work: nested JSON records, enriched share by share, the same on every machine."""

from __future__ import annotations

import hashlib
import random
from typing import Any

__all__ = ["STEPS", "enrich", "fingerprint", "load"]

REVIEWS = 62_000
"""Enough that the JSON of all of them, enriched or not, is more than 100 MB."""
STEPS = 8
WORDS = (
    "arrived", "battery", "bright", "broken", "button", "camera", "charge", "cheap", "cloth", "colour",
    "comfortable", "cotton", "daily", "design", "durable", "easy", "elegant", "expected", "fabric", "family",
    "fits", "flimsy", "gift", "handle", "heavy", "honest", "kitchen", "late", "leather", "light", "loud",
    "manual", "noise", "packaging", "perfect", "plastic", "pocket", "price", "quality", "quick", "quiet",
    "refund", "replaced", "returned", "robust", "service", "shipping", "simple", "size", "sturdy", "travel",
    "useful", "warm", "warranty", "weekend", "wheel", "window", "winter", "wooden", "zip",
)  # fmt: skip
GOOD = frozenset(WORDS[4::5])
BAD = frozenset(WORDS[3::5])

Review = dict[str, Any]


def load() -> list[Review]:
    """All reviews, not yet enriched."""
    chance = random.Random(20_261_123)  # noqa: S311 - sample data, no secret
    prose = " ".join(chance.choices(WORDS, k=400_000))
    return [_review(number, chance, prose) for number in range(REVIEWS)]


def enrich(reviews: list[Review], step: int) -> None:
    """Do one step's work, in place: word statistics of every eighth review."""
    for review in reviews[step::STEPS]:
        words = review["text"].split()
        good, bad = sum(word in GOOD for word in words), sum(word in BAD for word in words)
        review["analysis"] = {
            "step": step,
            "words": {"total": len(words), "distinct": len(set(words)), "good": good, "bad": bad},
            "mood": round((good - bad) / len(words), 4),
            "digest": hashlib.blake2b(review["text"].encode(), digest_size=12).hexdigest(),
        }


def fingerprint(reviews: list[Review]) -> str:
    """One digest of all results; equal only if every review was enriched, once, the same way."""
    digest = hashlib.sha256()
    for review in reviews:
        analysis = review["analysis"] or {}
        digest.update(f"{review['id']} {sorted(analysis.items())}\n".encode())
    return digest.hexdigest()


def _review(number: int, chance: random.Random, prose: str) -> Review:
    start = chance.randrange(len(prose) - 2000)
    return {
        "id": number,
        "product": {"sku": f"SKU-{number % 900:05d}", "price": {"amount": number % 997 / 10, "currency": "EUR"}},
        "author": {"name": f"Zoë {number % 5000}", "verified": number % 3 == 0, "address": None},
        "stars": 1 + number % 5,
        "votes": [{"helpful": bool(vote % 2), "weight": vote / 8} for vote in range(number % 4)],
        "text": prose[start : start + 1500],
        "analysis": None,
    }
