"""Mark: which blobs become candidates, and since when."""

from __future__ import annotations

import contextlib
import gzip
from datetime import timedelta
from uuid import UUID

import pytest

from offload_backend.address import AssetAddress, TaskAddress, blob_name, blob_scope, new_blob_id
from offload_backend.blobstore import BlobInfo
from offload_backend.errors import CollectorError, CoreStoreError, StoreError
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.mark import begin, conclude, list_shard, shards
from offload_backend.lifecycle.preflight import Run
from offload_backend.lifecycle.report import Tally
from offload_backend.lifecycle.restore import pin, restore, unpin
from offload_backend.rootsource import Hidden, Ledger
from offload_backend.row import row_text
from offload_backend.testing.faults import FaultyBlobStore
from tests.lifecycle.simulation import DAY, HOUR, LOCATION, TASK, Site, as_text, blob_id, name_of


@pytest.fixture
def site():
    site = Site()
    site.adopt()
    return site


def candidates(site, run="last"):
    control = Control(site.store, "prod")
    return {one.id: one for one in control.candidates(control.run_named(run).name)}


def marked(site, *accept):
    """The ids that a mark makes candidates."""
    return set(candidates(site, site.mark(*accept).run))


def ids(refs):
    return {blob_id(ref) for ref in refs}


def test_an_old_blob_without_a_row_is_a_candidate_and_a_live_one_is_not(site):
    site.live(3)
    orphans = site.orphans(2)
    site.wait(4 * DAY)
    report = site.mark()
    assert set(candidates(site)) == ids(orphans)
    assert (report.state, report.counts.live.count, report.counts.marked.count) == ("concluded", 3, 2)
    assert report.counts.marked.bytes == sum(one.size for one in candidates(site).values())


def test_nothing_is_deleted_by_a_mark(site):
    site.live()
    site.orphans()
    site.wait(40 * DAY)
    before = site.store.blobs()
    site.mark()
    site.wait(20 * DAY)
    site.mark()
    assert site.store.blobs() == before


def test_a_young_blob_is_no_candidate_until_it_is_older_than_min_age(site):
    site.live()
    orphan = site.upload()
    site.wait(timedelta(hours=72))
    assert marked(site) == set()
    site.wait(timedelta(microseconds=1))
    assert marked(site) == {blob_id(orphan)}


def test_the_age_is_told_by_the_stores_clock_alone(site):
    site.configure(gc_max_skew="9d")
    site.live()
    old, young = site.upload(), site.upload()
    site.wait(10 * DAY)
    site.store.set_modified(name_of(young), site.store_clock())
    site.local_clock.now += 8 * DAY
    site.database_clock.now -= 8 * DAY
    assert marked(site) == {blob_id(old)}


def test_now_is_the_time_of_the_marker_not_the_end_of_a_long_listing(site):
    site.live()
    orphan = site.upload()
    site.wait(timedelta(hours=72))
    store = FaultyBlobStore(site.store)
    run = begin(site.collector)
    site.outer = store
    store.run_before("list", lambda: site.wait(10 * HOUR), times=3)
    report = conclude(site.collector, run)
    assert report.counts.young.count == 1
    assert site.store_clock() > report.now
    assert blob_id(orphan) not in candidates(site)


def test_a_row_written_after_the_listing_keeps_its_blob(site):
    site.live()
    late = site.upload()
    site.wait(4 * DAY)
    site.roots.before_roots = lambda: site.commit(late)
    assert marked(site) == set()


def test_the_id_decides_whatever_the_path_in_the_ref(site):
    site.live(3)
    ref = site.upload()
    moved = ref.replace(LOCATION, "file:///another/place").replace("/task/dag/", "/task/renamed/")
    site.core_store.set(TASK, "k", row_text(moved))
    inline = site.upload()
    site.core_store.set(TASK, "k2", f'{{"copy": "{blob_id(inline).upper()}"}}')
    site.wait(4 * DAY)
    assert marked(site) == set()


