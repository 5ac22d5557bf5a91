"""Verify: both directions, and what only looks like trouble."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import pytest

from offload_backend.address import TaskAddress
from offload_backend.blobfile import BlobFile
from offload_backend.errors import RefusedError, StoreError
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.restore import pin
from offload_backend.lifecycle.verify import verify
from offload_backend.ref import BlobRef, format_ref, parse_ref
from offload_backend.row import row_text
from offload_backend.testing.faults import CountingBlobStore, FaultyBlobStore
from tests.lifecycle.simulation import DAY, LOCATION, TASK, Site, as_text, blob_id, name_of

MIB = 1024 * 1024


@pytest.fixture
def site():
    site = Site()
    site.live(3)
    site.wait(4 * DAY)
    return site


def checked(site, contents=True):
    return verify(site.collector, contents=contents)


def problems(report):
    return [(item.name, item.problem.partition(":")[0]) for item in report.found]


def first_ref(site):
    return json.loads(next(iter(site.core_store.rows())).text)["__airflow_state_ref__"]


@pytest.mark.parametrize("contents", [True, False])
def test_a_healthy_deployment_has_no_trouble(site, contents):
    site.adopt()
    before, ledger = site.store.names(), site.roots.ledger()
    report = checked(site, contents)
    assert (report.dangling, report.corrupt, report.found, report.elsewhere) == (0, 0, (), 0)
    assert report.orphans.count == 0
    assert report.checked.count == (3 if contents else 0)
    assert (site.store.names(), site.roots.ledger()) == (before, ledger)
    as_text(report)


def test_it_needs_no_adoption(site):
    assert checked(site).counts.live.count == 3


def test_orphans_are_old_blobs_that_nothing_keeps(site):
    site.orphans(1)
    pinned = site.upload()
    pin(site.collector, [blob_id(pinned)])
    site.wait(timedelta(hours=72, seconds=1))
    site.orphans(2)
    report = checked(site)
    assert (report.orphans.count, report.counts.young.count, report.counts.pinned.count) == (1, 2, 1)


@pytest.mark.parametrize("contents", [True, False])
def test_a_ref_whose_blob_is_gone_is_dangling_and_names_its_row(site, contents):
    ref = first_ref(site)
    site.store.lose(name_of(ref))
    report = checked(site, contents)
    assert (report.dangling, report.corrupt) == (1, 0)
    assert report.checked.count == (2 if contents else 0)
    [item] = report.found
    assert (item.name, item.problem) == (name_of(ref), "gone")
    assert item.holder == f"{TASK}, key 'row-{blob_id(ref)}'"


def test_every_row_that_holds_a_dangling_ref_is_told(site):
    ref = first_ref(site)
    site.core_store.set(TASK, "copy", row_text(ref))
    site.store.lose(name_of(ref))
    report = checked(site)
    assert report.dangling == 2
    assert len({item.holder for item in report.found}) == 2


def test_a_blob_written_after_the_listing_is_not_dangling(site):
    site.roots.before_roots = site.live
    report = checked(site)
    assert report.dangling == 0


def test_a_blob_that_a_stale_listing_leaves_out_is_not_dangling(site):
    site.store.unlisted = site.store.blobs()
    report = checked(site, contents=False)
    assert (report.dangling, report.counts.dangling.count) == (0, 3)


def test_a_row_that_was_replaced_meanwhile_is_not_dangling(site):
    """Its blob may be reclaimed between the reading of the roots and the look at the store."""
    ref = first_ref(site)
    site.outer = FaultyBlobStore(site.store)
    site.store.unlisted = {name_of(ref)}

    def superseded():
        site.store.lose(name_of(ref))
        site.core_store.set(TASK, f"row-{blob_id(ref)}", row_text(site.upload()))

    site.outer.run_before("get_range", superseded)
    assert checked(site, contents=False).dangling == 0


def test_a_row_that_is_gone_meanwhile_is_neither_dangling_nor_corrupt(site):
    ref = first_ref(site)
    site.store.replace(name_of(ref), b"rubbish")
    readings = []

    def second_reading():
        readings.append(1)
        if len(readings) == 2:
            site.unlink(ref)

    site.roots.before_roots = second_reading
    assert checked(site).corrupt == 0
    assert len(readings) == 2


def test_the_rows_are_read_once_where_nothing_is_suspected(site):
    readings = []
    site.roots.before_roots = lambda: readings.append(1)
    checked(site)
    assert len(readings) == 1


@pytest.mark.parametrize("damage", ["bit", "short", "long", "empty"])
def test_a_damaged_blob_is_corrupt_when_contents_are_read(site, damage):
    name = name_of(first_ref(site))
    data = b"".join(site.store.get(name))
    changed = {"bit": data[:-1] + b"\0", "short": data[:-1], "long": data + b"x", "empty": b""}[damage]
    site.store.replace(name, changed)
    assert checked(site, contents=False).corrupt == 0
    report = checked(site)
    assert (report.corrupt, report.dangling) == (1, 0)
    assert problems(report) == [(name, "corrupt")]
    assert report.checked.count == 3


@pytest.mark.parametrize("fact", ["size", "digest"])
def test_only_the_row_whose_ref_tells_other_facts_is_in_trouble(site, fact):
    ref = parse_ref(first_ref(site))
    assert isinstance(ref, BlobRef)
    forged = replace(ref, **{fact: ref.size + 1 if fact == "size" else "0" * 64})
    site.core_store.set(TASK, "forged", row_text(format_ref(forged)))
    report = checked(site)
    assert [item.holder for item in report.found] == [f"{TASK}, key 'forged'"]
    assert report.corrupt == 1


def test_a_blob_that_goes_while_contents_are_read_is_dangling_if_its_row_stays(site):
    ref = first_ref(site)
    site.outer = FaultyBlobStore(site.store)
    site.outer.run_before("get", lambda: site.store.lose(min(site.store.blobs())))
    report = checked(site)
    assert (report.dangling, report.corrupt) == (1, 0)
    assert ref


def test_a_store_that_fails_is_an_error_and_no_damage(site):
    site.outer = FaultyBlobStore(site.store)
    site.outer.fail("get", StoreError("down", reason="unreachable"))
    with pytest.raises(StoreError):
        checked(site)


def test_refs_elsewhere_and_newer_ones_are_counted_and_not_looked_for(site):
    ref = parse_ref(first_ref(site))
    assert isinstance(ref, BlobRef)
    other = ref.url.replace(LOCATION, "s3://old/place")
    texts = [
        format_ref(BlobRef(other, 1, 1, "0" * 64, "json")),
        first_ref(site).replace("offload=1", "offload=2"),
        first_ref(site).replace("v1/prod/", "v1/stage/"),
    ]
    for number, text in enumerate(texts):
        site.core_store.set(TASK, f"other-{number}", row_text(text))
    site.adopt()
    report = checked(site)
    assert (report.elsewhere, report.dangling) == (3, 0)


def test_a_blob_is_read_once_however_many_rows_hold_its_ref(site):
    ref = first_ref(site)
    for number in range(5):
        site.core_store.set(TASK, f"copy-{number}", row_text(ref))
    site.outer = CountingBlobStore(site.store)
    checked(site)
    assert site.outer.names["get"].count(name_of(ref)) == 1


def test_a_listed_blob_is_not_asked_for_without_contents(site):
    site.outer = CountingBlobStore(site.store)
    checked(site, contents=False)
    assert (site.outer.calls["get"], site.outer.calls["get_range"]) == (0, 0)


def test_blobs_without_rows_are_not_read(site):
    orphan = site.upload()
    site.outer = CountingBlobStore(site.store)
    checked(site)
    assert name_of(orphan) not in site.outer.names["get"]


@pytest.mark.parametrize("frames", ["sealed", "zstd"])
def test_a_blob_of_any_size_is_read_in_flat_memory(site, frames):
    made = BlobFile({}, (b"x" * 4 * MIB for _ in range(16)), level=0, max_raw=64 * MIB)
    data = b"".join(made)
    digest = made.blake3 if frames == "sealed" else hashlib.sha256(data).hexdigest()
    ref = first_ref(site)
    url = ref.partition("#")[0]
    big = BlobRef(
        url, made.size, made.raw, digest, "json", seal=made.seal if frames == "sealed" else 0, frames=frames
    )
    site.store.replace(name_of(ref), data)
    site.core_store.set(TASK, f"row-{blob_id(ref)}", row_text(format_ref(big)))
    site.wait(4 * DAY)
    tracemalloc.start()
    report = checked(site)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.corrupt, report.checked.bytes > 64 * MIB) == (0, True)
    assert peak < 16 * MIB


def test_a_source_that_asks_by_address_is_asked_for_all_addresses(site):
    site.roots.by_address = True
    young = TaskAddress("young", "r", "t")
    site.upload(young)
    checked(site)
    assert set(site.roots.asked) == {TASK, young}


def test_the_hooks_are_told_of_all_trouble(site):
    seen = []

    class Told(Hooks):
        def on_dangling(self, batch):
            seen.extend(batch)

    site.hooks = Told()
    site.store.lose(name_of(first_ref(site)))
    report = checked(site)
    assert tuple(seen) == report.found


def test_the_report_tells_a_thousand_and_counts_all(site):
    ref = parse_ref(first_ref(site))
    assert isinstance(ref, BlobRef)
    for number in range(1005):
        url = ref.url.replace(blob_id(first_ref(site)), f"01999999-9999-7aaa-8bbb-{number:012x}")
        site.core_store.set(TASK, f"lost-{number}", row_text(format_ref(BlobRef(url, 1, 1, "0" * 64, "json"))))
    report = checked(site, contents=False)
    assert (report.dangling, len(report.found)) == (1005, 1000)


def test_a_hook_that_raises_is_told_as_such(site):
    class Broken(Hooks):
        def extra_roots(self):
            raise ValueError("a secret")

    site.hooks = Broken()
    with pytest.raises(RefusedError, match="extra_roots"):
        checked(site)
