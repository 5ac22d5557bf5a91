"""What is promised is judged by the run alone: reached, missed or not measured."""

from __future__ import annotations

import pytest

from benchmarks import floors, plan
from benchmarks.measured import Measured


def value(contestant, seconds, *, work="records 34 MB", server="loopback", operation="set", **more):
    about = {"work": work, "server": server, "contestant": contestant, "operation": operation, "repeat": 0}
    figures = {"seconds": seconds, "json": 34e6, "stored": 5e6, "peak": 10e6, "requests": {"PutObject": 1}}
    return {**about, **figures, **more}


def judged(what, *measurements):
    (found,) = [floor for floor in floors.judge(Measured(measurements)) if floor.what.startswith(what)]
    return found


def test_nothing_measured_is_neither_reached_nor_missed():
    assert {floor.reached for floor in floors.judge(Measured([]))} == {None}


def test_every_speed_that_is_promised_is_in_the_plan():
    works = {work.name for work in plan.FULL}
    assert {work for work, *_ in floors._SPEED} <= works


@pytest.mark.parametrize(("shaped", "reached"), [(4.0, True), (3.9, False)])
def test_a_speed_is_the_ratio_of_medians_on_every_server_that_is_named(shaped, reached):
    runs = [value("ours", 1), value("peer", 5)]
    runs += [value("ours", 1, server="shaped"), value("peer", shaped, server="shaped")]
    floor = judged("`set` records 34 MB", *runs)
    assert (floor.loopback, floor.shaped, floor.reached) == ("5.0", f"{shaped:.1f}", reached)


def test_a_missed_speed_is_missed_whatever_the_other_server_says():
    runs = [
        value("ours", 1),
        value("peer", 4.9),
        value("ours", 1, server="shaped"),
        value("peer", 9, server="shaped"),
    ]
    assert judged("`set` records 34 MB", *runs).reached is False


def test_one_server_is_not_enough_where_two_are_named():
    assert judged("`set` records 34 MB", value("ours", 1), value("peer", 9)).reached is None


def test_bytes_are_compared_with_the_transport():
    runs = [value(each, s, work="bytes 512 MB") for each, s in (("ours", 1), ("transport", 4), ("tcp", 0.4))]
    assert judged("`set` bytes 512 MB", *runs).loopback == "4.0"
    share = judged("`set` of bytes: share", *runs)
    assert (share.loopback, share.reached) == ("40% of 1,280 MB/s", False)


@pytest.mark.parametrize(("peak", "reached"), [(0.6, True), (0.62, False)])
def test_memory_is_a_multiple_of_the_json(peak, reached):
    runs = [value("ours", 1, peak=peak * 34e6), value("ours", 1, operation="get", peak=1)]
    floor = judged("peak memory of `set` ÷ JSON", *runs)
    assert (floor.loopback, floor.reached) == (f"records 34 MB {peak:.2f}", reached)


def test_a_get_needs_no_more_memory_than_the_peers():
    runs = [value(each, 1, operation="get", peak=peak) for each, peak in (("ours", 200e6), ("peer", 190e6))]
    assert judged("peak memory of `get` of JSON", *runs).reached is False


def test_a_small_blob_is_one_request_in_every_repetition():
    good, bad = value("ours", 1), value("ours", 1, requests={"PutObject": 1, "HeadBucket": 1})
    large = value("ours", 1, stored=9e6, requests={"UploadPart": 2})
    assert judged("requests of a `set`", good, large).reached is True
    assert judged("requests of a `set`", good, bad).reached is False


@pytest.mark.parametrize(("stored", "seconds", "reached"), [(6e6, 1, True), (6.1e6, 1, False), (6e6, 3, False)])
def test_stored_bytes_are_beside_the_peers_own_compression(stored, seconds, reached):
    runs = [value("ours", seconds, stored=stored), value("peer-gzip", 2, stored=5e6)]
    assert judged("stored bytes ÷ common-io's with gzip", *runs).reached is reached
    assert judged("stored bytes ÷ common-io's with zstd", *runs).reached is None


@pytest.mark.parametrize(
    ("added", "requests", "drivers", "reached"),
    [(49, {}, [], True), (51, {}, [], False), (49, {"HeadBucket": 1}, [], False), (49, {}, ["boto3"], False)],
)
def test_what_stays_in_its_row_costs_little_and_asks_nobody(added, requests, drivers, reached):
    about = {"work": "inline", "server": "loopback", "operation": "inline", "repeat": 0}
    runs = [
        {**about, "contestant": "none", "microseconds": 50, "requests": {}, "drivers": []},
        {**about, "contestant": "ours", "microseconds": 50 + added, "requests": requests, "drivers": drivers},
    ]
    assert judged("`set` and `get` of 1 kB", *runs).reached is reached