def test_an_expired_row_keeps_its_blob(site):
    site.live()
    ref = site.upload()
    site.core_store.set(TASK, "k", row_text(ref), expires_at=site.database_clock() - DAY)
    site.wait(4 * DAY)
    assert marked(site) == set()


def test_a_pinned_blob_is_kept_until_it_is_unpinned(site):
    site.live()
    orphan = site.upload()
    site.wait(4 * DAY)
    pin(site.collector, [blob_id(orphan).upper()])
    assert marked(site) == set()
    unpin(site.collector, [blob_id(orphan)])
    assert marked(site) == {blob_id(orphan)}


def test_what_a_hook_names_is_kept(site):
    first, second, third = site.orphans(3)
    site.live()
    site.wait(4 * DAY)

    class Keeper(Hooks):
        def extra_roots(self):
            yield first
            yield blob_id(second)

    site.hooks = Keeper()
    assert marked(site) == {blob_id(third)}


def test_blobs_of_a_hidden_address_are_kept_and_told(site):
    site.live()
    hidden = site.upload(TaskAddress("dag", "run", "secret"))
    other = site.upload(TaskAddress("dag", "run", "open"))
    site.wait(4 * DAY)
    site.roots.tamper = lambda roots: [*roots, Hidden(TaskAddress("dag", "run", "secret"), "403")]
    report = site.mark()
    assert set(candidates(site)) == {blob_id(other)}
    assert report.counts.hidden == Tally(1, len(b"".join(site.store.get(name_of(hidden)))))


LONG = "d" * 300


def test_a_source_that_asks_by_address_is_told_all_addresses_of_old_blobs(site):
    site.roots.by_address = True
    task = TaskAddress(LONG, "run/é", "", 7, UUID(int=5))
    assets = {AssetAddress(uri="s3://x y"), AssetAddress(name=""), AssetAddress(name=LONG), AssetAddress(uri=LONG)}
    for address in (TASK, task, *assets):
        site.commit(site.upload(address), address)
    site.wait(4 * DAY)
    site.commit(site.upload(TaskAddress("new", "r", "t")))
    site.mark()
    assert set(site.roots.asked) == {TASK, task, *assets}


@pytest.mark.parametrize("damage", [b"", b"rubbish" * 100, None], ids=["empty", "rubbish", "gone"])
def test_a_scope_that_no_blob_tells_is_hidden_from_a_source_that_asks_by_address(site, damage):
    site.roots.by_address = True
    site.live()
    orphan = site.upload(TaskAddress(LONG, "r", "t"))
    site.wait(4 * DAY)
    if damage is None:
        name = name_of(orphan)
        site.store.stale[name_of(site.upload())] = BlobInfo(name, 5, site.store_clock() - 4 * DAY)
        site.store.lose(name)
    else:
        site.store._blobs[name_of(orphan)] = (damage, site.store_clock() - 4 * DAY)
    report = site.mark()
    assert report.counts.hidden.count == 1
    assert candidates(site) == {}


def test_a_header_that_names_another_address_is_not_believed(site):
    site.roots.by_address = True
    site.live()
    mine, other = site.upload(TaskAddress(LONG, "r", "t")), site.upload(TaskAddress("other", "r", "t"))
    forged = b"".join(site.store.get(name_of(other)))
    site.store._blobs[name_of(mine)] = (forged, site.store_clock())
    site.wait(4 * DAY)
    assert marked(site) == {blob_id(other)}


def test_a_source_that_reads_everything_costs_no_look_into_blobs(site):
    site.live()
    orphan = site.upload(TaskAddress(LONG, "r", "t"))
    site.wait(4 * DAY)
    site.store._blobs[name_of(orphan)] = (b"", site.store_clock() - 4 * DAY)
    assert marked(site) == {blob_id(orphan)}


