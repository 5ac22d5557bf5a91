"""Restore, pin, unpin, adopt, status and show."""

from __future__ import annotations

import contextlib

import pytest

from offload_backend.blobfile import header_at_start
from offload_backend.errors import CollectorError, ConfigError, IncompleteError, StoreError
from offload_backend.lifecycle.mark import begin
from offload_backend.lifecycle.report import Tally
from offload_backend.lifecycle.restore import pin, restore, unpin
from offload_backend.lifecycle.status import show, status
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.testing.faults import FaultyBlobStore
from tests.lifecycle.simulation import DAY, LOCATION, SimulatedRoots, Site, as_text, blob_id, matured, name_of

STRANGER = "01999999-9999-7aaa-8bbb-cccccccccccc"


class TestPins:
    def test_pins_are_told_apart_from_what_was_pinned_already(self):
        site, _, orphans = matured()
        first, second = (blob_id(ref) for ref in orphans)
        assert pin(site.collector, [first]).changed == (first,)
        report = pin(site.collector, [second, first, second.upper()])
        assert (report.changed, report.unchanged, report.pinned) == ((second,), (first,), 2)
        report = unpin(site.collector, [first, STRANGER])
        assert (report.changed, report.unchanged, report.pinned) == ((first,), (STRANGER,), 1)
        assert status(site.collector).pinned == 1

    @pytest.mark.parametrize("verb", [pin, unpin, restore])
    @pytest.mark.parametrize("ids", [[], ["x"], [STRANGER, STRANGER[:-1]], [f"{STRANGER}/../../x"]])
    def test_what_is_no_id_is_refused_and_nothing_written(self, verb, ids):
        site, _, _ = matured()
        before = site.store.names()
        with pytest.raises(ConfigError, match="id"):
            verb(site.collector, ids)
        assert site.store.names() == before

    def test_a_pin_that_cannot_be_removed_is_told(self):
        site, _, orphans = matured()
        pin(site.collector, [blob_id(orphans[0])])
        site.store.undeletable = set(site.store.control("pins/"))
        with pytest.raises(IncompleteError, match="1 pins"):
            unpin(site.collector, [blob_id(orphans[0])])


class TestRestore:
    def test_ids_that_were_not_marked_are_told(self):
        site, live, orphans = matured()
        report = restore(site.collector, [blob_id(orphans[0]), blob_id(live[0])])
        assert (report.restored, report.unknown) == (1, (blob_id(live[0]),))

    def test_a_whole_run_can_be_restored_and_again(self):
        site, _, _ = matured()
        for wanted in ("last", "2", "last"):
            assert restore(site.collector, wanted).restored == 2
        assert site.purge().restored.count == 2

    def test_the_last_mark_is_the_one_that_counts(self):
        site, _, orphans = matured()
        other = site.upload()
        site.wait(4 * DAY)
        site.mark()
        assert restore(site.collector, [blob_id(other)]).restored == 1
        assert restore(site.collector, "last").restored == len(orphans) + 1

    @pytest.mark.parametrize("wanted", ["7", "", "x"])
    def test_a_run_that_is_not_there_is_told(self, wanted):
        site, _, _ = matured()
        with pytest.raises(CollectorError, match="there is no run"):
            restore(site.collector, wanted)

    def test_a_run_that_marked_nothing_restores_nothing(self):
        site, _, _ = matured()
        purged = site.purge(delete=False).run
        with pytest.raises(CollectorError, match="marked nothing"):
            restore(site.collector, purged)
        assert site.store.control("restored/") == []
        assert restore(site.collector, "last").restored == 2

    def test_a_damaged_manifest_restores_nothing(self):
        site, _, _ = matured()
        [name] = site.store.control("manifest")
        site.store.replace(name, b"".join(site.store.get(name))[:-20])
        with pytest.raises(CollectorError):
            restore(site.collector, "last")
        assert site.store.control("restored/") == []
        assert restore(site.collector, [STRANGER]).unknown == (STRANGER,)


