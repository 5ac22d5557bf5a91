from __future__ import annotations

import itertools
import re
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from offload_backend.address import AssetAddress, TaskAddress, blob_name, new_blob_id, parse_blob_name
from offload_backend.corestore import FoundRow
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.errors import CoreStoreError, RefusedError
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.erase import RUNNING, Eraser
from offload_backend.lifecycle.restore import pin
from offload_backend.lifecycle.selection import AssetSelection, TaskSelection
from offload_backend.rootsource import Hidden
from offload_backend.row import row_text
from tests.inner.stores import HOME, Stores, name_in

REGION = UUID("01890000-0000-7000-8000-000000000001")
LONG = "d" * 300
LOADS = (
    TaskAddress("etl", "r1", "load"),
    TaskAddress("etl", "r1", "load", 1),
    TaskAddress("etl", "r1", "load", 1, REGION),
    TaskAddress("etl", "r1", "store", 1),
    TaskAddress("etl", "r2", "load"),
)
OTHERS = (
    TaskAddress("etl2", "r1", "load"),
    TaskAddress("et", "l/r1", "load"),
    TaskAddress("r1", "etl", "load"),
    TaskAddress(LONG + "1", "r1", "load"),
    TaskAddress(LONG + "2", "r1", "load"),
    AssetAddress(name="etl"),
    AssetAddress(uri="etl"),
    AssetAddress(name="orders"),
)
EVERYWHERE = (*LOADS, *OTHERS)
OLD = timedelta(days=2)


class Site:
    """Rows and blobs in memory; by its clock everything is two days old."""

    def __init__(self, **settings):
        self.rows = MemoryCoreStore()
        self.roots = MemoryRootSource(self.rows)
        self.stores = Stores()
        self.offloader = self.stores.offloader(inline_limit=0, **settings)
        self.store = self.stores.open(HOME)
        adopt(Collector(self.offloader.settings, self.store, self.roots))
        self.store.calls.clear()
        self.events = []
        self.age = OLD

    def offload(self, address, key="k", value="x" * 100):
        return self.offloader.offload(value, address, key)

    def set(self, address, key="k", value="x" * 100):
        ref = self.offload(address, key, value)
        self.rows.set(address, key, row_text(ref), expires_at=None)
        return ref

    def erase(self, selection, *, delete=True, accept=(), **parts):
        def record(event, items):
            self.events.append((event, items))

        def clock():
            return datetime.now(timezone.utc) + self.age

        parts = {"rows": Ahead(self.rows, self.age), "roots": self.roots, "store": self.store, **parts}
        eraser = Eraser(self.offloader.settings, record=record, clock=clock, **parts)
        return eraser.erase(selection, delete=delete, accept=accept)

    def places(self):
        return {(row.address, row.key) for row in self.rows.rows()}

    def scopes(self):
        return {(parsed.scope, parsed.key) for name in self.store.names() if (parsed := parse_blob_name(name))}


class Ahead:
    """The rows, in a database whose clock is ahead."""

    def __init__(self, rows, ahead):
        self._rows, self._ahead = rows, ahead

    def now(self):
        return self._rows.now() + self._ahead

    def __getattr__(self, name):
        return getattr(self._rows, name)


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def crowd():
    """State everywhere, under two keys, and an orphan beside each."""
    site = Site()
    for address, key in itertools.product(EVERYWHERE, ("k", "k2")):
        site.set(address, key)
        site.offload(address, key, "orphan")
    return site


SELECTIONS = [
    (TaskSelection("etl"), LOADS, ("k", "k2")),
    (TaskSelection("etl", key="k"), LOADS, ("k",)),
    (TaskSelection("etl", "r1"), LOADS[:4], ("k", "k2")),
    (TaskSelection("etl", "r1", "load"), LOADS[:3], ("k", "k2")),
    (TaskSelection("etl", None, "load"), (*LOADS[:3], LOADS[4]), ("k", "k2")),
    (TaskSelection("etl", "r1", "load", 1), LOADS[1:3], ("k", "k2")),
    (TaskSelection("etl", "r1", "load", -1), LOADS[:1], ("k", "k2")),
    (TaskSelection("etl", "r1", "load", 1, "k2"), LOADS[1:3], ("k2",)),
    (TaskSelection(LONG + "1"), OTHERS[3:4], ("k", "k2")),
    (TaskSelection("et"), OTHERS[1:2], ("k", "k2")),
    (TaskSelection("unknown"), (), ()),
    (AssetSelection(AssetAddress(name="etl")), OTHERS[5:6], ("k", "k2")),
    (AssetSelection(AssetAddress(uri="etl"), "k"), OTHERS[6:7], ("k",)),
]