def test_of_a_name_listed_twice_the_newest_time_counts(site):
    site.live()
    first, second = site.orphans(2)
    site.wait(4 * DAY)
    young, old = site.store_clock(), site.store_clock() - 9 * DAY
    site.store.stale[name_of(first)] = BlobInfo(name_of(first), 1, young)
    site.store.stale[name_of(second)] = BlobInfo(name_of(second), 1, old)
    third = site.upload()
    site.store.set_modified(name_of(third), old)
    site.store.stale[name_of(third)] = BlobInfo(name_of(third), 7, site.store_clock() - 4 * DAY)
    report = site.mark()
    found = candidates(site)
    assert set(found) == {blob_id(second), blob_id(third)}
    assert found[blob_id(second)].modified == found[blob_id(third)].modified == site.store_clock() - 4 * DAY
    assert found[blob_id(second)].size > 1
    assert found[blob_id(third)].size == 7
    assert report.counts.listed.count == 4


@pytest.mark.parametrize(
    "name",
    [
        "v1/prod/readme.txt",
        "v1/prod/task/dag/run/task/-1/key/model.bin",
        "v1/prod/task/dag/run/task/-1/key/01999999-9999-7AAA-8BBB-CCCCCCCCCCCC.json.zst",
        "v1/prod/assets/x/01999999-9999-7aaa-8bbb-cccccccccccc.json.zst",
        "v1/prod/task/dag/run/task/-1/01999999-9999-7aaa-8bbb-cccccccccccc.json.zst",
    ],
)
def test_a_foreign_object_is_counted_and_kept(site, name):
    site.live()
    site.store.put(name, [b"12345"])
    site.wait(40 * DAY)
    report = site.mark()
    assert report.counts.foreign == Tally(1, 5)
    assert report.counts.marked.count == 0
    assert site.store.control("manifest")


def test_blobs_of_another_deployment_are_not_looked_at(site):
    site.live()
    name = blob_name("prod2", TASK, "k", new_blob_id(), "json.zst")
    site.store.put(name, [b"12345"])
    site.wait(40 * DAY)
    report = site.mark()
    assert report.counts.listed.count == 1
    assert report.counts.foreign.count == 0


def test_a_candidate_keeps_its_first_date_while_it_is_one_in_every_mark(site):
    site.live()
    orphan = site.upload()
    site.wait(4 * DAY)
    first = site.mark()
    for _ in range(3):
        site.wait(DAY)
        site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked == first.now


def test_a_candidate_that_was_live_in_between_begins_anew(site):
    site.live()
    orphan = site.upload()
    site.wait(4 * DAY)
    site.mark()
    site.wait(DAY)
    site.commit(orphan)
    report = site.mark()
    assert report.counts.rescued.count == 1
    site.unlink(orphan)
    site.wait(DAY)
    again = site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked == again.now


@pytest.mark.parametrize("what", ["ids", "run", "number"])
def test_a_restored_candidate_begins_anew(site, what):
    site.live()
    orphan, other = site.orphans(2)
    site.wait(4 * DAY)
    first = site.mark()
    site.wait(DAY)
    wanted = {"ids": [blob_id(orphan)], "run": first.run, "number": "2"}[what]
    assert restore(site.collector, wanted).restored == (1 if what == "ids" else 2)
    site.wait(DAY)
    second = site.mark()
    site.wait(DAY)
    site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked == second.now
    assert candidates(site)[blob_id(other)].first_marked == (first.now if what == "ids" else second.now)


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_candidate_that_is_not_the_same_object_begins_anew(site, change):
    site.live()
    orphan = site.upload()
    site.wait(4 * DAY)
    site.mark()
    name = name_of(orphan)
    if change == "time":
        site.store.set_modified(name, site.store_clock() - 4 * DAY + HOUR / 2)
    else:
        site.store._blobs[name] = (b"other", site.store_clock() - 4 * DAY)
    site.wait(DAY)
    second = site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked == second.now


def test_a_refused_mark_is_passed_over_and_the_dates_of_the_one_before_carried(site):
    site.live(3)
    orphan = site.upload()
    site.wait(4 * DAY)
    first = site.mark()
    site.wait(DAY)
    site.store.unlisted = set(site.store.control("canary"))
    assert site.refused(site.mark) == ["canary-listed"]
    site.store.unlisted = set()
    site.wait(DAY)
    site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked == first.now