class TestAdopt:
    def test_the_canary_is_a_blob_whose_ref_is_in_the_ledger(self):
        site = Site()
        report = site.adopt()
        ref = parse_ref(site.roots.ledger().canary)
        assert isinstance(ref, BlobRef)
        assert ref.url.startswith(f"{LOCATION}/v1/prod/_gc/canary/")
        data = b"".join(site.store.get(name_of(site.roots.ledger().canary)))
        assert len(data) == ref.size
        assert header_at_start(data)["id"] == report.owner
        assert (report.sequence, report.canary, report.fingerprint) == (1, site.roots.ledger().canary, "database")
        as_text(report)

    def test_the_former_owner_and_its_canary_go(self):
        site, _, _ = matured()
        old = site.store.control("owner/") + site.store.control("canary/")
        site.roots = SimulatedRoots(site.core_store, "moved")
        report = site.adopt("adopted")
        assert report.replaced == ("database",)
        new = site.store.control("owner/") + site.store.control("canary/")
        assert len(new) == 2
        assert not set(old) & set(new)
        site.mark()

    def test_the_sequence_goes_on_from_the_larger_of_the_two(self):
        site, _, _ = matured()
        site.roots = SimulatedRoots(site.core_store, "restored")
        assert site.adopt("adopted").sequence == 4
        site.mark()
        assert site.adopt().sequence == 7

    def test_a_replica_adopts_nothing(self):
        site = Site()
        site.roots.replica = True
        assert site.refused(site.adopt) == ["replica"]
        assert site.store.names() == []

    def test_blobs_are_marked_from_zero(self):
        site, _, orphans = matured()
        site.adopt()
        site.mark()
        assert site.purge().doomed.count == 0
        assert all(map(site.has, orphans))
        site.wait(7 * DAY)
        assert site.purge().deleted.count == 2

    def test_a_former_owner_that_could_not_be_deleted_counts_no_more(self):
        site, _, _ = matured()
        site.roots = SimulatedRoots(site.core_store, "moved")
        site.outer = FaultyBlobStore(site.store)
        site.outer.fail("delete", StoreError("denied", reason="denied"))
        with pytest.raises(StoreError):
            site.adopt("adopted")
        assert len(site.store.control("owner/")) == 2
        site.mark()

    @pytest.mark.parametrize("operation", ["put", "list", "delete"])
    def test_one_that_was_cut_short_is_run_again(self, operation):
        for after in range(6):
            site, live, orphans = matured()
            site.outer = FaultyBlobStore(site.store)
            if after:
                site.outer.run_before(operation, lambda: None, times=after)
            site.outer.fail(operation, StoreError("down", reason="unreachable"))
            with contextlib.suppress(StoreError):
                site.adopt()
            site.outer = site.store
            site.adopt()
            site.mark()
            assert site.purge().deleted.count == 0
            assert all(map(site.has, [*live, *orphans]))
            assert len(site.store.control("owner/")) == len(site.store.control("canary/")) == 1


class TestStatus:
    def test_before_anything_was_done(self):
        site = Site()
        found = status(site.collector)
        assert (found.owner, found.database_sequence, found.bucket_sequence, found.manifest) == (
            None,
            None,
            0,
            None,
        )
        assert [refusal.rule for refusal in found.refusals] == ["owner"]
        as_text(found)

    def test_what_waits_and_what_has_matured(self):
        site, _, _ = matured()
        site.upload()
        site.wait(4 * DAY)
        site.mark()
        found = status(site.collector)
        assert (found.matured.count, found.waiting.count) == (2, 1)
        assert found.next_deletion == site.store_clock() - 12 * DAY + 7 * DAY
        restore(site.collector, [blob_id(ref) for ref in _marked(site)])
        found = status(site.collector)
        assert (found.matured, found.waiting, found.next_deletion) == (Tally(), Tally(), None)

    def test_a_manifest_that_will_not_be_acted_upon_is_not_shown_as_one_that_will(self):
        site, _, _ = matured()
        site.adopt()
        found = status(site.collector)
        assert (found.manifest, found.matured.count) == (None, 0)

    def test_runs_are_told_newest_first(self):
        site, _, _ = matured()
        site.purge(delete=False)
        site.purge()
        begin(site.collector)
        found = [(run.verb, run.state, run.deleted) for run in status(site.collector).runs]
        assert found == [
            ("mark", "unfinished", 0),
            ("purge", "purged", 2),
            ("purge", "nothing deleted", 0),
            ("mark", "concluded", 0),
        ]

    def test_a_damaged_manifest_is_told_as_such(self):
        site, _, _ = matured()
        [name] = site.store.control("manifest")
        site.store.replace(name, b"rubbish")
        assert status(site.collector).runs[0].state == "unreadable"
        assert show(site.collector).state == "unreadable"

    def test_a_run_without_a_readable_marker_hides_no_other(self):
        site, _, _ = matured()
        site.purge()
        first, second = site.store.control("marker")
        site.store.replace(first, b"rubbish")
        found = [(run.verb, run.state) for run in status(site.collector).runs]
        assert found == [("purge", "purged"), ("unknown", "concluded")]
        site.store.lose(second)
        assert [run.verb for run in status(site.collector).runs] == ["unknown"]
        with pytest.raises(CollectorError, match="has no marker"):
            show(site.collector, "last")

    def test_a_run_is_shown_with_samples_of_its_candidates(self):
        site, _, orphans = matured()
        found = show(site.collector)
        assert (found.state, found.candidates, found.counts.live.count) == ("concluded", 2, 8)
        assert {sample.name for sample in found.samples} == {name_of(ref) for ref in orphans}
        with pytest.raises(CollectorError, match="there is no run"):
            show(site.collector, "99")


def _marked(site):
    return [ref for ref in (f"{LOCATION}/{name}#" for name in site.store.blobs()) if _is_orphan(site, ref)]


def _is_orphan(site, ref):
    return not any(blob_id(ref) in row.text for row in site.core_store.rows())