@pytest.mark.parametrize(
    ("selection", "addresses", "keys"), SELECTIONS, ids=[str(each[0])[:60] for each in SELECTIONS]
)
def test_exactly_what_is_meant_goes_with_its_orphans(crowd, selection, addresses, keys):
    rows, names = crowd.places(), crowd.store.names()
    meant = set(itertools.product(addresses, keys))
    dry = crowd.erase(selection, delete=False)
    assert (crowd.places(), crowd.store.names()) == (rows, names)
    report = crowd.erase(selection)
    assert crowd.places() == rows - meant
    assert len(report.rows) == len(meant)
    assert len(report.blobs) == 2 * len(meant)
    assert len(crowd.store.names()) == 2 * (len(rows) - len(meant))
    assert {found.place for found in dry.rows} == {found.place for found in report.rows}
    assert sorted(info.name for info in dry.blobs) == sorted(info.name for info in report.blobs)
    assert not set(crowd.store.names()) & {info.name for info in report.blobs}
    for address, key in crowd.places():
        assert crowd.offloader.resolve(_ref(crowd, address, key)) == "x" * 100


def _ref(site, address, key):
    (root,) = [root for root in site.roots.roots(()) if root.holder.endswith(f"{address}, key {key!r}")]
    return root.ref


def test_without_delete_nothing_is_called_that_changes_anything(site):
    site.set(LOADS[0])
    report = site.erase(TaskSelection("etl"), delete=False)
    assert (len(report.rows), len(report.blobs), report.deleted) == (1, 1, False)
    assert "delete" not in site.store.calls
    assert site.events == []


def test_objects_that_are_no_blobs_of_this_deployment_stay(site):
    other = blob_name("other", LOADS[0], "k", new_blob_id(), "json.zst")
    strange = "v1/default/task/etl/r1/load/-1/k/notes.txt"
    for name in (other, strange):
        site.store.put(name, [b"1"])
    site.set(LOADS[0])
    site.erase(TaskSelection("etl"))
    assert sorted(site.store.names()) == sorted([other, strange])


def test_a_blob_that_a_row_names_which_is_not_meant_stays_and_is_reported(site):
    ref = site.set(LOADS[0])
    site.rows.set(OTHERS[0], "copy", row_text(ref), expires_at=None)
    for delete in (False, True):
        report = site.erase(TaskSelection("etl"), delete=delete)
        assert [found.row.key for found in report.rows] == ["k"]
        assert report.blobs == []
        assert list(report.kept) == [name_in(ref)]
        assert "key 'copy'" in report.kept[name_in(ref)]
    assert site.offloader.resolve(ref) == "x" * 100


def test_a_row_that_names_the_blob_anywhere_in_its_text_keeps_it(site):
    ref = site.set(LOADS[0])
    site.rows.set(OTHERS[0], "list", f'["see {name_in(ref).upper()}"]', expires_at=None)
    report = site.erase(TaskSelection("etl"))
    assert list(report.kept) == [name_in(ref)]


def test_a_row_that_is_written_after_the_rows_were_removed_keeps_its_blob(site, monkeypatch):
    site.set(LOADS[0])
    orphan = site.offload(LOADS[0])
    remove = site.rows.remove

    def written_meanwhile(rows):
        removed = remove(rows)
        site.rows.set(LOADS[0], "k", row_text(orphan), expires_at=None)
        return removed

    monkeypatch.setattr(site.rows, "remove", written_meanwhile)
    report = site.erase(TaskSelection("etl"))
    assert site.offloader.resolve(orphan) == "x" * 100
    assert list(report.kept) == [name_in(orphan)]
    assert len(report.blobs) == 1


def test_a_row_that_is_written_anew_between_reading_and_removing_stays_with_its_blob(site, monkeypatch):
    site.set(LOADS[0])
    remove = site.rows.remove
    monkeypatch.setattr(site.rows, "remove", lambda rows: site.set(LOADS[0], value="new") and remove(rows))
    report = site.erase(TaskSelection("etl"))
    assert (report.rows, report.changed) == ([], 1)
    assert site.offloader.resolve(_ref(site, LOADS[0], "k")) == "new"


def test_a_young_blob_is_a_refusal_that_names_what_was_measured(site):
    site.age = timedelta(minutes=10)
    site.set(LOADS[0])
    with pytest.raises(RefusedError) as caught:
        site.erase(TaskSelection("etl"))
    (refusal,) = caught.value.refusals
    assert refusal.rule == RUNNING
    assert re.search(r"is (10m|6\d\ds) old", refusal.measured)
    assert "6h" in refusal.limit
    assert "--accept running" in refusal.override
    assert (len(site.places()), len(site.store.names())) == (1, 1)
    assert site.events == []
    assert len(site.erase(TaskSelection("etl"), accept=[RUNNING]).blobs) == 1
    assert site.store.names() == []