def test_what_a_refused_mark_found_is_not_carried(site):
    """It may have taken everything for garbage: refused, because it read the wrong rows."""
    [ref, *_] = site.live(3)
    site.wait(4 * DAY)
    site.mark()
    site.roots.tamper = lambda roots: list(roots)[-1:]
    site.wait(DAY)
    assert site.refused(site.mark) == ["no-roots"]
    site.roots.tamper = iter
    site.wait(DAY)
    site.unlink(ref)
    last = site.mark()
    assert candidates(site)[blob_id(ref)].first_marked == last.now


def test_nothing_is_carried_from_a_manifest_that_breaks_off_after_many_candidates(site):
    site.live()
    site.litter(1500)
    site.wait(4 * DAY)
    site.mark()
    [name] = site.store.control("manifest")
    lines = gzip.decompress(b"".join(site.store.get(name))).splitlines(keepends=True)
    site.store.replace(name, gzip.compress(b"".join(lines[:-1])))
    site.wait(DAY)
    last = site.mark()
    assert {one.first_marked for one in candidates(site, last.run).values()} == {last.now}


def test_dates_are_carried_from_a_manifest_of_exactly_thirty_days(site):
    site.live()
    orphan = site.upload()
    site.wait(4 * DAY)
    first = site.mark()
    site.wait(30 * DAY)
    site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked == first.now


@pytest.mark.parametrize("trouble", ["adopted", "older than a month", "damaged", "cut", "other version"])
def test_dates_are_not_carried_from_a_manifest_that_cannot_be_relied_on(site, trouble):
    site.live(3)
    orphan = site.upload()
    site.wait(4 * DAY)
    site.mark()
    site.wait(DAY)
    [name] = site.store.control("manifest")
    data = b"".join(site.store.get(name))
    if trouble == "adopted":
        site.adopt()
    elif trouble == "older than a month":
        site.wait(30 * DAY)
    elif trouble == "damaged":
        site.store.replace(name, data[:40] + b"\0" + data[41:])
    elif trouble == "cut":
        site.store.replace(name, data[:-20])
    else:
        site.store.replace(name, other_version(data))
    second = site.mark()
    assert candidates(site, second.run)[blob_id(orphan)].first_marked == second.now


def other_version(data):
    return gzip.compress(gzip.decompress(data).replace(b'"offload_manifest":1', b'"offload_manifest":2'))


def test_an_export_of_the_roots_moves_the_cut_off_to_the_time_it_was_read(site):
    site.live()
    orphan = site.upload()
    site.wait(4 * DAY)
    site.roots.read_at = site.store_clock() - 2 * DAY
    assert marked(site) == set()
    site.roots.read_at = site.store_clock() - DAY / 2
    assert marked(site) == {blob_id(orphan)}


@pytest.mark.parametrize("failing", ["list", "roots", "roots in the middle"])
def test_a_failure_while_reading_ends_the_run_with_nothing_written_but_the_marker(site, failing):
    site.live(3)
    site.orphans(2)
    site.wait(4 * DAY)
    before = set(site.store.names())
    run = begin(site.collector)

    def broken(roots):
        yield next(iter(roots))
        raise CoreStoreError("the connection broke")

    def refused():
        raise CoreStoreError("no")

    if failing == "list":
        site.store.cut = 3
    elif failing == "roots":
        site.roots.before_roots = refused
    else:
        site.roots.tamper = broken
    with pytest.raises((StoreError, CoreStoreError)):
        conclude(site.collector, run)
    [marker] = set(site.store.names()) - before
    assert marker.endswith("marker.json")
    site.store.cut, site.roots.before_roots, site.roots.tamper = None, lambda: None, iter
    assert site.mark().counts.marked.count == 2


def test_a_mark_that_was_killed_at_any_moment_is_simply_run_again(site):
    site.live(3)
    orphans = site.orphans(2)
    site.wait(4 * DAY)
    for operation in ("list", "put", "get"):
        for after in range(8):
            site.outer = FaultyBlobStore(site.store)
            if after:
                site.outer.run_before(operation, lambda: None, times=after)
            site.outer.fail(operation, KeyboardInterrupt())
            with contextlib.suppress(KeyboardInterrupt):
                site.mark()
    site.outer = site.store
    site.wait(HOUR)
    assert marked(site) == ids(orphans)


