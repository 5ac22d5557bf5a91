"""The last result, for people: the part of docs/soak.md between its marks."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "soak.md"
RESULT = Path(__file__).parent / "result.json"


def write(result: dict[str, Any]) -> None:
    replace("load", table_of(result))


def replace(mark: str, text: str) -> None:
    """Put the text between the document's marks of that name."""
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    former = DOCUMENT.read_text()
    assert marked.search(former), f"docs/soak.md has no marks for {mark}"
    DOCUMENT.write_text(marked.sub(lambda found: f"{found[1]}{text}{found[2]}", former))


def table_of(result: dict[str, Any]) -> str:
    plan, end, collector = result["plan"], result["at the end"], result["collector"]
    slowest = result["seconds"].get("set", {})
    rows = {
        "processes, threads of each, time": f"{plan['processes']}, {plan['threads']}, {plan['seconds']:.0f} s",
        "sizes of values": f"100 B to {plan['largest'] / 1e6:.0f} MB",
        "operations that were answered": _counts(result["operations"]),
        "a set: median, 99 %, longest": ", ".join(f"{seconds} s" for seconds in slowest.values()),
        "values got back and verified": f"{result['values verified'] + end['values looked at']:,}",
        "processes killed": f"{result['processes killed']:,}, in the middle of {result['cut off by a kill']:,} "
        "sets and deletes",
        "requests": f"{sum(result['requests'].values()):,}, to {result['server']}",
        "requests that were made to fail": _counts(result["faults injected"]),
        "operations that failed": _counts(result["errors"]) or "none",
        "collector": f"{_runs(collector)} runs to their end, {collector['killed']} killed; "
        f"{collector['purged']:,} orphans purged",
        "**losses**: wrong, stale, foreign or missing values": f"**{result['losses']}**",
        "**refs that dangle, blobs that are damaged**": f"**{end['dangling']}, {end['corrupt']}**",
        "**blobs left** after every key was deleted and the collector had run": f"**{end['blobs left']}**",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([_machine(), "", "| | |", "| --- | --- |", *lines, ""])


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}."


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _runs(collector: dict[str, Any]) -> int:
    return sum(count for name, count in collector["exits"].items() if name.startswith("gc run: 0"))
