"""Verify: both directions, and what only looks like trouble."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import pytest

from offload_backend.address import TaskAddress
from offload_backend.errors import RefusedError, StoreError
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.restore import pin
from offload_backend.lifecycle.verify import verify
from offload_backend.ref import BlobRef, format_ref, parse_ref
from offload_backend.row import row_text
from offload_backend.testing.faults import CountingBlobStore, FaultyBlobStore
from tests.inner.blobs import NOISE, TEXT, OldStored, Stored
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


DAMAGE = {
    "a bit at the end": lambda data: data[:-1] + b"\0",
    "a bit of the header": lambda data: data[:20] + b"?" + data[21:],
    "a bit of a frame": lambda data: data[:-115] + b"?" + data[-114:],
    "a bit of the index": lambda data: data[:-60] + b"?" + data[-59:],
    "short": lambda data: data[:-1],
    "without its seal": lambda data: data[:-113],
    "short by a byte in the middle": lambda data: data[:100] + data[101:],
    "long": lambda data: data + b"x",
    "very long": lambda data: data + bytes(10**6),
    "long by a byte in the middle": lambda data: data[:100] + b"x" + data[100:],
    "empty": lambda data: b"",
    "another blob's": lambda data: OldStored(TEXT).data,
}


@pytest.mark.parametrize("framing", ["sealed", "zstd"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_blob_is_corrupt_when_contents_are_read(site, damage, framing):
    ref = first_ref(site) if framing == "sealed" else older(site)
    name = name_of(ref)
    site.store.replace(name, DAMAGE[damage](b"".join(site.store.get(name))))
    assert checked(site, contents=False).corrupt == 0
    report = checked(site)
    assert (report.corrupt, report.dangling) == (1, 0)
    assert problems(report) == [(name, "corrupt")]
    assert report.checked.count == 3


def test_a_blob_of_the_older_framing_is_verified_too(site):
    older(site)
    report = checked(site)
    assert (report.corrupt, report.dangling, report.checked.count) == (0, 0, 3)
    assert report.checked.bytes == sum(len(b"".join(site.store.get(name))) for name in site.store.blobs())


def older(site):
    """The first row's ref and blob as they were before there were seals."""
    ref = first_ref(site)
    stored = OldStored(TEXT, blob_id(ref))
    facts = {
        "size": len(stored.data),
        "raw": len(TEXT),
        "digest": stored.facts["sha256"],
        "frames": "zstd",
        "seal": 0,
    }
    text = format_ref(replace(parse_ref(ref), **facts))
    site.store.replace(name_of(ref), stored.data)
    site.core_store.set(TASK, f"row-{blob_id(ref)}", row_text(text))
    return text


@pytest.mark.parametrize(
    ("framing", "fact"),
    [*(("sealed", fact) for fact in ("size", "raw", "seal", "digest")), ("zstd", "size"), ("zstd", "digest")],
)
def test_only_the_row_whose_ref_tells_other_facts_is_in_trouble(site, framing, fact):
    ref = parse_ref(first_ref(site) if framing == "sealed" else older(site))
    assert isinstance(ref, BlobRef)
    forged = replace(ref, **{fact: "0" * 64 if fact == "digest" else getattr(ref, fact) + 1})
    site.core_store.set(TASK, "forged", row_text(format_ref(forged)))
    report = checked(site)
    assert [item.holder for item in report.found] == [f"{TASK}, key 'forged'"]
    assert report.corrupt == 1


@pytest.mark.parametrize("facts", [{"seal": 0}, {"seal": 10**18}, {"size": 10**18}, {"raw": 10**18}, {"raw": 0}])
def test_a_row_whose_ref_claims_too_much_is_in_trouble_and_takes_no_memory(site, facts):
    ref = parse_ref(first_ref(site))
    assert isinstance(ref, BlobRef)
    site.core_store.set(TASK, "forged", row_text(format_ref(replace(ref, **facts))))
    tracemalloc.start()
    report = checked(site)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.holder for item in report.found] == [f"{TASK}, key 'forged'"]
    assert peak < 10**7


def test_a_blob_whose_seal_is_another_at_the_second_reading_is_corrupt(site):
    name = name_of(first_ref(site))
    get = site.store.get
    site.store.get = lambda asked: iter([b"".join(get(asked))[:-1] + b"?"] if asked == name else get(asked))
    [item] = checked(site).found
    assert (item.name, item.problem) == (name, "corrupt: its seal is another at every reading")


def test_a_blob_that_ends_earlier_at_the_second_reading_is_corrupt(site):
    name = name_of(first_ref(site))
    get, size = site.store.get, len(b"".join(site.store.get(name)))
    site.store.get = lambda asked: iter([b"".join(get(asked))[:-1]] if asked == name else get(asked))
    [item] = checked(site).found
    assert item.problem == f"corrupt: expected {size} bytes, got {size - 1}"


def test_a_blob_longer_than_its_ref_says_is_not_read_to_its_end(site):
    name = name_of(first_ref(site))
    data, get, taken = b"".join(site.store.get(name)), site.store.get, []

    def endless(asked):
        yield data
        for n in range(1000):
            taken.append(n)
            yield bytes(100_000)

    site.store.get = lambda asked: endless(asked) if asked == name else get(asked)
    [item] = checked(site).found
    assert item.problem == f"corrupt: expected {len(data)} bytes, got more"
    assert taken == [0]


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


@pytest.mark.parametrize("framing", ["sealed", "zstd"])
def test_a_blob_of_any_size_is_read_in_flat_memory(site, framing):
    ref, content = first_ref(site), NOISE * 4
    pinned = {"size": "size", "raw": "raw", "seal": "seal", "blake3": "digest", "sha256": "digest"}
    stored = Stored(content, blob_id=blob_id(ref)) if framing == "sealed" else OldStored(content, blob_id(ref))
    facts = {pinned[fact]: value for fact, value in stored.facts.items() if fact in pinned}
    big = format_ref(BlobRef(ref.partition("#")[0], codec="json", frames=framing, **facts))
    site.core_store.set(TASK, f"row-{blob_id(ref)}", row_text(big))
    site.store.replace(name_of(ref), stored.data)
    tracemalloc.start()
    report = checked(site)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.corrupt, report.checked.bytes > len(content)) == (0, True)
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
