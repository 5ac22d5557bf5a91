"""Where in a value something is: for the messages of errors, and for the names of buffers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Column", "Step", "dotted", "shown"]


class Step(str):
    """A step that is written as a kind gave it: ``.field`` or ``["w"]``. Other steps are keys and positions."""

    __slots__ = ()


@dataclass(frozen=True)
class Column:
    """A step into the same place of all elements; the position of one of them follows."""

    key: object


def shown(steps: Iterable[object]) -> str:
    """The way as a Python expression: ``value["metrics"][3]``."""
    return "value" + "".join(map(_shown, _in_order(steps)))


def dotted(steps: Iterable[object]) -> str:
    """The way as a name: ``metrics.3``."""
    parts = (_plain(step) for step in _in_order(steps))
    return ".".join(part for part in parts if part)[:200] or "value"


def _in_order(steps: Iterable[object]) -> list[object]:
    ordered: list[object] = []
    column: Column | None = None
    for step in steps:
        if isinstance(step, Column):
            ordered += [column.key] if column else []
            column = step
        else:
            ordered += [step, column.key] if column else [step]
            column = None
    return [*ordered, column.key] if column else ordered


def _shown(step: object) -> str:
    if isinstance(step, Step):
        return str(step)
    if type(step) is str:
        body = repr(step)[1:-1].replace('"', '\\"')
        return f'["{body}"]'
    return f"[{step if type(step) is int else f'<{type(step).__name__}>'}]"


def _plain(step: object) -> str:
    if isinstance(step, Step):
        step = re.sub(r"^\.|^\[\"?|\"?\]$", "", step)
    text = step if isinstance(step, str) else str(step) if type(step) is int else type(step).__name__
    return text.encode("utf-8", "replace").decode()
