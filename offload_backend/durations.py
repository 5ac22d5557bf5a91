"""Durations as configuration files hold them."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["format_duration", "parse_duration"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd])", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """The duration that a text such as ``90s``, ``5m``, ``72h`` or ``7d`` means; ``ValueError`` otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a number with a unit: 90s, 5m, 72h or 7d")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


def format_duration(duration: timedelta) -> str:
    """The text that :func:`parse_duration` reads, in the largest unit that divides it."""
    seconds = duration.total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:g}s"
