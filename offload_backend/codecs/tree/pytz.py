"""The time zones of pytz, which pandas had until version 3 and much code still has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

import pytz

from offload_backend.codecs.tree.facts import exactly
from offload_backend.codecs.tree.kinds import Json, Kind, Reader, Writer

__all__ = ["KINDS"]


class ZoneKind:
    """A zone's name; with offset, daylight saving (both in seconds) and abbreviation if it is a zone at some time.

    A fixed offset is its minutes.
    """

    tag = "pytz.zone"
    version = 1
    module = "pytz"
    needs = "pytz"

    def accepts(self, value: object) -> bool:
        return isinstance(value, tzinfo) and type(value).__module__.partition(".")[0] == "pytz"

    def encode(self, value: Any, writer: Writer) -> Json:
        _, facts = value.__reduce__()  # how it pickles itself; UTC without anything
        return list(facts) or "UTC"

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        match facts:
            case str():
                return _named(facts)
            case [int(minutes)]:
                return pytz.FixedOffset(minutes)
            case [str(name)]:
                return _named(name)
            case [str(name), *rest]:
                return _at_some_time(_named(name), rest)
        raise ValueError("no time zone")


def _named(name: str) -> Any:
    try:
        return pytz.timezone(name)
    except pytz.UnknownTimeZoneError as error:
        raise ValueError("no time zone that pytz knows") from error


def _at_some_time(zone: Any, facts: list[Any]) -> Any:
    offset, saving, name = facts
    key = (exactly(offset, int), exactly(saving, int), exactly(name, str))
    return pytz._p(zone.zone, *key)  # noqa: SLF001  # how it unpickles itself


KINDS: Sequence[Kind] = (ZoneKind(),)
