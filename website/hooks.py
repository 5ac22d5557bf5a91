"""Puts the repository's own files into the site, under their own names, and makes pages from code.

For ``python -m mkdocs``, in the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from offload_backend import errors
from tests.readme import settings_table

ROOT = Path(__file__).parents[1]

PAGES = ("*.md", "docs/**/*.md", "benchmarks/README.md")
LINK = re.compile(r"\]\(([^)#\s]+)")
DECISIONS = "docs/adr/"


def on_config(config: Any) -> Any:
    """A page for each decision, in their order."""
    for section in config.nav:
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else ():
                if DECISIONS in entry.values():
                    entry["Decisions"] = [{_title(path): _uri(path)} for path in sorted(ROOT.glob("docs/adr/*.md"))]
    return config


def on_files(files: Files, config: Any) -> Files:
    """All documents, and whatever file they link to: pictures, examples, tests."""
    documents = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    linked = {path for document in documents for path in _linked(document)}
    for path in dict.fromkeys([*documents, *sorted(linked)]):
        files.append(File.generated(config, _uri(path), abs_src_path=str(path)))
    files.append(File.generated(config, "reference/settings.md", content=_settings()))
    files.append(File.generated(config, "reference/errors.md", content=_errors()))
    return files


def _linked(document: Path) -> set[Path]:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    found = {(document.parent / target).resolve() for target in targets if "://" not in target}
    return {path for path in found if path.is_file() and path.suffix != ".md"}


def _uri(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _settings() -> str:
    text = (
        "# Settings\n\n`[offload_backend]` in `airflow.cfg`, or `AIRFLOW__OFFLOAD_BACKEND__…` in the environment; "
        "without Airflow also keyword arguments of `connect()`.\n\n"
    )
    return text + settings_table() + "\n"


def _errors() -> str:
    lines = ["# Errors", "", "Each has a `hint` that names the setting or the command which repairs it.", ""]
    for name in errors.__all__:
        if isinstance(kind := getattr(errors, name), type) and issubclass(kind, Exception):
            lines += [f"::: offload_backend.errors.{name}", "    options:", "      heading_level: 2", ""]
    return "\n".join(lines)
