"""SIGSTOP and SIGCONT of mark and purge while writers, operators, hosts and other collectors go on."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from offload_backend.lifecycle.restore import pin, restore
from offload_backend.row import row_text
from tests.drills.scenes import NEW, aged, marked, matured, value
from tests.drills.world import ADDRESS, PATIENCE, QUARANTINE, World
from tests.lifecycle.simulation import blob_id

READING = "^LOCK TABLE"
"""After it, the first statement of the reading of roots fixes what it sees."""
READ = "_gc/pins/"
"""What is listed when the roots have been read, and again before each batch of a purge."""


def orphan(world: World) -> str:
    """The ref of one more blob that no row names."""
    ref = world.put("short", value("short"))
    world.vanish("short")
    return ref


def name_of(world: World, ref: str) -> str:
    return ref.partition("#")[0].removeprefix(f"{world.store.location}/")


@pytest.mark.parametrize("days", [0, 5])
def test_a_mark_stopped_between_listing_and_roots_while_everything_is_written_marks_nothing_live(world, days):
    aged(world)
    collector = world.stop("mark", READING, when="after")
    world.run("set", key="a", value=NEW)
    world.run("set", key="new", value=NEW)
    world.pass_time(timedelta(days=days))
    world.run("set", key="new", value=value("newer"))
    world.run("delete", key="b")
    collector.go_on().succeed()
    assert not world.marked() & world.live()
    world.pass_time(QUARANTINE)
    world.run("purge")
    assert world.check().keys() == {"kept", "a", "new"}
    world.settle()


def test_a_row_that_goes_during_a_long_mark_gives_its_blob_the_whole_quarantine(world):
    aged(world)
    ref = world.put("short", value("short"))
    world.pass_time(PATIENCE)
    collector = world.stop("mark", READING, when="after")
    world.pass_time(QUARANTINE)
    world.vanish("short")
    collector.go_on().succeed()
    world.run("purge")
    assert name_of(world, ref) in world.blobs()


def test_a_backup_of_the_database_made_during_a_mark_is_noticed_when_it_is_restored(world):
    aged(world)
    ref = world.put("short", value("short"))
    world.pass_time(PATIENCE)
    collector = world.stop("mark", READING, when="after")
    backup = world.snapshot()
    world.vanish("short")
    collector.go_on().succeed()
    world.restore_rows(backup)
    world.pass_time(QUARANTINE)
    world.vanish("short")
    purge = world.start("purge", {})
    assert purge.end() == 1
    assert "sequence" in purge.told()["error"]
    assert name_of(world, ref) in world.blobs()


def test_a_database_restored_while_a_mark_is_stopped_is_noticed(world):
    aged(world)
    backup = world.snapshot()
    collector = world.stop("mark", READING, when="after")
    world.restore_rows(backup)
    assert collector.go_on().end() == 1
    assert "sequence" in collector.told()["error"]
    world.adopt()
    world.settle()


@pytest.mark.parametrize("at", [3, 4])
def test_a_database_restored_between_the_reading_and_the_record_of_a_mark_is_noticed(world, at):
    """Or else a row of the restored database is lost without the quarantine that a restore is promised."""
    aged(world)
    ref = world.put("short", value("short"))
    world.pass_time(PATIENCE)
    backup = world.snapshot()
    world.vanish("short")
    collector = world.stop("mark", "offload_collector.sequence.*canary", at=at)
    world.restore_rows(backup)
    codes = {collector.go_on().end()}
    world.pass_time(QUARANTINE)
    world.vanish("short")
    codes.add(world.start("purge", {}).end())
    assert 1 in codes
    assert name_of(world, ref) in world.blobs()


@pytest.mark.parametrize("protect", [pin, restore])
def test_what_an_operator_protects_before_the_batch_of_a_stopped_purge_stays(world, protect):
    aged(world)
    ref = orphan(world)
    world.pass_time(PATIENCE)
    world.run("mark")
    world.pass_time(QUARANTINE)
    collector = world.stop("purge", READ, at=2)
    protect(world.collector, [blob_id(ref)])
    assert collector.go_on().succeed()["result"]["deleted"]["count"] == 2
    assert name_of(world, ref) in world.blobs()


def test_a_row_that_comes_between_the_reading_and_the_delete_of_a_purge_is_too_late_and_verify_tells(world):
    """The limit: no writer within its ``commit_window`` can write such a row, its blob was marked days ago."""
    aged(world)
    ref = orphan(world)
    world.pass_time(PATIENCE)
    world.run("mark")
    world.pass_time(QUARANTINE)
    collector = world.stop("purge", "DeleteObjects")
    world.rows.set(ADDRESS, "short", row_text(ref), expires_at=None)
    assert world.verify().dangling == 0
    assert collector.go_on().succeed()["result"]["deleted"]["count"] == 3
    report = world.verify()
    assert (report.dangling, "'short'" in report.found[0].holder) == (1, True)


def test_values_written_while_a_purge_is_stopped_anywhere_stay(world):
    matured(world)
    begin = world.snapshot()
    for on in (READING, READ, "intent", "DeleteObjects", "result"):
        world.restore(begin)
        collector = world.stop("purge", on)
        world.run("set", key="a", value=value(on))
        world.run("set", key=on, value=NEW)
        collector.go_on().succeed()
        assert (world.check()["a"], world.check()[on]) == (value(on), NEW)
    world.settle()


STOPS = ["pg_advisory", "manifest.jsonl.gz", "DeleteObjects"]
PAIRS = [("mark", "purge"), ("purge", "purge")]
if os.environ.get("OFFLOAD_LONG"):
    PAIRS += [("mark", "mark"), ("purge", "mark")]
    STOPS += ["marker.json", READING, READ, "intent", "result"]


@pytest.mark.parametrize(("verb", "other"), PAIRS)
def test_of_two_collectors_one_may_be_stopped_anywhere_while_the_other_runs(world, verb, other):
    """The one that goes on later may only fail, and only because it sees that another one was there."""
    matured(world)
    values, begin = world.values(), world.snapshot()
    for on in [on for on in STOPS if verb == "purge" or on not in ("intent", "DeleteObjects", "result")]:
        world.restore(begin)
        first = world.stop(verb, on)
        world.run(other)
        if first.go_on().end() != 0:
            assert "another collector works on this deployment" in first.told()["error"]
        assert world.check() == values
        world.settle()
        assert world.check() == values


def test_two_purges_delete_the_same_once_and_both_succeed(world):
    matured(world)
    first = world.stop("purge", "DeleteObjects")
    assert world.run("purge")["result"]["deleted"]["count"] == 2
    first.go_on().succeed()
    assert world.blobs() == world.live()


def test_a_mark_that_was_stopped_for_weeks_does_not_undo_what_came_after_it(world):
    marked(world)
    old = world.stop("mark", "manifest.jsonl.gz", at=3)
    world.pass_time(QUARANTINE)
    world.run("purge")
    ref = orphan(world)
    world.pass_time(PATIENCE)
    world.run("mark")
    assert world.marked() == {name_of(world, ref)}
    old.go_on().end()
    assert world.marked() == {name_of(world, ref)}
    world.settle()
