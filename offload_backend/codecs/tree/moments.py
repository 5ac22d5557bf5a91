"""Facts of dates, times and time zones.

A moment's text is what its own ``isoformat`` gives without a time zone. With a zone, or with
``fold``, it is a list of that text, the fold, and the zone's node. ``timezone.utc``, the usual one, is a ``Z``.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from offload_backend.codecs.tree.facts import exactly, fields, shown
from offload_backend.codecs.tree.kinds import Json, Reader, Writer
from offload_backend.errors import UnreadableBlobError

__all__ = [
    "date_facts",
    "date_from",
    "datetime_facts",
    "datetime_from",
    "is_usual",
    "offset_facts",
    "offset_from",
    "span_facts",
    "span_from",
    "time_facts",
    "time_from",
    "zone_facts",
    "zone_from",
]

_Moment = TypeVar("_Moment", datetime, time)
_MICROSECOND = timedelta(microseconds=1)


def datetime_facts(value: datetime, writer: Writer) -> Json:
    """See above."""
    return _facts(value, value.tzinfo, writer)


def datetime_from(facts: Json, reader: Reader) -> datetime:
    """See above."""
    return _moment(datetime, facts, reader)


def time_facts(value: time, writer: Writer) -> Json:
    """See above."""
    return _facts(value, value.tzinfo, writer)


def time_from(facts: Json, reader: Reader) -> time:
    """See above."""
    return _moment(time, facts, reader)


def date_facts(value: date, _: Writer) -> Json:
    """A date's text, ``2026-01-02``."""
    return value.isoformat()


def date_from(facts: Json, _: Reader) -> date:
    """See :func:`date_facts`."""
    return _parsed(date, facts)


def span_facts(value: timedelta, _: Writer) -> Json:
    """Days, seconds, microseconds, as Python keeps them."""
    return [value.days, value.seconds, value.microseconds]


def span_from(facts: Json, _: Reader) -> timedelta:
    """See :func:`span_facts`."""
    days, seconds, microseconds = (exactly(part, int) for part in fields(facts, 3))
    return timedelta(days, seconds, microseconds)


def offset_facts(value: timezone, writer: Writer) -> Json:
    """Microseconds east of UTC, and the name if it was given one."""
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # how it pickles itself
    return [offset // _MICROSECOND, *(writer.node(text, "") for text in name)]


def offset_from(facts: Json, reader: Reader) -> timezone:
    """See :func:`offset_facts`."""
    offset, *name = exactly(facts, list)
    span = timedelta(microseconds=exactly(offset, int))
    return timezone(span, *(exactly(reader.value(text), str) for text in name))


def zone_facts(value: ZoneInfo, writer: Writer) -> Json:
    """The key; in a list if the zone is not the one that ``ZoneInfo(key)`` gives."""
    key = value.key
    if key is None:
        writer.refuse("a time zone that was read from a file has no name", "use ZoneInfo(key)")
    return key if is_usual(value) else [key]


def is_usual(zone: tzinfo | None) -> bool:
    """Whether the zone is not one that ``ZoneInfo.no_cache`` made.

    Two moments of one zone object differ by what the wall clock says, those of two by what passed between them;
    and zones are not told apart by identity.
    """
    if type(zone) is not ZoneInfo:
        return True
    arguments: Any = zone.__reduce__()[1]  # how it pickles itself: the key, and whether it is the cached one
    return bool(arguments[1])


def zone_from(facts: Json, _: Reader) -> ZoneInfo:
    """See :func:`zone_facts`."""
    make: Any = ZoneInfo
    if isinstance(facts, list):
        make, (facts,) = ZoneInfo.no_cache, fields(facts, 1)
    try:
        zone: ZoneInfo = make(exactly(facts, str))
    except ZoneInfoNotFoundError:
        raise UnreadableBlobError(
            f"the value holds the time zone {shown(str(facts))!r}, which is not known here",
            hint="pip install tzdata where the value is read",
        ) from None
    return zone


def _facts(value: _Moment, zone: tzinfo | None, writer: Writer) -> Json:
    if not is_usual(zone):
        writer.refuse("a time zone that ZoneInfo.no_cache made", "use value.replace(tzinfo=ZoneInfo(key))")
    if zone is None and not value.fold:
        return value.isoformat()
    text = value.replace(tzinfo=None).isoformat()
    if zone is timezone.utc and not value.fold:
        return text + "Z"
    return [text, value.fold, None if zone is None else writer.node(zone, ".tzinfo")]


def _moment(cls: type[_Moment], facts: Json, reader: Reader) -> _Moment:
    if isinstance(facts, str):
        if facts.endswith("Z"):
            return _parsed(cls, facts[:-1]).replace(tzinfo=timezone.utc)
        return _parsed(cls, facts)
    text, fold, node = fields(facts, 3)
    zone = reader.value(node)
    if zone is not None and not isinstance(zone, tzinfo):
        raise ValueError("not a time zone")
    return _parsed(cls, text).replace(fold=exactly(fold, int), tzinfo=zone)


_Parsed = TypeVar("_Parsed", date, datetime, time)


def _parsed(cls: type[_Parsed], text: object) -> _Parsed:
    value = cls.fromisoformat(exactly(text, str))
    if value.isoformat() != text:
        raise ValueError("not the way a date or time is written")
    return value
