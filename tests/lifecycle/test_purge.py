"""Purge: what may go, what is kept at the last moment, and what is told."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta

import pytest

from offload_backend.address import TaskAddress
from offload_backend.errors import CollectorError, CoreStoreError, IncompleteError, StoreError
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.report import Tally
from offload_backend.lifecycle.restore import pin, restore
from offload_backend.lifecycle.status import show
from offload_backend.rootsource import Hidden
from offload_backend.testing.faults import CountingBlobStore, FaultyBlobStore
from tests.lifecycle.simulation import DAY, HOUR, TASK, Site, as_text, blob_id, matured, name_of


def size_of(site, refs):
    return sum(len(b"".join(site.store.get(name_of(ref)))) for ref in refs)


def test_a_matured_orphan_goes_and_nothing_else():
    site, live, orphans = matured()
    young = site.upload()
    size = size_of(site, orphans)
    report = site.purge()
    assert site.store.blobs() == {name_of(ref) for ref in [*live, young]}
    assert report.deleted == report.doomed == report.counts.matured == Tally(2, size)
    assert (report.waiting, report.restored, report.changed, report.gone, report.spared) == (Tally(),) * 5
    assert not report.dry


def test_without_delete_everything_is_told_and_nothing_deleted():
    site, live, orphans = matured()
    dry = site.purge(delete=False)
    assert site.store.blobs() == {name_of(ref) for ref in [*live, *orphans]}
    assert site.store.deleted == []
    assert dry.dry
    real = site.purge()
    assert (dry.doomed, dry.counts, dry.samples) == (real.doomed, real.counts, real.samples)
    assert dry.deleted == Tally()


def test_a_candidate_waits_for_the_whole_quarantine():
    site, _, orphans = matured()
    site.wait(-8 * DAY + timedelta(days=7) - timedelta(microseconds=1))
    report = site.purge()
    assert (report.deleted.count, report.waiting.count, report.doomed.count) == (0, 2, 0)
    assert report.next_deletion == site.store_clock() + timedelta(microseconds=1)
    site.wait(timedelta(microseconds=1))
    assert site.purge().deleted.count == 2
    assert not any(map(site.has, orphans))


def test_the_quarantine_is_by_the_stores_clock():
    site, _, orphans = matured()
    site.configure(gc_max_skew="99d")
    site.store_clock.now -= 2 * DAY
    site.local_clock.now += 9 * DAY
    site.database_clock.now += 9 * DAY
    assert site.purge().deleted.count == 0
    assert all(map(site.has, orphans))


def test_what_was_never_marked_stays_however_old():
    site, _, _ = matured()
    unmarked = site.upload()
    site.store.set_modified(name_of(unmarked), site.store_clock() - 300 * DAY)
    site.purge()
    assert site.has(unmarked)


def test_a_candidate_that_is_live_again_is_rescued_and_told():
    site, _, orphans = matured()
    site.commit(orphans[0])
    report = site.purge()
    assert site.has(orphans[0])
    assert not site.has(orphans[1])
    assert (report.counts.rescued.count, report.deleted.count) == (1, 1)


def test_a_row_written_after_the_listing_rescues():
    site, _, orphans = matured()
    site.roots.before_roots = lambda: site.commit(orphans[0])
    site.purge()
    assert site.has(orphans[0])


@pytest.mark.parametrize("marked_again", [False, True])
@pytest.mark.parametrize("dry", [False, True])
def test_what_a_purge_has_seen_live_begins_its_quarantine_anew_when_it_dies_again(dry, marked_again):
    site, _, orphans = matured()
    site.commit(orphans[0])
    site.purge(delete=not dry)
    site.unlink(orphans[0])
    site.wait(HOUR)
    if marked_again:
        site.mark()
    report = site.purge()
    assert site.has(orphans[0])
    if not marked_again:
        assert report.restored.count == 1
        site.mark()
    site.wait(8 * DAY)
    site.purge()
    assert not site.has(orphans[0])


def test_a_pinned_candidate_stays():
    site, _, orphans = matured()
    pin(site.collector, [blob_id(orphans[0])])
    report = site.purge()
    assert site.has(orphans[0])
    assert (report.counts.pinned.count, report.deleted.count) == (1, 1)


def test_a_restored_candidate_stays_until_it_has_been_marked_for_another_quarantine():
    site, _, orphans = matured()
    restore(site.collector, [blob_id(orphans[0])])
    report = site.purge()
    assert (report.restored.count, report.waiting.count) == (1, 0)
    assert site.has(orphans[0])
    site.wait(HOUR)
    site.mark()
    assert site.purge().doomed.count == 0
    site.wait(7 * DAY)
    site.purge()
    assert not site.has(orphans[0])


def test_restoring_at_the_very_moment_of_the_mark_counts():
    site = Site()
    site.adopt()
    site.live(5)
    orphan = site.upload()
    site.wait(4 * DAY)
    site.mark()
    restore(site.collector, "last")
    site.wait(8 * DAY)
    assert site.purge().restored.count == 1
    assert site.has(orphan)


@pytest.mark.parametrize("how", [pin, restore])
def test_what_is_pinned_or_restored_while_a_purge_runs_stays(how):
    site, _, orphans = matured()
    store = FaultyBlobStore(site.store)

    class Late(Hooks):
        def before_delete(self, batch):
            how(site.collector, [blob_id(orphans[0])])
            return batch

    site.hooks, site.outer = Late(), store
    report = site.purge()
    assert site.has(orphans[0])
    assert report.deleted.count == 1


def test_a_candidate_whose_rows_are_hidden_now_stays():
    site, _, orphans = matured()
    site.roots.tamper = lambda roots: [*roots, Hidden(TASK, "403")]
    report = site.purge()
    assert all(map(site.has, orphans))
    assert report.counts.hidden.count == 2


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_candidate_that_is_listed_as_another_object_stays(change):
    site, _, orphans = matured()
    name = name_of(orphans[0])
    modified = next(info.modified for info in site.store.list(name))
    if change == "time":
        site.store.set_modified(name, modified - HOUR)
    else:
        site.store._blobs[name] = (b"other", modified)
    report = site.purge()
    assert site.has(orphans[0])
    assert (report.changed.count, report.deleted.count) == (1, 1)


def test_a_candidate_that_has_become_young_stays():
    site, _, orphans = matured()
    site.configure(gc_min_age="20d")
    report = site.purge()
    assert all(map(site.has, orphans))
    assert report.counts.young.count == 2


def test_a_candidate_that_is_gone_already_is_told_and_not_asked_for_again():
    site, _, _ = matured()
    site.purge()
    deleted = len(site.store.deleted)
    report = site.purge()
    assert (report.gone.count, report.doomed.count) == (2, 0)
    assert len(site.store.deleted) == deleted


def test_a_stale_listing_that_leaves_out_an_orphan_only_delays_it():
    site, _, orphans = matured()
    site.store.unlisted = {name_of(orphans[0])}
    site.purge()
    assert site.has(orphans[0])
    site.store.unlisted = set()
    site.purge()
    assert not site.has(orphans[0])


@pytest.mark.parametrize(("age", "goes"), [(timedelta(hours=25), True), (2 * DAY, False)])
def test_an_export_of_the_roots_must_have_been_read_after_the_quarantine(age, goes):
    site, _, orphans = matured()  # marked 8 days ago, quarantine 7 days
    site.roots.read_at = site.store_clock() - age + HOUR + timedelta(minutes=11)
    report = site.purge()
    assert site.has(orphans[0]) is not goes
    assert report.waiting.count == (0 if goes else 2)


def test_an_export_counts_as_older_by_the_skew():
    site, _, orphans = matured()
    site.roots.read_at = site.store_clock() - DAY + timedelta(minutes=5)
    site.purge()
    assert site.has(orphans[0])
    site.roots.read_at += timedelta(microseconds=1)
    site.purge()
    assert not site.has(orphans[0])


class TestFailures:
    def test_one_name_that_cannot_be_deleted_is_told_and_the_rest_goes(self):
        site, _, orphans = matured()
        site.store.undeletable = {name_of(orphans[0])}
        seen = []

        class Told(Hooks):
            def on_purged(self, report):
                seen.append(report)

        site.hooks = Told()
        with pytest.raises(IncompleteError) as caught:
            site.purge()
        assert caught.value.failed == {name_of(orphans[0]): "AccessDenied"}
        assert "1 blobs were deleted, 1 were not" in str(caught.value)
        assert site.has(orphans[0])
        assert not site.has(orphans[1])
        [report] = seen
        assert (report.deleted.count, report.failed) == (1, caught.value.failed)
        assert (show(site.collector).deleted, show(site.collector).failed) == (1, 1)

    def test_a_name_that_the_store_passes_over_in_silence_has_failed(self):
        site, _, orphans = matured()
        site.store.speechless = {name_of(orphans[0])}
        with pytest.raises(IncompleteError) as caught:
            site.purge()
        assert caught.value.failed == {name_of(orphans[0]): "the store did not say"}

    def test_the_next_purge_finishes_what_failed(self):
        site, _, orphans = matured()
        site.store.undeletable = {name_of(orphans[0])}
        with pytest.raises(IncompleteError):
            site.purge()
        site.store.undeletable = set()
        assert site.purge().deleted.count == 1
        assert not any(map(site.has, orphans))

    def test_a_store_that_fails_altogether_is_not_asked_for_further_batches(self):
        site = Site()
        site.adopt()
        site.live(2)
        site.litter(1100)
        site.wait(4 * DAY)
        site.mark()
        site.wait(8 * DAY)
        before = site.store.blobs()
        site.outer = FaultyBlobStore(site.store)
        site.outer.fail("delete", StoreError("denied", reason="denied"))
        with pytest.raises(IncompleteError, match="0 blobs were deleted, 1100 were not: denied") as caught:
            site.purge()
        assert len(caught.value.failed) == 1000
        assert site.store.blobs() == before

    def test_batches_hold_a_thousand_names_and_are_all_in_the_journal(self):
        site = Site()
        site.adopt()
        live = site.live(2)
        site.litter(2001)
        site.wait(4 * DAY)
        site.mark()
        site.wait(8 * DAY)
        store = CountingBlobStore(site.store)
        site.outer = store
        report = site.purge()
        assert site.store.blobs() == {name_of(ref) for ref in live}
        assert store.calls["delete"] == 3
        assert (report.deleted.count, report.cost.deletes) == (2001, 3)
        intents, results = site.store.control("intent"), site.store.control("result")
        assert len(intents) == len(results) == 3
        asked = [json.loads(b"".join(site.store.get(name)))["names"] for name in intents]
        done = [json.loads(b"".join(site.store.get(name)))["deleted"] for name in results]
        assert asked == done
        assert [len(names) for names in asked] == [1000, 1000, 1]

    def test_the_intent_is_written_before_the_delete(self):
        site, _, _ = matured()
        site.outer = FaultyBlobStore(site.store)
        site.outer.run_before("delete", lambda: seen.extend(site.store.control("purge/")))
        seen = []
        site.purge()
        assert [name.rpartition("/")[2] for name in seen] == ["000001.intent.json"]

    @pytest.mark.parametrize("operation", ["list", "put", "get", "delete"])
    def test_a_purge_that_was_killed_at_any_moment_is_simply_run_again(self, operation):
        site, live, orphans = matured()
        for after in range(14):
            site.outer = FaultyBlobStore(site.store)
            if after:
                site.outer.run_before(operation, lambda: None, times=after)
            kill = site.outer.lose_answer if after % 2 else site.outer.fail
            kill(operation, KeyboardInterrupt())
            with contextlib.suppress(KeyboardInterrupt):
                site.purge()
            assert all(map(site.has, live))
        site.outer = site.store
        site.purge()
        assert not any(map(site.has, orphans))
        assert all(map(site.has, live))

    @pytest.mark.parametrize("failing", ["list", "roots", "roots in the middle"])
    def test_a_failure_while_reading_deletes_nothing(self, failing):
        site, _, _ = matured()
        before, names = site.store.blobs(), set(site.store.names())

        def broken(roots):
            yield next(iter(roots))
            raise CoreStoreError("the connection broke")

        if failing == "list":
            site.store.cut = 3
        else:
            site.roots.tamper = broken if failing != "roots" else iter
            site.roots.before_roots = (lambda: None) if failing != "roots" else lambda: 1 / 0
        with pytest.raises((StoreError, CoreStoreError, ZeroDivisionError)):
            site.purge()
        assert site.store.blobs() == before
        [marker] = set(site.store.names()) - names
        assert marker.endswith("marker.json")


class TestHooks:
    def test_a_hook_can_hold_back(self):
        site, _, orphans = matured()

        class Keep(Hooks):
            def before_delete(self, batch):
                return [blob for blob in batch if blob.id != blob_id(orphans[0])]

        site.hooks = Keep()
        report = site.purge()
        assert site.has(orphans[0])
        assert not site.has(orphans[1])
        assert (report.spared.count, report.deleted.count, report.counts.matured.count) == (1, 1, 2)

    def test_a_dry_run_asks_the_hooks_as_well(self):
        site, _, _ = matured()

        class Keep(Hooks):
            def before_delete(self, batch):
                return ()

        site.hooks = Keep()
        report = site.purge(delete=False)
        assert (report.spared.count, report.doomed.count) == (2, 0)

    def test_all_batches_are_asked_about_before_the_first_delete(self):
        site = Site()
        site.adopt()
        site.live(2)
        site.litter(1001)
        site.wait(4 * DAY)
        site.mark()
        site.wait(8 * DAY)

        class SecondThoughts(Hooks):
            calls = 0

            def before_delete(self, batch):
                self.calls += 1
                if self.calls == 2:
                    raise ValueError("no")
                return batch

        site.hooks = SecondThoughts()
        assert site.refused(site.purge) == ["hook"]

    def test_rescued_ones_are_told_with_their_candidates(self):
        site, _, orphans = matured()
        site.commit(orphans[0])
        seen = []

        class Told(Hooks):
            def on_rescued(self, batch):
                seen.extend(batch)

        site.hooks = Told()
        site.purge(delete=False)
        assert [blob.name for blob in seen] == [name_of(orphans[0])]
        site.purge()
        assert len(seen) == 1

    def test_a_hook_that_raises_when_all_is_done_is_no_refusal(self):
        site, _, orphans = matured()

        class Broken(Hooks):
            def on_purged(self, report):
                raise ValueError("secret")

        site.hooks = Broken()
        with pytest.raises(
            CollectorError, match="2 blobs were deleted, and then the hook on_purged raised"
        ) as caught:
            site.purge()
        assert "secret" not in str(caught.value)
        assert not any(map(site.has, orphans))


def test_the_report_of_a_purge_can_be_told_as_json():
    site, _, orphans = matured()
    report = site.purge(delete=False)
    assert report.top_scopes[0].count == 2
    assert {sample.name for sample in report.samples} == {name_of(ref) for ref in orphans}
    assert "a candidate since 2026-01-05" in as_text(report)


def test_garbage_of_every_kind_goes_in_the_end():
    site = Site()
    site.adopt()
    site.live(4)
    superseded, current = site.upload(), site.upload()
    site.commit(superseded, key="k")
    site.commit(current, key="k")
    removed = site.upload(TaskAddress("gone", "r", "t"))
    site.commit(removed)
    site.unlink(removed)
    failed = site.upload()
    for _ in range(15):
        site.wait(DAY)
        site.mark()
        site.purge()
    assert [site.has(ref) for ref in (superseded, removed, failed, current)] == [False, False, False, True]
