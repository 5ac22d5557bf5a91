"""SIGSTOP and SIGCONT of a writer between its upload and its row, while collectors run and days pass."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.drills.scenes import NEW, aged, value
from tests.drills.world import PATIENCE, QUARANTINE, World

ROW = "INSERT INTO offload_task_state"
UPLOAD = "PutObject /drills/state/v1/prod/task/"


@pytest.fixture
def world(world: World) -> World:
    """Two live values of a task, one of an asset, and two old orphans."""
    aged(world)
    return world


def collect(world: World, wait: timedelta) -> dict:
    """Mark, wait, purge: the purge's report."""
    world.run("mark")
    world.pass_time(wait)
    return world.run("purge")["result"]


def test_a_blob_whose_writer_is_stopped_is_young_and_no_candidate(world):
    before = world.blobs()
    writer = world.stop("set", ROW, key="new", value=NEW)
    [uploaded] = world.blobs() - before
    world.pass_time(timedelta(hours=71))
    world.run("mark")
    assert uploaded not in world.marked()
    writer.go_on().succeed()
    assert world.check()["new"] == NEW
    assert collect(world, QUARANTINE)["deleted"]["count"] == 2
    assert world.check()["new"] == NEW


def test_a_row_that_comes_after_the_mark_rescues_its_blob(world):
    before = world.blobs()
    writer = world.stop("set", ROW, key="new", value=NEW)
    [uploaded] = world.blobs() - before
    world.pass_time(PATIENCE)
    world.run("mark")
    assert uploaded in world.marked()
    writer.go_on().succeed()
    world.pass_time(QUARANTINE)
    report = world.run("purge")["result"]
    assert (report["counts"]["rescued"]["count"], report["deleted"]["count"]) == (1, 2)
    assert world.check()["new"] == NEW
    world.settle()


def test_a_row_that_comes_while_the_purge_is_stopped_before_its_reading_rescues_its_blob(world):
    writer = world.stop("set", ROW, key="new", value=NEW)
    world.pass_time(PATIENCE)
    world.run("mark")
    world.pass_time(QUARANTINE)
    collector = world.stop("purge", "^LOCK TABLE", when="after")
    writer.go_on().succeed()
    assert collector.go_on().succeed()["result"]["counts"]["rescued"]["count"] == 1
    assert world.check()["new"] == NEW


@pytest.mark.parametrize("key", ["new", "a"])
@pytest.mark.parametrize("days", [1, 5, 13])
def test_a_writer_stopped_in_its_upload_for_longer_than_it_may_take_writes_no_row(world, key, days):
    """By then a mark may have found the blob, after 13 days a purge may have deleted it."""
    before, values = world.blobs(), world.values()
    writer = world.stop("set", UPLOAD, when="after", key=key, value=NEW)
    [uploaded] = world.blobs() - before
    world.pass_time(PATIENCE if days > 4 else timedelta(days=days))
    world.run("mark")
    if days > 12:
        world.pass_time(QUARANTINE)
        world.run("purge")
    assert (uploaded in world.blobs()) == (days <= 12)
    assert writer.go_on().end() == 1
    assert "longer than commit_window" in writer.told()["error"]
    assert world.check() == values
    world.settle()


def test_an_upload_within_the_window_is_not_refused_after_a_stop(world):
    writer = world.stop("set", UPLOAD, when="after", key="new", value=NEW)
    world.pass_time(timedelta(hours=5))
    writer.go_on().succeed()
    assert world.check()["new"] == NEW


def test_an_overwrite_stopped_between_its_commit_and_its_delete_meets_a_blob_that_is_gone(world):
    writer = world.stop("set", "DeleteObjects", key="a", value=NEW)
    assert world.check()["a"] == NEW
    world.pass_time(PATIENCE)
    assert collect(world, QUARANTINE)["deleted"]["count"] == 3
    writer.go_on().succeed()
    assert world.check()["a"] == NEW
    world.settle()


def test_an_overwrite_stopped_before_its_commit_keeps_both_blobs_from_a_mark(world):
    """The former is live until the commit; the new one is young."""
    live = world.live()
    writer = world.stop("set", "COMMIT", at=2, key="a", value=NEW)
    world.run("mark")
    assert not world.marked() & live
    writer.go_on().succeed()
    assert collect(world, QUARANTINE)["deleted"]["count"] == 2
    assert world.check()["a"] == NEW
    world.settle()


@pytest.mark.parametrize("days", [1, 13])
def test_a_rekey_stopped_in_its_upload_for_longer_than_it_may_take_replaces_no_row(world, days):
    """After 13 days a purge has deleted the blob that it stored."""
    before, values, live = world.blobs(), world.values(), world.live()
    rekey = world.stop("rekey", UPLOAD, when="after")
    [uploaded] = world.blobs() - before
    world.pass_time(PATIENCE if days > 4 else timedelta(days=days))
    if days > 12:
        assert collect(world, QUARANTINE)["deleted"]["count"] == 3
    report = rekey.go_on().succeed()["result"]
    assert (report["done"]["rows"], report["failures"]) == (2, 1)
    assert uploaded not in world.blobs()
    assert len(world.live() & live) == 1
    assert world.check() == values
    world.run("rekey")
    assert not world.live() & live
    assert world.check() == values
    world.settle()


def test_a_rekey_stopped_in_the_transaction_of_its_rows_until_its_blobs_are_gone_puts_back_what_they_named(world):
    world.age_rows()
    values, live = world.values(), world.live()
    rekey = world.stop("rekey", "^UPDATE offload_asset_state", when="after")
    world.pass_time(PATIENCE)
    assert collect(world, QUARANTINE)["deleted"]["count"] == 5
    assert world.blobs() == live
    report = rekey.go_on().succeed()["result"]
    assert (report["done"]["rows"], report["failures"], report["deleted"]) == (0, 3, 0)
    assert world.live() == live
    assert world.check() == values


def test_a_rekey_stopped_before_it_deletes_meets_blobs_that_are_gone(world):
    world.age_rows()
    values, live = world.values(), world.live()
    rekey = world.stop("rekey", "DeleteObjects")
    assert world.check() == values
    world.pass_time(PATIENCE)
    assert collect(world, QUARANTINE)["deleted"]["count"] == 5
    assert rekey.go_on().succeed()["result"]["deleted"] == 3
    assert not world.live() & live
    assert world.check() == values
    world.settle()


def test_a_row_that_comes_after_all_that_is_promised_dangles_and_verify_tells(world):
    """The limit: no client keeps a row from being written weeks after it was sent. ``verify`` finds it."""
    writer = world.stop("set", ROW, key="new", value=NEW)
    world.pass_time(PATIENCE)
    assert collect(world, QUARANTINE)["deleted"]["count"] == 3
    writer.go_on().succeed()
    report = world.verify()
    assert (report.dangling, report.corrupt) == (1, 0)
    assert "'new'" in report.found[0].holder
    world.run("set", key="new", value=value("again"))
    assert world.verify().dangling == 0
    world.settle()
