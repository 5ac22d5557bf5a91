from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.errors import CoreStoreError, RefusedError
from offload_backend.lifecycle import expire as expiry
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.expire import ASSETS, expire
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.restore import pin, unpin
from offload_backend.row import row_text
from tests.inner.stores import HOME, Stores, a_ref, name_in

NOW = datetime.now(timezone.utc)
PAST = NOW - timedelta(days=1)
LATER = NOW + timedelta(days=1)
TASK = TaskAddress("etl", "run", "load")


class Site:
    """Rows in memory and blobs in memory, as a deployment writes them."""

    def __init__(self, **settings):
        self.rows = MemoryCoreStore()
        self.stores = Stores()
        self.offloader = self.stores.offloader(inline_limit=0, **settings)
        self.store = self.stores.open(HOME)
        self.roots = MemoryRootSource(self.rows)
        self.hooks = Hooks()
        adopt(self.collector)
        self.store.calls.clear()

    @property
    def collector(self):
        return Collector(self.offloader.settings, self.store, self.roots, self.hooks)

    def set(self, key, value="x" * 100, address=TASK, expires_at=PAST):
        ref = self.offloader.offload(value, address, key)
        self.rows.set(address, key, row_text(ref), expires_at=expires_at)
        return ref

    def expire(self, **options):
        return expire(self.collector, self.rows, **{"delete": True, **options})

    def left(self):
        return {row.key for row in self.rows.rows()}

    def resolved(self, key):
        row = self.rows.get(TASK, key)
        return self.offloader.resolve(json.loads(row.text)["__airflow_state_ref__"])


def a_blob(ref):
    """The id of the blob that the ref names."""
    return name_in(ref).rpartition("/")[2].partition(".")[0]


@pytest.fixture(autouse=True)
def one_reading_a_batch(monkeypatch):
    monkeypatch.setattr(expiry, "ROWS_PER_READING", 1)


@pytest.fixture
def site():
    return Site()


def test_rows_past_their_end_go_with_exactly_their_blobs(site):
    refs = [site.set("a"), site.set("b")]
    site.set("later", expires_at=LATER)
    site.set("never", expires_at=None)
    orphan = site.offloader.offload("orphan", TASK, "a")
    report = site.expire()
    assert site.left() == {"later", "never"}
    assert site.resolved("later") == site.resolved("never") == "x" * 100
    assert name_in(orphan) in site.store.names()
    assert len(site.store.names()) == 3
    assert (report.total.rows, report.total.blobs) == (2, 2)
    assert report.total.bytes == sum(a_ref(ref).size for ref in refs)
    assert (report.failed, report.changed, report.elsewhere, report.kept) == ({}, 0, 0, 0)


def test_without_delete_it_counts_the_same_and_touches_nothing(site):
    for key in "abc":
        site.set(key)
    before = site.store.names()
    dry = site.expire(delete=False, batch_size=2)
    assert site.left() == set("abc")
    assert site.store.names() == before
    assert "delete" not in site.store.calls
    assert (dry.total.rows, dry.total.blobs) == (3, 3)
    assert dry.total == site.expire(batch_size=2).total


def test_inline_values_go_without_a_request_to_the_store(site):
    site.rows.set(TASK, "inline", "[1, 2]", expires_at=PAST)
    site.rows.set(TASK, "not JSON", "{", expires_at=PAST)
    report = site.expire()
    assert (report.total.rows, report.total.blobs, report.elsewhere) == (2, 0, 0)
    assert set(site.store.calls) <= {"get"}  # of the owner


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
def test_batches_are_as_large_as_configured_and_each_is_followed_by_its_deletes(site, batch_size):
    for number in range(5):
        site.set(str(number))
    seen = []
    report = site.expire(
        batch_size=batch_size, on_batch=lambda report: seen.append((report.total.rows, len(site.store.names())))
    )
    assert seen == [(done, 5 - done) for done in (*range(batch_size, 5, batch_size), 5)]
    assert report.total.rows == 5


def test_without_a_batch_size_there_are_batches_all_the_same(site, monkeypatch):
    monkeypatch.setattr(expiry, "ROWS_PER_BATCH", 2)
    for number in range(5):
        site.set(str(number))
    sizes = []
    remove = site.rows.remove
    monkeypatch.setattr(site.rows, "remove", lambda rows: sizes.append(len(rows)) or remove(rows))
    assert site.expire(batch_size=0).total.rows == 5
    assert sizes == [2, 2, 1]


