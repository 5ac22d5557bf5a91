"""Size over time as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta, timezone
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from offload_backend.cli.tables import size
from offload_backend.errors import ConfigError

if TYPE_CHECKING:
    from offload_backend.inventory.marks import Mark
    from offload_backend.inventory.totals import Totals

__all__ = ["draw", "require_matplotlib"]

_SUFFIXES = (".png", ".svg", ".pdf")
_BLUE, _GREY = "#1f6feb", "#8b949e"


def require_matplotlib(file: Path) -> None:
    """Raise :class:`ConfigError` where nothing could be drawn into this file."""
    from importlib.util import find_spec

    if file.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"--plot {file.name!r} is no picture", hint=f"choose one of {', '.join(_SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "--plot needs matplotlib, which is not installed", hint="pip install 'offload-backend[plot]'"
        )


def draw(totals: Totals, marks: Sequence[Mark], file: Path) -> None:
    """What is still there by the day it was written, what that adds up to, and what marks saw in the store.

    Raises :class:`ConfigError` for a file that cannot be written.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    days, stored = _daily(totals)
    above.fill_between(days, list(accumulate(stored)), color=_BLUE, alpha=0.15, linewidth=0)
    above.plot(days, list(accumulate(stored)), color=_BLUE, label="named by rows, by the day of their last write")
    if marks:
        seen = [mark.at for mark in marks], [mark.listed.bytes for mark in marks]
        above.plot(*seen, "o-", color=_GREY, markersize=4, label="stored in all, as the collector's marks saw it")
    above.set_title(f"Offloaded state on {days[-1]}")
    above.legend(loc="lower left", bbox_to_anchor=(0, 1.07), frameon=False, borderaxespad=0)
    below.bar(days, stored, color=_BLUE)
    below.set_title("Written on that day, and still there", fontsize="medium")
    locator = AutoDateLocator(minticks=4, interval_multiples=False)  # type: ignore[no-untyped-call]
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    for axes in (above, below):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: size(int(count))))
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise ConfigError(
            f"the picture cannot be written: {error.strerror}", hint="name another file", location=str(file)
        ) from error


def _daily(totals: Totals) -> tuple[list[date], list[int]]:
    """Every day from before the first until today, at least a week, and what is still there of what it wrote."""
    last = max([totals.now.astimezone(timezone.utc).date(), *totals.days])
    first = min([last - timedelta(days=7), *(day - timedelta(days=1) for day in totals.days)])
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return days, [totals.days[day].stored if day in totals.days else 0 for day in days]