class TestShards:
    def test_a_sharded_mark_finds_what_one_process_finds(self, site):
        addresses = [TASK, TaskAddress("é", "r", "t"), TaskAddress("", "r", "t"), AssetAddress(uri="s3://x")]
        for address in addresses:
            site.commit(site.upload(address), address)
        orphans = [site.upload(address) for address in addresses]
        site.wait(4 * DAY)
        whole = site.mark()
        run = Run.from_json(begin(site.collector).as_json())
        found = sum(list_shard(site.collector, run, shard) for shard in shards("prod"))
        report = conclude(site.collector, run)
        assert found == len(addresses) * 2 + 1
        assert set(candidates(site, run.name)) == ids(orphans)
        assert report.counts == whole.counts
        assert site.store.control("/listing/") == []

    def test_a_shard_that_was_listed_twice_does_no_harm(self, site):
        site.live()
        orphans = site.orphans()
        site.wait(4 * DAY)
        run = begin(site.collector)
        for shard in (*shards("prod"), *shards("prod")[:80]):
            list_shard(site.collector, run, shard)
        conclude(site.collector, run)
        assert set(candidates(site, run.name)) == ids(orphans)

    def test_a_mark_with_a_shard_that_was_not_listed_does_not_conclude(self, site):
        site.live()
        site.orphans()
        site.wait(4 * DAY)
        run = begin(site.collector)
        for shard in shards("prod")[:-1]:
            list_shard(site.collector, run, shard)
        with pytest.raises(CollectorError, match="1 shards were not listed"):
            conclude(site.collector, run)
        assert site.store.control("manifest") == []

    @pytest.mark.parametrize("damage", ["cut", "of another run"])
    def test_a_mark_with_a_damaged_listing_does_not_conclude(self, site, damage):
        site.live()
        site.wait(4 * DAY)
        runs = [begin(site.collector), begin(site.collector)]
        for shard in shards("prod"):
            list_shard(site.collector, runs[1], shard)
        names = site.store.control("/listing/")
        if damage == "cut":
            site.store.replace(names[3], b"".join(site.store.get(names[3]))[:-9])
        else:
            for name in names:
                site.store.put(name.replace(runs[1].name, runs[0].name), site.store.get(name))
        with pytest.raises(CollectorError, match="not complete" if damage == "cut" else "not of this run"):
            conclude(site.collector, runs[1] if damage == "cut" else runs[0])
        assert site.store.control("manifest") == []

    def test_a_run_is_not_concluded_twice(self, site):
        site.live()
        run = begin(site.collector)
        conclude(site.collector, run)
        with pytest.raises(CollectorError, match="concluded already"):
            conclude(site.collector, run)

    def test_a_run_that_began_before_the_deployment_was_adopted_does_not_conclude(self, site):
        site.live()
        site.orphans()
        site.wait(4 * DAY)
        run = begin(site.collector)
        site.adopt()
        assert "owner" in site.refused(lambda: conclude(site.collector, run))
        assert site.store.control("manifest") == []


def test_the_report_tells_what_where_and_when(site):
    site.live(3)
    big = TaskAddress("zzz", "r", "t")
    for number in range(12):
        site.upload(big if number else TASK)
    largest = site.upload(TaskAddress("zzzz", "r", "t" * 100))
    site.wait(4 * DAY)
    report = site.mark()
    counts = report.counts
    parts = (counts.live, counts.pinned, counts.young, counts.hidden, counts.marked)
    assert sum(part.count for part in parts) == counts.listed.count == 16
    assert sum(part.bytes for part in parts) == counts.listed.bytes
    assert report.top_scopes[0].scope == blob_scope(big, "")[0]
    assert (report.top_scopes[0].count, len(report.top_scopes), len(report.samples)) == (11, 3, 10)
    sizes = [sample.size for sample in report.samples]
    assert sizes == sorted(sizes, reverse=True)
    assert report.samples[0].name == name_of(largest)
    assert report.next_deletion == report.now + timedelta(days=7)
    assert report.cost.dollars > 0
    assert f'"run": "{report.run}"' in as_text(report)


