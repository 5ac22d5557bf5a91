"""Draws the curves from their data: ``python -m benchmarks.plots``. Needs matplotlib, of the group ``bench``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.contestants import NAMES

__all__ = ["MARKS", "PLOTS", "draw", "gallery", "main"]

FOLDER = Path(__file__).parent / "results"
MARKS = "<!-- plots -->", "<!-- /plots -->"
PLOTS = {
    "sizes-records": "records from 1 kB to 1 GB: time, memory, requests",
    "sizes-bytes": "bytes from 1 kB to 4 GB: time, memory, requests",
    "tasks": "1 to 64 tasks at the same time: throughput, latency, memory",
    "collector": "10,000 to 1,000,000 blobs: time, memory, LIST requests",
}
_COLORS = {"ours": "#0072b2", "peer": "#d55e00", "transport": "#d55e00", "mark": "#0072b2", "purge": "#d55e00"}
_STYLES = {"loopback": "-", "shaped": "--"}
_SECONDS = "seconds"
Points = dict[float, list[float]]


def main() -> None:
    """Draw what there is data of, beside the data, and show it in the README."""
    argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__).parse_args()
    for path in draw(FOLDER):
        print(path)
    report.write_readme(gallery(), marks=MARKS)


def gallery() -> str:
    """The plots that there are, for the README."""
    found = [(name, said) for name, said in PLOTS.items() if (FOLDER / f"{name}.png").exists()]
    return "\n".join(f"![{said}]({FOLDER.name}/{name}.png)" for name, said in found)


def draw(folder: Path) -> list[Path]:
    """The plots that were drawn."""
    drawn = []
    for name in PLOTS:
        data, _, shape = name.partition("-")
        if (source := folder / f"{data}.json").exists():
            figure = _DRAWN[data](json.loads(source.read_text()), shape)
            drawn.append(folder / f"{name}.png")
            figure.savefig(drawn[-1], metadata={"Software": None})
    return drawn


def _sizes(results: dict[str, Any], shape: str) -> Any:
    """Time, memory and requests by size; records by their JSON's."""
    found = [m for m in results["measurements"] if m["shape"] == shape]
    figure, panels = _figure(results, f"{shape} from 1 kB", 2, 2)
    for panel, operation in zip(panels[0], ("set", "get"), strict=True):
        _axes(panel, f"{operation}: seconds", "bytes")
        _lines(panel, [m for m in found if m["operation"] == operation], lambda m: m["json"], _SECONDS)
    plain = [m for m in found if m["server"] == "loopback"]
    _axes(panels[1][0], "peak memory above the value (set), of the whole get: bytes", "bytes")
    _axes(panels[1][1], "requests", "bytes")
    for operation, marker in (("set", "o"), ("get", "s")):
        some = [m for m in plain if m["operation"] == operation]
        _lines(panels[1][0], some, lambda m: m["json"], "peak", marker=marker, word=f" {operation}")
        asked = [{**m, "asked": sum(m["requests"].values())} for m in some]
        _lines(panels[1][1], asked, lambda m: m["json"], "asked", marker=marker, word=f" {operation}")
    return _done(figure, panels)


def _tasks(results: dict[str, Any], _: str) -> Any:
    """Throughput, latency and what each task takes, by the number of tasks; one row for each size."""
    found = results["measurements"]
    works = list(dict.fromkeys(m["work"] for m in found))
    figure, panels = _figure(results, "tasks at the same time", len(works), 4)
    titles = ("set and get a second, all tasks", "ms of a set", "ms of a get", "a task's own memory: MB")
    for row, work in zip(panels, works, strict=True):
        some = [m for m in found if m["work"] == work]
        plain = [m for m in some if m["server"] == "loopback"]
        for panel, title in zip(row, titles, strict=True):
            _axes(panel, f"{work}: {title}", "tasks", base=2)
        _lines(row[0], some, lambda m: m["tasks"], "pairs per second")
        for panel, operation in zip(row[1:3], ("set", "get"), strict=True):
            for share, marker in (("p50", "o"), ("p95", "^")):
                field = f"{operation} {share}"
                _lines(panel, plain, lambda m: m["tasks"], field, marker=marker, word=f" {share}")
        row[3].set_yscale("linear")
        for each in dict.fromkeys(m["threads"] for m in plain):
            own = [{**m, "MB": m["memory"] / 1e6} for m in plain if m["threads"] == each]
            _lines(row[3], own, lambda m: m["tasks"], "MB", word=f", {each:g} thread{'s' if each > 1 else ''}")
        row[3].set_ylim(bottom=0)
    return _done(figure, panels)


def _collector(results: dict[str, Any], _: str) -> Any:
    found = results["sizes"]
    figure, panels = _figure({"command": "python -m benchmarks.collector", **results}, "the collector", 1, 3)
    units = (("seconds", "seconds", 1), ("peak", "peak memory: MB", 1e6), ("listings", "LIST requests", 1))
    for panel, (field, title, unit) in zip(panels[0], units, strict=True):
        _axes(panel, title, "blobs")
        for verb in ("mark", "purge"):
            x, y = [m["blobs"] for m in found], [m[f"{verb} {field}"] / unit for m in found]
            panel.plot(x, y, marker="o", color=_COLORS[verb], label=verb)
    return _done(figure, panels)


_DRAWN: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "sizes": _sizes,
    "tasks": _tasks,
    "collector": _collector,
}


def _lines(
    panel: Any,
    measured: list[dict[str, Any]],
    x: Callable[[dict[str, Any]], float],
    field: str,
    *,
    marker: str = "o",
    word: str = "",
) -> None:
    """Medians, one line for each contestant and server; single repetitions as dots where they differ."""
    for contestant in dict.fromkeys(m["contestant"] for m in measured):
        for server, style in _STYLES.items():
            points: Points = {}
            for m in measured:
                if (m["contestant"], m["server"]) == (contestant, server):
                    points.setdefault(x(m), []).append(m[field])
            if points:
                label, color = f"{NAMES[contestant]}{word} {server}", _COLORS[contestant]
                middle = [median(points[at]) for at in sorted(points)]
                panel.plot(sorted(points), middle, style, marker=marker, ms=4, lw=1.2, color=color, label=label)
                panel.vlines(
                    sorted(points),
                    [min(points[at]) for at in sorted(points)],
                    [max(points[at]) for at in sorted(points)],
                    color=color,
                    lw=0.8,
                )


def _figure(results: dict[str, Any], what: str, rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * columns, 3.4 * rows), dpi=80)
    panels = figure.subplots(rows, columns, squeeze=False)
    machine = results["machine"]
    about = f"{results['made'][:10]}, {machine['cores']} cores, {machine['processor']}, {machine['memory']}"
    figure.suptitle(f"{what}: {results['command']}\n{about}", fontsize=9)
    return figure, panels


def _axes(panel: Any, title: str, label: str, *, base: int = 10) -> None:
    panel.set_title(title, fontsize=9)
    panel.set_xlabel(label, fontsize=8)
    panel.set_xscale("log", base=base)
    if base == 2:
        panel.xaxis.set_major_formatter("{x:g}")
    panel.set_yscale("log")
    panel.tick_params(which="both", labelsize=7)
    panel.grid(visible=True, lw=0.3)


def _done(figure: Any, panels: Any) -> Any:
    for panel in panels.flat:
        panel.legend(fontsize=6)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
