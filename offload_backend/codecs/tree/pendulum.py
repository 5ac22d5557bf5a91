"""Pendulum's dates, times, durations and time zones, which Airflow hands to tasks."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pendulum
from pendulum.tz.timezone import FixedTimezone, Timezone

from offload_backend.codecs.tree.facts import exactly, fields
from offload_backend.codecs.tree.kinds import Json, Reader, Writer
from offload_backend.codecs.tree.leaves import Leaf
from offload_backend.errors import UnreadableBlobError

__all__ = ["KINDS"]


def _datetime_facts(value: pendulum.DateTime, writer: Writer) -> Json:
    text = datetime.isoformat(value.replace(tzinfo=None, fold=0))
    return [text, value.fold, None if value.tzinfo is None else writer.node(value.tzinfo, ".tzinfo")]


def _datetime_from(facts: Json, reader: Reader) -> pendulum.DateTime:
    text, fold, zone = fields(facts, 3)
    plain = datetime.fromisoformat(exactly(text, str))
    return pendulum.DateTime.combine(
        pendulum.Date(plain.year, plain.month, plain.day),
        plain.time().replace(fold=exactly(fold, int)),
        tzinfo=reader.value(zone),
    )


def _date_facts(value: pendulum.Date, _: Writer) -> Json:
    return date.isoformat(value)


def _date_from(facts: Json, _: Reader) -> pendulum.Date:
    return pendulum.Date.fromisoformat(exactly(facts, str))


def _time_facts(value: pendulum.Time, writer: Writer) -> Json:
    zone = None if value.tzinfo is None else writer.node(value.tzinfo, ".tzinfo")
    return [value.hour, value.minute, value.second, value.microsecond, value.fold, zone]


def _time_from(facts: Json, reader: Reader) -> pendulum.Time:
    *numbers, fold, zone = fields(facts, 6)
    hour, minute, second, microsecond = (exactly(number, int) for number in numbers)
    return pendulum.Time(hour, minute, second, microsecond, reader.value(zone), fold=exactly(fold, int))


_DAYS, _SECONDS, _MICROSECONDS = (vars(timedelta)[name].__get__ for name in ("days", "seconds", "microseconds"))


def _duration_facts(value: pendulum.Duration, writer: Writer) -> Json:
    """What the timedelta in it says, and its own account of it: years and months are only there."""
    return [_DAYS(value), _SECONDS(value), _MICROSECONDS(value), writer.node(vars(value), "")]


def _duration_from(facts: Json, reader: Reader) -> pendulum.Duration:
    *numbers, state = fields(facts, 4)
    value = timedelta.__new__(pendulum.Duration, *(exactly(number, int) for number in numbers))
    vars(value).update(exactly(reader.value(state), dict))
    return value


def _interval_facts(value: Any, writer: Writer) -> Json:
    start, end, absolute = value.__reduce__()[1]
    return [writer.node(start, ".start"), writer.node(end, ".end"), absolute]


def _interval_from(facts: Json, reader: Reader) -> Any:
    start, end, absolute = fields(facts, 3)
    ends = reader.value(start), reader.value(end)
    if not all(isinstance(moment, date) for moment in ends):
        raise ValueError("not an interval")
    return pendulum.Interval(*ends, absolute=exactly(absolute, bool))


def _zone_facts(value: Timezone, writer: Writer) -> Json:
    if value.key is None or value is not Timezone(value.key):
        writer.refuse("a time zone that was read from a file has no name", "use pendulum.timezone(name)")
    return value.key


def _zone_from(facts: Json, _: Reader) -> Timezone:
    try:
        return Timezone(exactly(facts, str))
    except (ZoneInfoNotFoundError, pendulum.tz.exceptions.InvalidTimezone) as error:
        raise UnreadableBlobError(
            f"the value holds the time zone {facts!r}, which is not known here",
            hint="pip install tzdata where the value is read",
        ) from error


def _offset_facts(value: FixedTimezone, _: Writer) -> Json:
    return [value.offset, value.name]


def _offset_from(facts: Json, _: Reader) -> FixedTimezone:
    offset, name = fields(facts, 2)
    return FixedTimezone(exactly(offset, int), exactly(name, str))


def _leaf(name: str, cls: type, encode: Any, decode: Any) -> Leaf:
    return Leaf(f"pendulum.{name}", (cls,), encode, decode, library="pendulum")


KINDS = (
    _leaf("datetime", pendulum.DateTime, _datetime_facts, _datetime_from),
    _leaf("date", pendulum.Date, _date_facts, _date_from),
    _leaf("time", pendulum.Time, _time_facts, _time_from),
    _leaf("duration", pendulum.Duration, _duration_facts, _duration_from),
    _leaf("interval", pendulum.Interval, _interval_facts, _interval_from),
    _leaf("timezone", Timezone, _zone_facts, _zone_from),
    _leaf("fixedtimezone", FixedTimezone, _offset_facts, _offset_from),
)