def test_a_dry_run_tells_what_would_be_refused(site):
    site.age = timedelta(minutes=10)
    site.set(LOADS[0])
    report = site.erase(TaskSelection("etl"), delete=False)
    assert [refusal.rule for refusal in report.refusals] == [RUNNING]
    assert len(report.blobs) == 1
    assert site.erase(TaskSelection("etl"), delete=False, accept=[RUNNING]).refusals == []


def test_the_commit_window_is_the_configured_one():
    site = Site(commit_window="3d")
    site.set(LOADS[0])
    with pytest.raises(RefusedError, match="3d"):
        site.erase(TaskSelection("etl"))


def test_young_blobs_of_others_are_no_reason_to_refuse(site):
    site.age = timedelta(minutes=10)
    site.set(OTHERS[0])
    kept = site.offload(LOADS[0])
    site.rows.set(OTHERS[1], "copy", row_text(kept), expires_at=None)
    assert list(site.erase(TaskSelection("etl")).kept) == [name_in(kept)]


@pytest.mark.parametrize("wrong", ["ours", "the database's"])
def test_a_clock_that_is_ahead_makes_no_blob_old(site, wrong):
    site.set(LOADS[0])
    if wrong == "ours":
        with pytest.raises(RefusedError):
            site.erase(TaskSelection("etl"), rows=site.rows)
    else:
        rows = Ahead(site.rows, OLD)
        site.age = timedelta(0)
        with pytest.raises(RefusedError):
            site.erase(TaskSelection("etl"), rows=rows)
    assert len(site.store.names()) == 1


def test_if_rows_cannot_be_seen_nothing_goes(site, monkeypatch):
    site.set(LOADS[0])
    monkeypatch.setattr(site.roots, "roots", lambda addresses: iter([Hidden(OTHERS[0], "403")]))
    with pytest.raises(CoreStoreError, match="403"):
        site.erase(TaskSelection("etl"))
    assert (len(site.places()), len(site.store.names())) == (1, 1)


def test_if_the_roots_cannot_be_read_again_no_blob_goes_and_a_second_run_finishes(site, monkeypatch):
    site.set(LOADS[0])
    roots = site.roots.roots
    readings = itertools.count()

    def lost(addresses):
        if next(readings):
            raise CoreStoreError("the connection was lost")
        return roots(addresses)

    with monkeypatch.context() as patch:
        patch.setattr(site.roots, "roots", lost)
        with pytest.raises(CoreStoreError):
            site.erase(TaskSelection("etl"))
    assert (len(site.places()), len(site.store.names())) == (0, 1)
    assert len(site.erase(TaskSelection("etl")).blobs) == 1
    assert site.store.names() == []


class Archived(Ahead):
    """Rows of which Airflow has archived one."""

    def __init__(self, rows, ahead, row):
        super().__init__(rows, ahead)
        self._row = row

    def found(self):
        yield from self._rows.found()
        yield FoundRow(self._row, ("_airflow_deleted__task_state_store__1", 7), archived=True)


def test_an_archived_row_is_counted_and_keeps_its_blob(site):
    ref = site.set(LOADS[0])
    row = site.rows.get(LOADS[0], "k")
    site.rows.delete(LOADS[0], "k")
    rows = Archived(site.rows, OLD, row)
    dry = site.erase(TaskSelection("etl"), rows=rows, delete=False)
    assert dry.archived == {"_airflow_deleted__task_state_store__1": 1}
    assert (dry.rows, dry.blobs, list(dry.kept)) == ([], [], [name_in(ref)])
    other = site.erase(TaskSelection("other"), rows=rows, delete=False)
    assert other.archived == {}


def test_values_that_are_stored_elsewhere_are_reported_without_their_facts(site):
    refs = {
        "peer": "s3://user@bucket/prefix/etl/r1/load/-1/k.json",
        "old": "s3://old/prefix/v1/default/task/etl/r1/load/-1/k/01890000-0000-7000-8000-000000000001.json#offload=1",
        "gone": "s3://bucket/prefix/v1/default/task/etl/r1/load/-1/gone/01890000-0000-7000-8000-000000000002.json.zst",
    }
    for key, ref in refs.items():
        site.rows.set(LOADS[0], key, row_text(ref), expires_at=None)
    copied = site.set(OTHERS[0])
    site.rows.set(LOADS[0], "copy", row_text(copied), expires_at=None)
    site.rows.set(LOADS[0], "inline", "[1]", expires_at=None)
    report = site.erase(TaskSelection("etl"))
    assert sorted(report.elsewhere) == sorted(
        [
            "s3://bucket/prefix/etl/r1/load/-1/k.json",
            refs["old"].partition("#")[0],
            copied.partition("#")[0],
        ]
    )
    assert len(report.rows) == 5
    assert site.offloader.resolve(copied) == "x" * 100


