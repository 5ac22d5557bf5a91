"""What the project promises of its speed, and whether a run kept it: computed from the run, every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measured import Measured, Measurement

__all__ = ["Floor", "judge"]

_SPEED = (
    ("records 34 MB", "set", 5, 4),
    ("records 34 MB", "get", 3, None),
    ("floats 20 MB", "set", 6, None),
    ("floats 20 MB", "get", 3.5, None),
    ("float rows 20 MB", "set", 6, None),
    ("float rows 20 MB", "get", 3.5, None),
    ("text 47 MB", "set", 3, None),
    ("text 47 MB", "get", 1.3, None),
    ("bytes 512 MB", "set", 4, None),
    ("bytes 512 MB", "get", 2.5, None),
)
"""Work, operation, and how many times as fast as common-io: loopback, and shaped where that is promised."""

_START, _SMALL, _INLINE = 6, 3, 50
_SET_PEAK, _BYTES_SET_PEAK, _BYTES_GET_PEAK = 0.6, 0.1, 1.1
_LARGE = 10_000_000
"""Bytes of a value from which on its memory is told from the process's own."""
_ONE_PUT, _ONE_GET = 8_000_000, 32_000_000
_STORED = 1.2
_OF_TCP = 0.5


@dataclass(frozen=True)
class Floor:
    """One promise. ``reached`` is ``None`` where the run did not measure it."""

    what: str
    wanted: str
    loopback: str = ""
    shaped: str = ""
    reached: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """As the file of results has it."""
        return asdict(self)


def judge(measured: Measured) -> list[Floor]:
    """Every promise, in the order of the README."""
    return [
        *_speeds(measured),
        _inline(measured),
        *_memory(measured),
        *_requests(measured),
        *_stored(measured),
        *_bulk(measured),
    ]


def _speeds(measured: Measured) -> Iterator[Floor]:
    for work, operation, plain, shaped in _SPEED:
        about = {"work": work, "operation": operation}
        yield _speed(measured, f"`{operation}` {work}", "seconds", (plain, shaped), about)
    first = {"work": "start", "operation": "set"}
    what = "first `set` of a process: imports, credentials, connection, 1 MB"
    yield _speed(measured, what, lambda m: m["backend"] + m["set"], (_START, None), first)
    for operation in ("set", "get"):
        what = f"`{operation}` of 4 kB, offloaded, median"
        yield _speed(measured, what, operation, (_SMALL, None), {"work": "small"})


def _speed(
    measured: Measured,
    what: str,
    field: str | Callable[[Measurement], float],
    wanted: tuple[float, float | None],
    about: dict[str, str],
) -> Floor:
    rival = measured.rival(about["work"])
    ratios = {}
    for server in ("loopback", "shaped"):
        ours = measured.middle(field, server=server, contestant="ours", **about)
        theirs = measured.middle(field, server=server, contestant=rival, **about)
        ratios[server] = theirs / ours if ours and theirs else None
    asked = [(ratios["loopback"], wanted[0])] + ([(ratios["shaped"], wanted[1])] if wanted[1] else [])
    said = f"{wanted[0]:g} times as fast" + (f", shaped {wanted[1]:g}" if wanted[1] else "")
    reached = None if any(found is None for found, _ in asked) else all(found >= least for found, least in asked)  # type: ignore[operator]
    return Floor(what, said, _times(ratios["loopback"]), _times(ratios["shaped"]), reached)


def _inline(measured: Measured) -> Floor:
    what = "`set` and `get` of 1 kB that stays in its row: added to Airflow's own time"
    wanted = f"< {_INLINE} µs, no request, no driver imported"
    ours, none = (measured.middle("microseconds", work="inline", contestant=each) for each in ("ours", "none"))
    if ours is None or none is None:
        return Floor(what, wanted)
    runs = measured.of(work="inline", contestant="ours")
    asked = sum(sum(run["requests"].values()) for run in runs)
    drivers = sorted({name for run in runs for name in run["drivers"]})
    said = f"{ours - none:.0f} µs, {_number(asked, 'request')}, {', '.join(drivers) or 'no driver'}"
    return Floor(what, wanted, said, "", ours - none < _INLINE and not asked and not drivers)


