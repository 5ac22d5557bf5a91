"""What one run measures, how often, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Step", "Work", "steps"]


@dataclass(frozen=True)
class Work:
    """One line of the comparison. ``kind`` is value, start, small, inline or phases."""

    kind: str
    contestants: tuple[str, ...]
    repeats: int
    shape: str = ""
    megabytes: float = 0
    servers: tuple[str, ...] = ("loopback", "shaped")

    @property
    def name(self) -> str:
        """As it is called in results."""
        value = f"{self.shape} {self.megabytes:g} MB"
        return {"value": value, "phases": f"phases of {value}"}.get(self.kind, self.kind)


@dataclass(frozen=True)
class Step:
    """One contestant's turn at one repetition of a work."""

    work: Work
    server: str
    repeat: int
    contestant: str


_BOTH = ("ours", "peer")
_ALL = (*_BOTH, "peer-gzip", "peer-zstd")
_LOOPBACK, _SHAPED = ("loopback",), ("shaped",)

FULL = (
    Work("inline", ("none", *_BOTH), 5, servers=_LOOPBACK),
    Work("start", _BOTH, 5),
    Work("small", _BOTH, 5),
    Work("value", _ALL, 5, "records", 34, servers=_LOOPBACK),
    Work("value", _BOTH, 5, "records", 34, servers=_SHAPED),
    Work("value", _ALL, 5, "floats", 20, servers=_LOOPBACK),
    Work("value", _BOTH, 5, "floats", 20, servers=_SHAPED),
    Work("value", _BOTH, 5, "float rows", 20),
    Work("value", _ALL, 5, "text", 47, servers=_LOOPBACK),
    Work("value", _BOTH, 5, "text", 47, servers=_SHAPED),
    Work("value", _BOTH, 5, "multilingual", 47, servers=_LOOPBACK),
    Work("value", _BOTH, 5, "records", 100),
    Work("value", ("ours", "transport", "tcp"), 5, "bytes", 512, servers=_LOOPBACK),
    Work("value", ("ours", "transport"), 5, "bytes", 512, servers=_SHAPED),
    Work("phases", ("ours",), 5, "records", 34),
)

QUICK = (
    Work("inline", ("none", *_BOTH), 1, servers=_LOOPBACK),
    Work("start", ("ours",), 1, servers=_LOOPBACK),
    Work("small", ("ours",), 1, servers=_LOOPBACK),
    Work("value", _ALL, 1, "records", 0.2, servers=_LOOPBACK),
    Work("value", ("ours",), 1, "floats", 0.2, servers=_LOOPBACK),
    Work("value", ("ours",), 1, "text", 0.2, servers=_LOOPBACK),
    Work("value", ("ours", "transport", "tcp"), 1, "bytes", 0.2, servers=_LOOPBACK),
    Work("phases", ("ours",), 1, "records", 0.2, servers=_LOOPBACK),
)


def steps(plan: tuple[Work, ...]) -> Iterator[Step]:
    """Contestants take turns, and a different one begins each time, so that a busy minute hits all alike."""
    for work in plan:
        for repeat in range(work.repeats):
            for server in work.servers:
                turn = repeat % len(work.contestants)
                for contestant in work.contestants[turn:] + work.contestants[:turn]:
                    yield Step(work, server, repeat, contestant)
