"""The last results, one of each Airflow, side by side in docs/soak.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = {
    "mapped tasks planned, time": lambda r: f"{r['plan']['tasks']}, {r['seconds'] / 60:.0f} min",
    "runs started, task instances cleared": lambda r: f"{_of(r, 'runs')}, {_of(r, 'task instances cleared')}",
    "what tasks were told": lambda r: _counts(r["operations"]),
    "values got back and verified": lambda r: f"{r['values verified']:,}",
    "operations cut off by a kill of their own process": lambda r: f"{r['cut off by a kill']:,}",
    "triggerers killed": lambda r: f"{_of(r, 'triggerers killed')}",
    "runs deleted by REST, `airflow db clean`": lambda r: f"{_of(r, 'runs deleted')}, {_of(r, 'airflow db clean')}",
    "rows expired": lambda r: f"{_of(r, 'rows expired')}",
    "requests that were made to fail": lambda r: _counts(r["faults injected"]),
    "collector: runs, orphans purged": lambda r: f"{_runs(r)}, {r['collector']['purged']}",
    "rows compared from outside": lambda r: " + ".join(str(n) for n in (*r["rows looked at"], _end(r, "rows"))),
    "**losses**: wrong, stale, foreign or missing values": lambda r: f"**{r['losses']}**",
    "**refs that dangle, blobs that are damaged**": lambda r: f"**{_end(r, 'dangling')}, {_end(r, 'corrupt')}**",
    "**orphans** once the collector has run": lambda r: f"**{_end(r, 'orphans after the collector')}**",
}


def result_file(result: dict[str, Any]) -> Path:
    """One for each minor version of Airflow."""
    return HERE / f"result-{'.'.join(result['airflow'].split('.')[:2])}.json"


def table_of_results() -> str:
    """Of all results that there are."""
    results = [json.loads(path.read_text()) for path in sorted(HERE.glob("result-*.json"))]
    lines = [f"| {name} | " + " | ".join(shown(each) for each in results) + " |" for name, shown in ROWS.items()]
    head = "| | " + " | ".join(f"Airflow {each['airflow']}" for each in results) + " |"
    return "\n".join([head, "| --- |" + " --- |" * len(results), *lines, ""])


def _of(result: dict[str, Any], what: str) -> int:
    return int(result["disturbances"].get(what, 0))


def _end(result: dict[str, Any], what: str) -> Any:
    return result["at the end"][what]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _runs(result: dict[str, Any]) -> int:
    return sum(count for name, count in result["collector"]["exits"].items() if name.startswith("gc run: 0"))
