"""Pendulum's types, which Airflow hands to tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest

pendulum = pytest.importorskip("pendulum")

from offload_backend.codecs.tree import pendulum as kinds  # noqa: E402
from offload_backend.testing.kinds import KindContract  # noqa: E402
from tests.codecs.values import assert_kept, returned  # noqa: E402

PARIS = pendulum.datetime(2024, 10, 27, 2, 30, tz="Europe/Paris", fold=1)
VALUES = {
    "datetime": (
        PARIS,
        pendulum.naive(2020, 1, 1),
        pendulum.datetime(1, 1, 1),
        PARIS.replace(tzinfo=pendulum.FixedTimezone(60)),
    ),
    "date": (pendulum.date(2026, 1, 2),),
    "time": (pendulum.time(1, 2, 3, 4), pendulum.Time(1, tzinfo=pendulum.UTC, fold=1)),
    "duration": (pendulum.duration(years=1, months=-2, days=3, seconds=4.5), -pendulum.duration(microseconds=1)),
    "interval": (
        PARIS - pendulum.datetime(2020, 1, 1),
        pendulum.interval(PARIS, pendulum.datetime(2020, 1, 1), absolute=True),
    ),
    "timezone": (pendulum.UTC, pendulum.timezone("Asia/Tokyo")),
    "fixedtimezone": (pendulum.FixedTimezone(-3600), pendulum.FixedTimezone(60, "One")),
}


class _Contract(KindContract):
    def same(self, left, right):
        return type(left) is type(right) and _portrait(left) == _portrait(right)


def _portrait(value):
    state = {name: _portrait(part) for name, part in getattr(value, "__dict__", {}).items()}
    facts = [getattr(value, name, None) for name in ("fold", "tzinfo", "years", "months", "_total")]
    span = [timedelta.total_seconds(value)] if isinstance(value, timedelta) else []
    return [type(value), repr(value), repr(facts), state, span]


def _contract(index):
    kind = kinds.KINDS[index]
    name = kind.tag.partition(".")[2]
    return type(f"Test{name.title()}", (_Contract,), {"kind": kind, "values": VALUES[name], "__module__": __name__})


TestDatetime = _contract(0)
TestDate = _contract(1)
TestTime = _contract(2)
TestDuration = _contract(3)
TestInterval = _contract(4)
TestTimezone = _contract(5)
TestFixedtimezone = _contract(6)


def test_a_named_zone_is_the_one_that_pendulum_gives():
    assert returned([pendulum.UTC])[0] is pendulum.UTC
    assert returned(PARIS).tzinfo is PARIS.tzinfo


def test_what_airflow_gives_to_tasks_comes_back():
    assert_kept([pendulum.now("UTC").isoformat()])
    now = pendulum.now("Europe/Berlin")
    back = returned({"logical_date": now, "interval": (now, now.add(days=1))})
    assert back["logical_date"] == now
    assert type(back["interval"][1]) is pendulum.DateTime
