"""The parts of the README that are made from the code: ``make readme`` writes them anew."""

from __future__ import annotations

from pathlib import Path

from offload_backend.settings import Settings, default_text

ROOT = Path(__file__).parents[1]
START, END = "<!-- settings table -->", "<!-- /settings table -->"


def settings_table() -> str:
    """Every setting with its default and what it means."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        shown = f"`{default}`" if (default := default_text(name)) else ""
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines)


def with_settings(readme: str) -> str:
    """The README's text with a current table."""
    before, _, rest = readme.partition(START)
    return f"{before}{START}\n{settings_table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_settings(path.read_text()))
