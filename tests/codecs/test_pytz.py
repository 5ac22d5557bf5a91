from __future__ import annotations

import datetime as dt

import pytest

from offload_backend.errors import UnreadableBlobError
from tests.codecs.trees import round_trip, value_of

pytz = pytest.importorskip("pytz", reason="pytz is not installed: pandas 3 does without it")


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Kolkata", "Etc/GMT+5", "EST"])
def test_a_zone_is_the_object_that_pytz_gives(name):
    assert round_trip(pytz.timezone(name)) is pytz.timezone(name)


@pytest.mark.parametrize("month", [1, 7])
def test_a_zone_at_some_time_and_a_moment_in_it(month):
    moment = pytz.timezone("Europe/Berlin").localize(dt.datetime(2020, month, 1))  # noqa: DTZ001
    back = round_trip(moment)
    assert back.tzinfo is moment.tzinfo
    assert (back, back.utcoffset(), back.tzname()) == (moment, moment.utcoffset(), moment.tzname())


def test_a_fixed_offset():
    assert round_trip(pytz.FixedOffset(90)) is pytz.FixedOffset(90)


@pytest.mark.parametrize(
    "facts",
    ["Nowhere/Else", "../../etc/passwd", "/etc/passwd", None, [], [None], [10**6], ["UTC", "x"], {}],
    ids=str,
)
def test_hostile_facts(facts):
    with pytest.raises((ValueError, UnreadableBlobError)):
        value_of({"value": {"$": ["pytz.zone", 1, facts]}}, [])
