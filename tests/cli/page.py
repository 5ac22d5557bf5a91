"""The part of ``docs/cli.md`` that is made from the verbs: ``python -m tests.cli.page`` writes it anew."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from typer.main import get_command

from offload_backend.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
COMMON = {"path", "core_store", "deployment", "output", "help"}
"""Told once, above all verbs."""
MARKS = "<!-- verbs -->", "<!-- /verbs -->"
WIDTH = 120


def reference() -> str:
    """Every verb: its usage, what it does, and its options beside the common ones."""
    return "\n\n".join(
        part for name, command in _verbs("offload", get_command(app)) for part in _parts(name, command)
    )


def with_reference(text: str) -> str:
    """The page's text with a current reference."""
    begin, end = MARKS
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{reference()}\n\n{end}{after}"


def _verbs(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for each, inner in getattr(command, "commands", {}).items():
        yield f"{name} {each}", inner
        yield from _verbs(f"{name} {each}", inner)


def _parts(name: str, command: Any) -> Iterator[str]:
    yield f"### `{name}`"
    for paragraph in _plain(command.help or "").split("\n\n"):
        yield "\n".join(textwrap.wrap(" ".join(paragraph.split()), WIDTH, break_on_hyphens=False))
    own = [param for param in command.params if param.name not in COMMON and not getattr(param, "hidden", False)]
    if own:
        yield "\n".join(["| option | default | meaning |", "| --- | --- | --- |", *map(_row, own)])


def _row(param: Any) -> str:
    is_option = param.opts[0].startswith("-")
    name = ", ".join(f"`{each}`" for each in (*param.opts, *param.secondary_opts)) if is_option else param.metavar
    default = param.default
    choices = " · ".join(f"`{each.value}`" for each in type(default)) if isinstance(default, Enum) else ""
    meaning = " ".join(filter(None, (_plain(param.help or ""), choices and f"One of {choices}.")))
    told = "" if default in (None, False, ()) else f"`{getattr(default, 'value', default)}`"
    return f"| {name if is_option else f'`{name}`'} | {told} | {meaning} |"


def _plain(text: str) -> str:
    """Without the marks of the markup that help is written in."""
    return re.sub(r"\\\[", "[", text).replace("\b", "").strip()


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text()))
