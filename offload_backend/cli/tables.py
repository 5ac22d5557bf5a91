"""How things look for people: tables on stdout, what to do next on stderr, numbers with units."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["advise", "ago", "amount", "columns", "facts", "moment", "plain", "say", "size", "span"]

_UNLIMITED = 100_000
_UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_SPANS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, on stdout; those without a value are left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            table.add_row(name, plain(value))
    _print(table)


def columns(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A table on stdout under its title, if it has one; nothing if it has no rows.

    The columns named in ``right`` hold numbers.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    if table.row_count:
        if title:
            sys.stdout.write(f"\n{title}\n")
        _print(table)


def say(lines: Iterable[str]) -> None:
    """Lines on stdout; each stays one, whatever the names in it hold."""
    sys.stdout.writelines(f"{plain(line)}\n" for line in lines)


def advise(text: str) -> None:
    """Words for the person at the terminal, on stderr."""
    sys.stderr.write(f"{plain(text, keep=chr(10))}\n")


def amount(count: int, total: int | None = None, what: str = "blob") -> str:
    """``3 blobs`` or ``3 blobs (1.2 MB)``."""
    text = f"{count:,} {what}{'' if count == 1 else 's'}"
    return text if total is None else f"{text} ({size(total)})"


def size(count: int) -> str:
    """Bytes, in powers of ten as object stores count them."""
    for unit, length in _UNITS:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"


def moment(when: datetime | None) -> str:
    """UTC, ISO 8601, to the second."""
    if when is None:
        return ""
    return when.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def span(duration: timedelta) -> str:
    """The two largest units of a duration that are not zero: ``7d``, ``2d 4h``, ``0.3s``."""
    seconds = abs(duration.total_seconds())
    if seconds < _SPANS[-2][1]:
        return f"{round(seconds, 1):g}s"
    parts, rest = [], int(seconds)
    for unit, length in _SPANS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def ago(when: datetime | None, now: datetime) -> str:
    """A moment, and how far from ``now`` it is."""
    if when is None:
        return ""
    return f"{moment(when)} ({'in ' + span(when - now) if when > now else span(now - when) + ' ago'})"


def plain(value: object, keep: str = "") -> str:
    """Text without control characters, which could make a terminal do things."""
    return "".join(char if char.isprintable() or char in keep else "�" for char in str(value))


def _print(table: Table) -> None:
    # In a file or a pipe nothing is wrapped: whoever reads it looks for whole names.
    width = None if sys.stdout.isatty() else _UNLIMITED
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