def _memory(measured: Measured) -> Iterator[Floor]:
    works = measured.works("loopback", "get")
    json_works = [work for work in works if not work.startswith("bytes")]
    bytes_works = [work for work in works if work.startswith("bytes")]
    yield _at_most("peak memory of `set` ÷ JSON", _SET_PEAK, _peaks(measured, json_works, "set"))
    yield _at_most("peak memory of `set` ÷ bytes", _BYTES_SET_PEAK, _peaks(measured, bytes_works, "set"))
    yield _at_most("peak memory of `get` ÷ bytes", _BYTES_GET_PEAK, _peaks(measured, bytes_works, "get"))
    shares = []
    ours = dict(_peaks(measured, json_works, "get"))
    for work, theirs in _peaks(measured, json_works, "get", "peer"):
        if work in ours:
            shares.append((work, ours[work] / theirs))
    yield _at_most("peak memory of `get` of JSON ÷ common-io's", 1, shares)


def _peaks(
    measured: Measured, works: Iterable[str], operation: str, contestant: str = "ours"
) -> Iterator[tuple[str, float]]:
    for work in works:
        about = {"work": work, "server": "loopback", "operation": operation, "contestant": contestant}
        one, found = measured.one(**about), measured.middle(lambda m: m["peak"] / m["json"], **about)
        if one and found is not None and one["json"] >= _LARGE:
            yield work, found


def _at_most(what: str, most: float, found: Iterable[tuple[str, float]]) -> Floor:
    found = list(found)
    said = ", ".join(f"{work} {value:.2f}" for work, value in found)
    return Floor(what, f"≤ {most:g}", said, "", all(round(v, 2) <= most for _, v in found) if found else None)


def _requests(measured: Measured) -> Iterator[Floor]:
    for operation, limit, request in (("set", _ONE_PUT, "PutObject"), ("get", _ONE_GET, "GetObject")):
        found = [
            (m["work"], m["requests"])
            for m in measured.of(operation=operation, contestant="ours")
            if "stored" in m and m["stored"] < limit
        ]
        for m in measured.of(work="small", contestant="ours"):
            asked = {name: n / m["operations"] for name, n in m[f"{operation} requests"].items()}
            found.append(("4 kB", asked))
        wrong = [f"{work}: {asked}" for work, asked in found if asked != {request: 1}]
        said = "; ".join(dict.fromkeys(wrong)) or f"1 {request} in all {len(found)}"
        what = f"requests of a `{operation}` below {limit // 1_000_000} MB stored"
        yield Floor(what, f"1 {request}", said if found else "", "", not wrong if found else None)


def _stored(measured: Measured) -> Iterator[Floor]:
    for contestant in ("gzip", "zstd"):
        sizes, times = [], []
        for work in measured.works("loopback", "set"):
            about = {"work": work, "server": "loopback", "operation": "set"}
            theirs = measured.one(contestant=f"peer-{contestant}", **about)
            ours = measured.one(contestant="ours", **about)
            if theirs and ours:
                slow = measured.middle("seconds", contestant=f"peer-{contestant}", **about)
                fast = measured.middle("seconds", contestant="ours", **about)
                sizes.append((work, ours["stored"] / theirs["stored"]))
                times.append((fast or 0) / (slow or 1))
        what, wanted = f"stored bytes ÷ common-io's with {contestant}", f"≤ {_STORED:g}, in less time"
        if not sizes:
            yield Floor(what, wanted)
            continue
        said = ", ".join(
            f"{work} {size:.2f} in {time:.0%} of its time" for (work, size), time in zip(sizes, times, strict=True)
        )
        yield Floor(what, wanted, said, "", all(s <= _STORED for _, s in sizes) and all(t < 1 for t in times))


def _bulk(measured: Measured) -> Iterator[Floor]:
    for operation in ("set", "get"):
        about = {"server": "loopback", "operation": operation}
        work = next((m["work"] for m in measured.of(contestant="tcp", **about)), "")
        what, wanted = f"`{operation}` of bytes: share of what raw TCP does here", f"≥ {_OF_TCP:.0%}"
        limit = measured.middle("seconds", work=work, contestant="tcp", **about)
        ours = measured.middle("seconds", work=work, contestant="ours", **about)
        if limit is None or ours is None:
            yield Floor(what, wanted)
        else:
            size = float(work.split()[-2]) / limit
            yield Floor(what, wanted, f"{limit / ours:.0%} of {size:,.0f} MB/s", "", limit / ours >= _OF_TCP)


def _times(ratio: float | None) -> str:
    return f"{ratio:.1f}" if ratio else ""


def _number(count: int, word: str) -> str:
    return f"{count or 'no'} {word}" if count in (0, 1) else f"{count} {word}s"