def test_a_row_that_is_refreshed_after_it_was_selected_survives_with_its_blob(site, monkeypatch):
    for key in ("text", "end", "same"):
        site.set(key)
    remove = site.rows.remove

    def refreshed_meanwhile(rows):
        site.set("text", "new", expires_at=LATER)
        row = site.rows.get(TASK, "end")
        site.rows.set(TASK, "end", row.text, expires_at=LATER)
        return remove(rows)

    monkeypatch.setattr(site.rows, "remove", refreshed_meanwhile)
    report = site.expire()
    assert site.left() == {"text", "end"}
    assert (report.total.rows, report.total.blobs, report.changed) == (1, 1, 2)
    assert site.resolved("text") == "new"
    assert site.resolved("end") == "x" * 100


@pytest.mark.parametrize("expires_at", [None, LATER])
def test_a_row_that_is_not_due_stays_even_if_the_core_store_says_it_were(site, monkeypatch, expires_at):
    site.set("key", expires_at=expires_at)
    monkeypatch.setattr(site.rows, "expired", lambda *_, after=None, **__: [] if after else list(site.rows.found()))
    assert site.expire(batch_size=1).total.rows == 0
    assert site.resolved("key") == "x" * 100


@pytest.mark.parametrize("wrong", ["ours", "the database's"])
def test_of_two_clocks_the_earlier_one_counts(site, monkeypatch, wrong):
    site.set("key", expires_at=LATER)
    ahead = NOW + timedelta(days=2)
    if wrong == "ours":
        report = site.expire(clock=lambda: ahead)
    else:
        monkeypatch.setattr(site.rows, "now", lambda: ahead)
        report = site.expire()
    assert report.total.rows == 0
    assert report.now < LATER
    assert site.left() == {"key"}


def test_reclaim_never_leaves_every_blob(site):
    site = Site(reclaim="never")
    site.set("a")
    site.set("b", expires_at=None)
    report = site.expire()
    assert site.left() == {"b"}
    assert len(site.store.names()) == 2
    assert (report.total.rows, report.total.blobs, report.total.bytes, report.kept) == (1, 0, 0, 1)
    assert "delete" not in site.store.calls


def test_a_blob_that_was_written_for_another_row_stays(site):
    ref = site.set("original", expires_at=None)
    site.rows.set(TASK, "copy", row_text(ref), expires_at=PAST)
    site.rows.set(AssetAddress(name="copy"), "original", row_text(ref), expires_at=PAST)
    report = site.expire()
    assert site.left() == {"original"}
    assert site.resolved("original") == "x" * 100
    assert (report.total.rows, report.total.blobs, report.elsewhere) == (2, 0, 2)


@pytest.mark.parametrize(
    "ref",
    [
        "s3://bucket/prefix/etl/run/load/-1/key.json",
        "s3://elsewhere/prefix/v1/default/task/etl/run/load/-1/key/01890000-0000-7000-8000-000000000001.json.zst"
        f"#offload=1&size=1&raw=1&sha256={'0' * 64}&codec=json&frames=zstd",
        "s3://bucket/prefix/v1/other/task/etl/run/load/-1/key/01890000-0000-7000-8000-000000000001.json.zst"
        f"#offload=1&size=1&raw=1&sha256={'0' * 64}&codec=json&frames=zstd",
        "s3://bucket/prefix/v1/default/a#offload=99",
    ],
    ids=["the peer's", "another location", "another deployment", "a newer format"],
)
def test_what_is_not_ours_to_delete_is_left_and_counted(site, ref):
    site.rows.set(TASK, "key", row_text(ref), expires_at=PAST)
    report = site.expire()
    assert site.left() == set()
    assert (report.total.rows, report.total.blobs, report.elsewhere) == (1, 0, 1)
    assert set(site.store.calls) <= {"get"}  # of the owner


def test_a_blob_that_is_gone_already_is_no_failure(site):
    ref = site.set("key")
    site.store.delete([name_in(ref)])
    report = site.expire()
    assert (report.total.rows, report.failed) == (1, {})


def test_blobs_that_cannot_be_deleted_are_reported_and_their_rows_stay_removed(site):
    refs = {name_in(site.set(str(number))) for number in range(4)}
    site.store.fails.add("some deletes")
    report = site.expire(batch_size=2)
    assert site.left() == set()
    assert set(report.failed.values()) == {"access denied"}
    assert set(report.failed) < refs
    assert set(report.failed) == set(site.store.names())
    assert (report.total.rows, report.total.blobs, report.stopped) == (4, 2, False)
    assert report.total.bytes == report.dags["etl"].bytes > 0


