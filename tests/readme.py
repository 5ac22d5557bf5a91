"""The parts of README and docs that are made from the code: ``make readme`` writes them anew."""

from __future__ import annotations

from pathlib import Path

from offload_backend.lifecycle.refusals import ACCEPTABLE
from offload_backend.settings import Settings, default_text

ROOT = Path(__file__).parents[1]
LIFECYCLE = ROOT / "docs" / "lifecycle.md"

REFUSALS = {
    "location": ("The location is a whole bucket", "a prefix of its own in `[offload_backend] path`"),
    "min-age": ("`gc_min_age` is below 24 h", "raise it"),
    "commit-window": ("`gc_min_age` is not more than `commit_window`", "raise it"),
    "owner": (
        "Nobody has adopted the deployment, or another database, location or deployment owns its blobs: two "
        "deployments on one prefix, a copied or a moved database",
        "correct the configuration; or `offload gc adopt`, if this is the right database",
    ),
    "ledger": ("The database does not know the collector, or knows another owner's canary", "`offload gc adopt`"),
    "sequence": (
        "The bucket has seen more runs than the database: it was restored or copied",
        "`offload verify`, then `offload gc adopt`",
    ),
    "adopted": (
        "`adopt` alone: the blobs belong to another database, which may still have rows for them",
        "a `deployment` of its own",
    ),
    "replica": ("Rows would be read from a standby or a read-only database", "`--core-store` of the primary"),
    "clock-skew": (
        "This machine's clock and the store's differ by more than `gc_max_skew`, or an export's does",
        "set the clock",
    ),
    "clock-backwards": ("The marker is older than that of the run before", "find out who set the store's clock"),
    "canary-listed": (
        "The listing lacks the collector's own blob: wrong bucket, prefix or credentials, or it was deleted",
        "correct them; or `offload gc adopt`, if only this blob is lost",
    ),
    "canary-read": ("The rows lack the collector's own: they were not read completely", "check what may be read"),
    "no-roots": ("No row names a blob here, and yet there are old ones", "check that these belong together"),
    "match": (
        "Less than `gc_min_match` of the old refs are listed: wrong bucket, prefix or credentials, or loss",
        "`offload verify`",
    ),
    "ratio": ("More than `gc_max_ratio` of all blobs would go", "look at the samples"),
    "count": ("More than `gc_max_count` blobs would go at once", "look at the samples"),
    "manifest": (
        "Purge: the newest mark was refused, is older than 30 days, or of another owner, location or deployment",
        "`offload gc mark`",
    ),
    "hook": ("A hook raised, or wanted more deleted than it was asked about", "correct the hook"),
}
"""What each rule of the collector means, and what to do."""


def settings_table() -> str:
    """Every setting with its default and what it means."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        shown = f"`{default}`" if (default := default_text(name)) else ""
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines)


def refusals_table() -> str:
    """Every rule with what it means and how it is overridden."""
    lines = ["| rule | what it means | what to do | override |", "| --- | --- | --- | --- |"]
    for rule, (meaning, remedy) in REFUSALS.items():
        lines.append(f"| `{rule}` | {meaning} | {remedy} | {f'`--accept {rule}`' if rule in ACCEPTABLE else ''} |")
    return "\n".join(lines)


def with_settings(readme: str) -> str:
    """The README's text with a current table."""
    return _with(readme, "settings table", settings_table())


def with_refusals(text: str) -> str:
    """The text of ``docs/lifecycle.md`` with a current table."""
    return _with(text, "refusals", refusals_table())


def _with(text: str, name: str, table: str) -> str:
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    for path, written in ((ROOT / "README.md", with_settings), (LIFECYCLE, with_refusals)):
        path.write_text(written(path.read_text()))
