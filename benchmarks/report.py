"""Results as Markdown tables: medians, and ratios with the range that single repetitions gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import floors
from benchmarks.contestants import NAMES
from benchmarks.measured import Measured

__all__ = ["END", "README", "START", "heading", "ratios", "seconds", "table", "tables", "versus", "write_readme"]

README = Path(__file__).with_name("README.md")
START, END = "<!-- results -->", "<!-- /results -->"
_SERVERS = {
    "loopback": "Loopback: the server answers at once",
    "shaped": "Shaped: 20 ms before each answer, 90 MB/s per connection",
}
_COMPRESSED = {"peer-gzip": "gzip", "peer-zstd": "zstd"}
Row = tuple[str, ...]


def tables(results: dict[str, Any]) -> str:
    """Every table of a run, as the README shows them."""
    measured = Measured(results["measurements"])
    parts = [heading(results), _floors(measured, results)]
    for server, title in _SERVERS.items():
        rows = [*_value_times(measured, server), *_small_times(measured, server), *_start_times(measured, server)]
        if rows:
            parts.append(table(title, ("", NAMES["ours"], NAMES["peer"], "times as fast (range)", "CPU"), rows))
    parts.append(_costs(measured))
    parts.append(_start(measured))
    parts.append(_inline(measured))
    parts += [_phases(measured, server) for server in _SERVERS]
    return "\n\n".join(filter(None, parts))


def ratios(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The medians of every operation and how many times as fast ours is, for programs."""
    measured = Measured(results["measurements"])
    found = []
    for server in _SERVERS:
        for work in measured.works(server, "get"):
            for operation in ("set", "get"):
                about = {"work": work, "server": server, "operation": operation}
                ours = measured.middle("seconds", contestant="ours", **about)
                for rival in dict.fromkeys(m["contestant"] for m in measured.of(**about)):
                    theirs = measured.middle("seconds", contestant=rival, **about)
                    if rival != "ours" and ours and theirs:
                        found.append(
                            {**about, "rival": rival, "ours": ours, "theirs": theirs, "ratio": theirs / ours}
                        )
    return found


def write_readme(text: str, readme: Path = README, marks: tuple[str, str] = (START, END)) -> None:
    """Put the text between two marks of the README."""
    whole = readme.read_text()
    head, _, rest = whole.partition(marks[0])
    _, mark, tail = rest.partition(marks[1])
    if not mark:
        raise ValueError(f"{readme} lacks {marks[0]} or {marks[1]}")
    readme.write_text(f"{head}{marks[0]}\n{text}\n{marks[1]}{tail}")


def _floors(measured: Measured, results: dict[str, Any]) -> str:
    """Every one after a whole run, also those that it did not measure."""
    if results["format"] < 2:
        return ""  # made before the sizes that are promised were measured
    said = {True: "reached", False: "**missed**", None: "not measured"}
    judged = [f for f in floors.judge(measured) if f.reached is not None or results["whole"]]
    rows = [(f.what, f.wanted, f.loopback, f.shaped, said[f.reached]) for f in judged]
    return table("Floors", ("", "promised", "loopback", "shaped", ""), rows) if rows else ""


def _value_times(measured: Measured, server: str) -> list[Row]:
    rows: list[Row] = []
    for work in measured.works(server, "get"):
        for operation in ("set", "get"):
            about = {"work": work, "server": server, "operation": operation}
            for rival in (measured.rival(work), *_COMPRESSED):
                pair = ("ours", rival)
                ours, peer = (measured.series("seconds", contestant=each, **about) for each in pair)
                if not peer and rival in _COMPRESSED:
                    continue
                cpu = [measured.series("cpu", contestant=each, **about) for each in pair]
                name = f"`{operation}` {work}" + ("" if rival == "peer" else f", {NAMES[rival]}")
                rows.append((name, *versus(ours, peer, seconds), _pair(cpu, seconds)))
    return rows


def _small_times(measured: Measured, server: str) -> list[Row]:
    rows: list[Row] = []
    for operation in ("set", "get"):
        about = {"work": "small", "server": server}
        ours, peer = (measured.series(operation, contestant=each, **about) for each in ("ours", "peer"))
        if ours:
            rows.append((f"`{operation}` of 4 kB, offloaded", *versus(ours, peer, milliseconds), ""))
    return rows


def _start_times(measured: Measured, server: str) -> list[Row]:
    def first(m: dict[str, Any]) -> float:
        return float(m["backend"] + m["set"])

    about = {"work": "start", "server": server}
    ours, peer = (measured.series(first, contestant=each, **about) for each in ("ours", "peer"))
    if not ours:
        return []
    return [("first `set` of a process, 1 MB, with imports", *versus(ours, peer, seconds), "")]


