"""Size over time as a picture."""

from __future__ import annotations

from collections.abc import Sequence
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
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    days = sorted(totals.days)
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    together = list(accumulate(totals.days[day].stored for day in days))
    above.step(days, together, where="post", color=_BLUE, label="named by rows, by the day of their last write")
    if marks:
        seen = [mark.at for mark in marks], [mark.listed.bytes for mark in marks]
        above.plot(
            *seen, "o-", color=_GREY, markersize=4, label="stored in all, as the collector's marks listed it"
        )
    above.set_title(f"Offloaded state on {totals.now:%Y-%m-%d}")
    above.legend(loc="upper left", frameon=False)
    below.bar(days, [totals.days[day].stored for day in days], color=_BLUE)
    below.set_title("Written on that day, and still there", fontsize="medium")
    for axes in (above, below):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: size(int(count))))
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    figure.autofmt_xdate()
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise ConfigError(
            f"the picture cannot be written: {error.strerror}", hint="name another file", location=str(file)
        ) from error
