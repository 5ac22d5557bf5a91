"""Every metric there is: whoever records one names it here, and ``docs/observability.md`` has a table of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

__all__ = ["METRICS", "PREFIX", "Meter", "Metric", "Tags"]

PREFIX = "offload_backend."
"""What names begin with wherever they are sent. Airflow puts a prefix of its own before it."""
Kind: TypeAlias = Literal["counter", "timer", "gauge"]
Tags: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """``unit`` is that of its values; ``tags`` are those that it may have. Plain StatsD sends no tags."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    tags: tuple[str, ...]


class Meter(Protocol):
    """What metrics are given to, by their names. It may raise anything: whoever gives keeps that from the task."""

    def count(self, name: str, amount: int, tags: Tags) -> None:
        """Add to a counter."""
        ...

    def time(self, name: str, milliseconds: float, tags: Tags) -> None:
        """Record a duration with a timer."""
        ...

    def gauge(self, name: str, value: float, tags: Tags) -> None:
        """Set a gauge."""
        ...


def _of_values() -> Iterator[Metric]:
    state = ("dag_id", "task_id", "asset")
    blob = (*state, "codec")
    for verb, stay, done in (("offload", "stay", "written"), ("resolve", "stood", "read")):
        yield Metric(f"{verb}.inline", "counter", "values", f"Values that {stay} in their rows.", state)
        yield Metric(f"{verb}.offloaded", "counter", "values", f"Values {done} as blobs.", blob)
        yield Metric(f"{verb}.failed", "counter", "values", f"Values not {done}: an error.", (*state, "error"))
        yield Metric(f"{verb}.duration", "timer", "ms", f"How long a blob took to be {done}.", blob)
        yield Metric(f"{verb}.raw_bytes", "counter", "bytes", "Of these blobs, before compression.", blob)
        yield Metric(f"{verb}.stored_bytes", "counter", "bytes", "Of these blobs, as stored.", blob)
        yield Metric(f"{verb}.retries", "counter", "requests", "Requests to the store sent again.", blob)
    copied = "Of the stored bytes, those that S3 copied and nobody sent (`copy_unchanged`)."
    yield Metric("offload.copied_bytes", "counter", "bytes", copied, blob)
    yield Metric("resolve.dangling", "counter", "values", "Of the failed, those whose blob is gone.", state)
    yield Metric("resolve.corrupt", "counter", "values", "Of the failed, those that had been changed.", state)
    yield Metric("reclaim.blobs", "counter", "blobs", "Dead blobs that workers deleted.", ())
    yield Metric("reclaim.failed", "counter", "blobs", "Dead blobs that the store did not let go.", ())


def _of_the_collector() -> Iterator[Metric]:
    entries: list[tuple[str, Kind, str, str]] = [
        ("live_blobs", "gauge", "blobs", "Blobs that a row named, at the last mark."),
        ("live_bytes", "gauge", "bytes", "What they hold, as stored."),
        ("candidates", "gauge", "blobs", "Orphans in quarantine after the last mark."),
        ("candidate_bytes", "gauge", "bytes", "What they hold, as stored."),
        ("dangling", "gauge", "refs", "Refs whose blob the last mark did not find in its listing."),
        ("last_mark_seconds", "gauge", "s", "When the last mark ended, in Unix time."),
        ("mark_duration", "timer", "ms", "How long a mark took."),
        ("purged_blobs", "counter", "blobs", "Orphans deleted by a purge."),
        ("purged_bytes", "counter", "bytes", "What they held, as stored."),
        ("purge_failed", "counter", "blobs", "Orphans that the store did not let go."),
        ("last_purge_seconds", "gauge", "s", "When the last purge that was to delete ended, in Unix time."),
        ("purge_duration", "timer", "ms", "How long a purge took."),
        ("refused", "counter", "runs", "Runs that were refused: nothing was deleted."),
    ]
    for name, kind, unit, meaning in entries:
        yield Metric(f"collector.{name}", kind, unit, meaning, ("deployment",))


METRICS = {metric.name: metric for metric in (*_of_values(), *_of_the_collector())}
"""By name, without :data:`PREFIX`."""