def test_when_the_store_deletes_nothing_the_rows_of_later_batches_stay(site):
    for number in range(6):
        site.set(str(number))
    site.store.fails.add("delete")
    report = site.expire(batch_size=2)
    assert len(site.left()) == 4
    assert (report.total.rows, report.total.blobs, len(report.failed), report.stopped) == (2, 0, 2, True)


class Killed(BaseException):
    pass


def test_killed_between_the_commit_and_the_deletes_it_leaves_orphans_only(site, monkeypatch):
    for number in range(4):
        site.set(str(number))
    site.set("live", expires_at=None)

    def killed(names):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "delete", killed)
        with pytest.raises(Killed):
            site.expire(batch_size=2)
    assert len(site.left()) == 3
    for key in site.left():
        assert site.resolved(key)
    assert site.expire(batch_size=2).total.rows == 2
    assert site.left() == {"live"}
    assert len(site.store.names()) == 1 + 2


def test_if_the_commit_is_in_doubt_no_blob_is_deleted(site, monkeypatch):
    site.set("key")
    remove = site.rows.remove

    def answer_lost(rows):
        remove(rows)
        raise CoreStoreError("the connection was lost")

    monkeypatch.setattr(site.rows, "remove", answer_lost)
    with pytest.raises(CoreStoreError):
        site.expire()
    assert len(site.store.names()) == 1
    assert "delete" not in site.store.calls


def test_it_counts_by_dag_and_assets_apart(site):
    site.set("a")
    site.set("b", address=TaskAddress("other", "run", "load"))
    site.set("c", address=AssetAddress(uri="s3://shop/orders"))
    report = site.expire()
    assert {dag: (tally.rows, tally.blobs) for dag, tally in report.dags.items()} == {
        "etl": (1, 1),
        "other": (1, 1),
        ASSETS: (1, 1),
    }
    assert report.total.rows == 3


def test_a_blob_that_another_row_names_stays(site):
    ref = site.set("a")
    site.rows.set(TASK, "copy", row_text(ref), expires_at=LATER)
    report = site.expire()
    assert site.left() == {"copy"}
    assert site.resolved("copy") == "x" * 100
    assert (list(report.held), report.total.rows, report.total.blobs) == ([name_in(ref)], 1, 0)


def test_a_pinned_blob_stays_until_it_is_unpinned(site):
    ref = site.set("a")
    pin(site.collector, [a_blob(ref)])
    assert list(site.expire(delete=False).held.values()) == ["a pin"]
    assert list(site.expire().held) == [name_in(ref)]
    assert site.store.names() == [name_in(ref)]
    site.set("a")
    unpin(site.collector, [a_blob(ref)])
    assert site.expire().total.blobs == 1
    assert site.store.names() == [name_in(ref)]  # its row is gone: the collector's, now


def test_a_blob_that_a_hook_names_stays(site):
    ref = site.set("a")

    class Keeping(Hooks):
        def extra_roots(self):
            return [ref]

    site.hooks = Keeping()
    assert list(site.expire().held.values()) == ["a hook"]
    assert site.store.names() == [name_in(ref)]


def test_rows_of_a_database_that_has_not_adopted_the_blobs_stay(site):
    site.set("a")
    for roots in (MemoryRootSource(site.rows), site.roots):
        if roots is site.roots:
            for name in [blob.name for blob in site.store.list() if "/owner/" in blob.name]:
                site.store.delete([name])
        copy = Collector(site.offloader.settings, site.store, roots)
        with pytest.raises(RefusedError, match="offload gc adopt"):
            expire(copy, site.rows, delete=True)
    assert site.left() == {"a"}
    assert len(site.store.names()) == 1


def test_many_rows_are_removed_before_the_others_are_read_again(site, monkeypatch):
    monkeypatch.setattr(expiry, "ROWS_PER_READING", 4)
    read = []
    real = site.roots.roots
    monkeypatch.setattr(site.roots, "roots", lambda asked: read.append(len(site.left())) or real(asked))
    for number in range(10):
        site.set(f"k{number}")
    assert site.expire(batch_size=2).total.blobs == 10
    assert read == [8, 4, 0]
    assert site.store.names() == []
