"""The table of metrics in ``docs/observability.md``: ``python -m tests.observation.table`` writes it anew."""

from __future__ import annotations

from pathlib import Path

from offload_backend.observation.metrics import METRICS, PREFIX

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
START, END = "<!-- metrics -->", "<!-- /metrics -->"


def with_metrics(text: str) -> str:
    """The page with a current table."""
    lines = ["| metric | kind | unit | tags | meaning |", "| --- | --- | --- | --- | --- |"]
    for metric in METRICS.values():
        tags = ", ".join(f"`{tag}`" for tag in metric.tags)
        lines.append(f"| `{PREFIX}{metric.name}` | {metric.kind} | {metric.unit} | {tags} | {metric.meaning} |")
    before, _, rest = text.partition(START)
    return "\n".join((f"{before}{START}", *lines, f"{END}{rest.partition(END)[2]}"))


if __name__ == "__main__":
    PAGE.write_text(with_metrics(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