def _costs(measured: Measured) -> str:
    rows = []
    for work in measured.works("loopback", "get"):
        for operation in ("set", "get"):
            for contestant in ("ours", measured.rival(work), *_COMPRESSED):
                about = {"work": work, "server": "loopback", "operation": operation, "contestant": contestant}
                last = measured.one(**about)
                if last:
                    rows.append(
                        (
                            f"`{operation}` {work}",
                            NAMES[contestant],
                            f"{median(measured.series(lambda m: m['peak'] / m['json'], **about)):.2f}",
                            f"{median(measured.series(lambda m: m['kept'] / m['json'], **about)):.2f}",
                            f"{last['stored'] / 1e6:.1f} of {last['json'] / 1e6:.1f}",
                            _requests(last["requests"]),
                        )
                    )
    header = ("", "", "peak memory ÷ value", "kept ÷ value", "stored MB of MB", "requests")
    return table("Memory, bytes and requests", header, [*rows, *_small_costs(measured)]) if rows else ""


def _small_costs(measured: Measured) -> list[Row]:
    rows: list[Row] = []
    for operation in ("set", "get"):
        for contestant in ("ours", "peer"):
            last = measured.one(work="small", server="loopback", contestant=contestant)
            if last:
                each = {name: n / last["operations"] for name, n in last[f"{operation} requests"].items()}
                rows.append((f"`{operation}` of 4 kB", NAMES[contestant], "", "", "", _requests(each)))
    return rows


def _start(measured: Measured) -> str:
    rows = []
    for contestant in ("ours", "peer"):
        about = {"work": "start", "server": "loopback", "contestant": contestant}
        if measured.one(**about):
            parts = [median(measured.series(name, **about)) for name in ("python", "airflow", "backend", "set")]
            whole = median(measured.series(lambda m: m["python"] + m["airflow"] + m["backend"] + m["set"], **about))
            modules = f"{median(measured.series('modules', **about)):.0f}"
            rows.append((NAMES[contestant], *map(seconds, (*parts, whole)), modules))
    header = ("", "Python starts", "Airflow imported", "backend imported", "first `set`", "in all", "modules")
    return table("The first `set` of 1 MB of a new Python process (loopback)", header, rows) if rows else ""


def _inline(measured: Measured) -> str:
    series = {
        each: measured.series("microseconds", work="inline", contestant=each) for each in ("none", "ours", "peer")
    }
    if not series["none"]:
        return ""
    base = median(series["none"])
    rows = [(NAMES[each], f"{median(found):.0f}", f"{median(found) - base:.0f}") for each, found in series.items()]
    title = "`set` and `get` of 1 kB that stays in its row, without Airflow's own round trips"
    return table(title, ("", "µs", "added µs"), rows)


def _phases(measured: Measured, server: str) -> str:
    works = measured.works(server, "phases")
    rows = []
    for work in works:
        for operation in ("set", "get"):
            found = [m[operation] for m in measured.of(work=work, server=server)]
            shares = {name: median(each[name] for each in found) for name in found[0]}
            whole = shares.pop("whole")
            said = ", ".join(f"{name} {seconds(s)}" for name, s in shares.items())
            rows.append((f"`{operation}` {work.removeprefix('phases of ')}", seconds(whole), said))
    title = f"Where our own seconds go: the whole, and each phase run alone ({server})"
    return table(title, ("", "whole", "phases"), rows) if rows else ""


def versus(ours: list[float], peer: list[float], show: Callable[[float], str]) -> tuple[str, str, str]:
    """Both medians, how many times as fast ours is, and the same of single repetitions, least and most."""
    if not ours or not peer:
        return (show(median(ours)) if ours else "", show(median(peer)) if peer else "", "")
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=False)]
    spread = f" ({min(ratios):.1f} to {max(ratios):.1f})" if len(ratios) > 1 else ""
    return show(median(ours)), show(median(peer)), f"**{median(peer) / median(ours):.1f}**{spread}"


def _pair(series: list[list[float]], show: Callable[[float], str]) -> str:
    return " / ".join(show(median(each)) for each in series if each)


def _requests(counts: dict[str, float]) -> str:
    return ", ".join(f"{number:g} {name}" for name, number in sorted(counts.items()))


def seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else milliseconds(seconds * 1e3)


def milliseconds(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def heading(results: dict[str, Any]) -> str:
    machine, load = results["machine"], results["load"]
    said = [
        f"Made {results['made'][:10]} in {results['minutes']:g} minutes against {results['server']} with Python "
        f"{machine['python']} on {machine['cores']} cores of {machine['processor']}, {machine['system']}.",
        f"Load average: {load['before']:.1f} when it began, {load['highest']:.1f} at most.",
        "Versions: " + ", ".join(f"{name} {v}" for name, v in machine["packages"].items()) + ".",
    ]
    if results.get("failures"):
        said.insert(0, f"**Failed: {'; '.join(results['failures'])}.**")
    if results["server"] == "moto":
        said.insert(0, "**Made with moto: the times say nothing.**")
    return "\n".join(said)


def table(title: str, header: Row, rows: Iterable[Row]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return f"### {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