def test_refs_whose_blobs_are_not_listed_are_counted(site):
    [lost, *_] = site.live(3)
    site.wait(4 * DAY)
    site.store.lose(name_of(lost))
    assert site.mark("match").counts.dangling.count == 1


def test_the_hooks_are_told_of_a_concluded_mark_and_of_no_refused_one(site):
    seen = []

    class Told(Hooks):
        def on_orphans_marked(self, report):
            seen.append(report)

    site.hooks = Told()
    site.live(3)
    site.orphans()
    site.wait(4 * DAY)
    report = site.mark()
    assert seen == [report]
    site.store.unlisted = set(site.store.control("canary"))
    site.refused(site.mark)
    assert len(seen) == 1


def test_the_next_deletion_of_young_blobs_is_after_min_age_and_quarantine(site):
    site.live()
    site.orphans()
    report = site.mark()
    assert report.next_deletion == report.now + timedelta(hours=72) + timedelta(days=7)
    assert report.samples == ()


def test_the_sequence_is_in_the_database_before_the_marker_is_written(site):
    before = site.roots.ledger().sequence
    site.outer = FaultyBlobStore(site.store)
    site.outer.fail("put", StoreError("down", reason="unreachable"))
    with pytest.raises(StoreError):
        site.mark()
    assert site.roots.ledger().sequence == before + 1
    assert site.store.control("runs/") == []
    site.mark()


def test_only_the_newest_runs_are_kept_and_the_concluded_one_always(site):
    site.live(3)
    site.orphans(1)
    site.wait(4 * DAY)
    site.store.unlisted = set(site.store.control("canary"))
    for _ in range(104):
        site.refused(site.mark)
    assert len(site.store.control("marker")) == 104
    site.store.unlisted = set()
    last = site.mark()
    assert len(site.store.control("marker")) == 100
    assert len(site.store.control(last.run)) == 3
    restore(site.collector, "last")
    site.wait(20 * DAY)
    site.mark()
    assert len(site.store.control("restored/")) == 1
    site.wait(11 * DAY)
    site.mark()
    assert site.store.control("restored/") == []


def test_the_quarantine_begins_when_the_roots_have_been_read_not_when_the_run_began(site):
    [orphan] = ids(site.live(1) and site.orphans(1))
    site.wait(4 * DAY)
    site.configure(gc_max_ratio=1.0)
    site.roots.before_roots = lambda: site.wait(timedelta(hours=5))
    report = site.mark()
    assert candidates(site)[orphan].first_marked - report.now >= timedelta(hours=5)


def test_a_database_that_is_restored_just_after_its_roots_were_read_ends_the_mark(site):
    site.live(1)
    answers = iter([0, 1, 0])  # before the run, after the roots, and when the number is recorded again
    real = site.roots.ledger
    site.mark()
    before = real()

    def ledger():
        return Ledger(before.sequence + next(answers), before.canary)

    site.roots.ledger = ledger
    with pytest.raises(CollectorError, match="ledger went back"):
        site.mark()
    assert len(site.store.control("manifest")) == 1


def test_a_refused_mark_that_sees_a_candidate_live_makes_its_quarantine_begin_anew(site):
    rescued = []

    class Told(Hooks):
        def on_rescued(self, batch):
            rescued.extend(candidate.id for candidate in batch)

    site.hooks = Told()
    site.live(3)
    orphan = site.upload()
    site.wait(4 * DAY)
    site.mark()
    site.commit(orphan)
    site.wait(DAY)
    site.store.unlisted = set(site.store.control("canary"))
    site.refused(site.mark)
    assert rescued == [blob_id(orphan)]
    site.store.unlisted = set()
    site.unlink(orphan)
    site.wait(DAY)
    last = site.mark()
    assert candidates(site)[blob_id(orphan)].first_marked >= last.now