def test_an_asset_is_erased_under_each_of_its_names(site, monkeypatch):
    by_name, by_uri = AssetAddress(name="orders"), AssetAddress(uri="s3://orders")
    orphan = site.offload(by_uri)
    other = site.set(AssetAddress(uri="s3://other"))
    site.set(by_name)
    monkeypatch.setattr(site.rows, "aliases", {by_name: [by_uri]}.get)
    report = site.erase(AssetSelection(by_name))
    assert len(report.blobs) == 2
    assert name_in(orphan) in {info.name for info in report.blobs}
    assert site.store.names() == [name_in(other)]


def test_rows_of_another_asset_with_the_same_uri_stay_with_their_blobs(site, monkeypatch):
    by_name, by_uri, other = AssetAddress(name="orders"), AssetAddress(uri="s3://orders"), AssetAddress(name="old")
    ref = site.offload(by_uri)
    site.rows.set(other, "k", row_text(ref), expires_at=None)
    found = [FoundRow(row, ("memory", repr(other), "k"), (by_uri,)) for row in site.rows.rows()]
    monkeypatch.setattr(site.rows, "found", lambda: iter(found))
    monkeypatch.setattr(site.rows, "aliases", {by_name: [by_uri], by_uri: []}.get)
    report = site.erase(AssetSelection(by_name))
    assert (report.rows, report.blobs, list(report.kept)) == ([], [], [name_in(ref)])
    by_its_uri = site.erase(AssetSelection(by_uri), delete=False, rows=Ahead(site.rows, OLD))
    assert [each.row.address for each in by_its_uri.rows] == [other]


def test_what_cannot_be_deleted_is_reported_and_the_rest_goes(site):
    for key in "abc":
        site.set(LOADS[0], key)
    site.store.fails.add("some deletes")
    report = site.erase(TaskSelection("etl"))
    assert set(report.failed) == set(site.store.names())
    assert set(report.failed.values()) == {"access denied"}
    assert (len(report.blobs), len(report.failed), len(report.rows)) == (1, 2, 3)


def test_every_step_is_recorded_before_and_after_it_is_done(site):
    ref = site.set(LOADS[0])
    kept = site.offload(LOADS[0])
    site.rows.set(OTHERS[0], "copy", row_text(kept), expires_at=None)
    size = site.stores.at[HOME].list(name_in(ref)).__next__().size
    site.erase(TaskSelection("etl"))
    events = dict(site.events)
    assert [event for event, _ in site.events] == [
        "rows-intended",
        "rows-erased",
        "blobs-intended",
        "blobs-erased",
        "blobs-failed",
        "blobs-kept",
    ]
    assert events["rows-erased"] == [{"table": "memory", "address": str(LOADS[0]), "key": "k"}]
    assert [(item["name"], item["size"]) for item in events["blobs-erased"]] == [(name_in(ref), size)]
    assert [item["name"] for item in events["blobs-kept"]] == [name_in(kept)]
    assert "x" * 100 not in str(site.events)


def test_a_blob_of_an_asset_is_not_a_tasks():
    names = [parse_blob_name(blob_name("d", address, "k", new_blob_id(), "json")) for address in EVERYWHERE]
    assert [TaskSelection("etl").has_blob(name) for name in names] == [address in LOADS for address in EVERYWHERE]


@pytest.mark.parametrize("delete", [True, False])
def test_a_pinned_blob_is_kept_and_told(delete):
    site = Site()
    ref = site.set(LOADS[0])
    pin(
        Collector(site.offloader.settings, site.store, site.roots),
        [name_in(ref).rpartition("/")[2].partition(".")[0]],
    )
    report = site.erase(TaskSelection("etl"), delete=delete)
    assert report.kept == {name_in(ref): "a pin"}
    assert site.store.names() == [name_in(ref)]


def test_a_database_that_has_not_adopted_the_blobs_erases_nothing():
    site = Site()
    site.set(LOADS[0])
    with pytest.raises(RefusedError, match="the blobs belong to"):
        site.erase(TaskSelection("etl"), roots=MemoryRootSource(site.rows))
    assert len(site.store.names()) == 1
