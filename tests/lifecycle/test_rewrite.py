"""The walk that gives rows other refs: with a remaking of the test's own, over rows of every kind."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.corestores.sql_roots import SqlRoots
from offload_backend.errors import BlobCorruptError, ConfigError, CoreStoreError, RefusedError, StoreError
from offload_backend.lifecycle import rewrite as rewriting
from offload_backend.lifecycle import superseded
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.named import own_blob, ref_of
from offload_backend.lifecycle.remaking import NOTHING, Change, Need, Remade
from offload_backend.lifecycle.restore import pin
from offload_backend.lifecycle.rewrite import rewrite
from offload_backend.lifecycle.selection import TaskSelection
from offload_backend.namespace import Namespace, OffloadedValues
from offload_backend.row import row_text
from tests.inner.stores import HOME, Stores, a_ref, changed, name_in
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]

TASK = TaskAddress("etl", "run", "load")
ORDERS = AssetAddress(name="orders")
HOUR = timedelta(hours=1)
NEVER = datetime.max.replace(tzinfo=timezone.utc)


class Anew:
    """Rows whose refs' ``about`` does not say that they are new; with a new blob, or with the text alone."""

    def __init__(self, offloader, store, change=Change.VALUE):
        self.offloader, self.store = offloader, store
        self.kind = change
        self.before_return = lambda ref, address, key: None
        self.made = []

    def target(self):
        return self.store

    def is_done(self, ref):
        return "about=new" in ref

    def need(self, found):
        ref = ref_of(found)
        if ref is None or self.is_done(ref):
            return NOTHING
        blob = own_blob(ref, found, "default", HOME)
        return Need(self.kind, ref, blob, blob.size, blob.size) if blob else Need(Change.ELSEWHERE)

    def remake(self, found, need):
        made, address, key = need.text, found.row.address, found.row.key
        if self.kind is Change.VALUE:
            made = self.offloader.offload(self.offloader.resolve(need.text), address, key)
        self.made.append(key)
        self.before_return(need.text, address, key)
        name = name_in(made) if self.kind is Change.VALUE else ""
        return Remade(row_text(changed(made, about="new")), name)


class Site:
    """A deployment whose rows were all written long before now, unless a test says otherwise."""

    def __init__(self, rows=None, roots=None, **settings):
        self.rows = rows or MemoryCoreStore()
        self.roots = roots or MemoryRootSource(self.rows)
        self.stores = Stores()
        self.offloader = self.stores.offloader(inline_limit=0, **settings)
        self.store = self.stores.open(HOME)
        self.ahead = timedelta(hours=7)
        self.remaking = Anew(self.offloader, self.store)
        adopt(Collector(self.offloader.settings, self.store, self.roots))

    @property
    def collector(self):
        # Rows look old to both clocks of which the earlier one counts.
        self.rows.now = lambda: datetime.now(timezone.utc) + self.ahead
        return Collector(
            self.offloader.settings,
            self.store,
            self.roots,
            clock=lambda: datetime.now(timezone.utc) + self.ahead,
        )

    def set(self, key, value="x" * 100, address=TASK, expires_at=None):
        ref = self.offloader.offload(value, address, key)
        self.rows.set(address, key, row_text(ref), expires_at=expires_at)
        return ref

    def ref(self, key, address=TASK):
        return json.loads(self.rows.get(address, key).text)["__airflow_state_ref__"]

    def value(self, key, address=TASK):
        return self.offloader.resolve(self.ref(key, address))

    def blobs(self):
        return set(self.store.names())

    def live(self):
        return {name_in(json.loads(row.text)["__airflow_state_ref__"]) for row in self.rows.rows()}

    def rewrite(self, **options):
        return rewrite(self.collector, self.rows, self.remaking, **{"grace": timedelta(), **options})


@pytest.fixture
def site():
    return Site()


def test_each_row_names_a_new_blob_with_the_same_value_and_the_old_one_is_gone(site):
    old = {name_in(site.set(str(number), [number])) for number in range(5)}
    old.add(name_in(site.set("total", "asset", ORDERS)))
    before = {(row.address, row.key): row for row in site.rows.rows()}
    report = site.rewrite()
    assert [site.value(str(number)) for number in range(5)] == [[number] for number in range(5)]
    assert site.value("total", ORDERS) == "asset"
    assert site.blobs() == site.live()
    assert not site.blobs() & old
    assert (report.done.rows, report.done.blobs, report.deleted, report.changed, report.failures) == (6, 6, 6, 0, 0)
    assert report.done == report.wanted
    after = {(row.address, row.key): row for row in site.rows.rows()}
    for place, row in before.items():
        assert (after[place].updated_at, after[place].expires_at) == (row.updated_at, row.expires_at)


def test_a_second_run_finds_nothing_to_do(site):
    site.set("a")
    site.rewrite()
    made, blobs = len(site.remaking.made), site.blobs()
    report = site.rewrite()
    assert (report.rows, report.wanted.rows, report.done.rows, report.deleted) == (1, 0, 0, 0)
    assert len(site.remaking.made) == made
    assert site.blobs() == blobs


def test_a_dry_run_counts_the_same_and_touches_nothing(site):
    refs = [site.set(key) for key in "abc"]
    site.rows.set(TASK, "inline", "[1]", expires_at=None)
    blobs = site.blobs()
    dry = site.rewrite(dry=True)
    assert (dry.rows, dry.wanted.rows, dry.wanted.blobs) == (4, 3, 3)
    assert dry.wanted.bytes == sum(a_ref(ref).size for ref in refs)
    assert site.remaking.made == []
    assert site.blobs() == blobs
    assert {site.ref(key) for key in "abc"} == set(refs)
    assert site.rewrite().wanted == dry.wanted


def test_where_the_text_alone_changes_no_blob_does(site):
    for key in "ab":
        site.set(key)
    blobs = site.blobs()
    site.remaking.kind = Change.TEXT
    site.store.calls.clear()
    report = site.rewrite()
    assert (report.done.rows, report.done.blobs, report.done.bytes) == (2, 0, 0)
    assert (report.deleted, report.young, report.waiting) == (0, 0, 0)
    assert site.blobs() == blobs
    assert set(site.store.calls) <= {"get"}  # of the owner
    assert all("about=new" in site.ref(key) for key in "ab")


def test_what_a_task_sets_meanwhile_wins_and_the_blob_made_for_it_is_deleted(site):
    site.set("a", "old")
    site.remaking.before_return = lambda *_: site.set("a", "newer")
    report = site.rewrite()
    assert site.value("a") == "newer"
    assert (report.done.rows, report.changed, report.failures) == (0, 1, 0)
    # The blob of "old" is its writer's to reclaim, who knows that it was superseded.
    assert len(site.blobs()) == 2
    assert site.live() < site.blobs()


def test_a_row_that_is_deleted_meanwhile_does_not_come_back(site):
    site.set("a")
    site.remaking.before_return = lambda *_: site.rows.delete(TASK, "a")
    report = site.rewrite()
    assert list(site.rows.rows()) == []
    assert (report.done.rows, report.changed) == (0, 1)
    assert len(site.blobs()) == 1


def test_a_blob_that_is_gone_because_its_row_moved_on_is_no_failure(site):
    old = site.set("a", "old")

    def overtaken(*_):
        site.set("a", "newer")
        site.store.delete([name_in(old)])
        site.offloader.resolve(old)

    site.remaking.before_return = overtaken
    report = site.rewrite()
    assert (report.changed, report.failures, report.failed) == (1, 0, {})
    assert site.value("a") == "newer"


def test_one_bad_row_stops_no_other_and_is_listed_with_its_reason(site):
    for key in "abc":
        site.set(key)
    site.store.delete([name_in(site.set("gone"))])
    site.store.replace(name_in(site.set("damaged")), b"x")
    report = site.rewrite()
    assert (report.done.rows, report.failures, report.changed, report.stopped) == (3, 2, 0, False)
    assert set(report.failed) == {f"{TASK} key 'gone'", f"{TASK} key 'damaged'"}
    assert all("about=new" in site.ref(key) for key in "abc")
    assert "about=new" not in site.ref("gone") + site.ref("damaged")
    assert site.live() - site.blobs() == {name_in(site.ref("gone"))}


def test_reasons_are_listed_up_to_a_number_and_all_are_counted(site, monkeypatch):
    monkeypatch.setattr(rewriting, "SHOWN", 2)

    def corrupt(*_):
        raise BlobCorruptError("planted")

    for key in "abcd":
        site.set(key)
    site.remaking.before_return = corrupt
    report = site.rewrite()
    assert (report.failures, len(report.failed)) == (4, 2)


def test_a_store_that_is_down_is_not_asked_for_every_row(site):
    for number in range(60):
        site.set(str(number))
    site.store.fails.add("put")
    report = site.rewrite()
    assert report.stopped
    assert report.done.rows == 0
    assert rewriting.ENOUGH_TROUBLE <= report.failures < 30
    site.store.fails.clear()
    assert site.rewrite().done.rows == 60
    assert site.blobs() == site.live()


def test_a_store_that_fails_now_and_then_is_asked_on(site):
    for number in range(60):
        site.set(str(number))
    turns = iter(range(1000))

    def flaky(*_):
        if next(turns) % 3 == 0:
            raise StoreError("slow down", reason="throttled", retryable=True)

    site.remaking.before_return = flaky
    report = site.rewrite()
    assert not report.stopped
    assert (report.done.rows, report.failures) == (40, 20)


def test_trouble_with_a_setting_ends_it_at_once_and_loses_nothing(site):
    for key in "abc":
        site.set(key)

    def unusable(*_):
        raise ConfigError("no such key")

    site.remaking.before_return = unusable
    with pytest.raises(ConfigError):
        site.rewrite()
    assert site.live() <= site.blobs()


def test_rows_are_walked_in_pages_and_at_most_as_many_as_wanted(site, monkeypatch):
    monkeypatch.setattr(rewriting, "ROWS_PER_PAGE", 2)
    for key in "abcde":
        site.set(key)
    assert site.rewrite(limit=3).done.rows == 3
    assert sum("about=new" in site.ref(key) for key in "abcde") == 3
    assert site.rewrite(limit=9).done.rows == 2


def test_rows_that_fail_do_not_use_up_a_limit(site):
    for key in "abcde":
        ref = site.set(key)
        if key in "abc":
            site.store.delete([name_in(ref)])
    report = site.rewrite(limit=2)
    assert (report.done.rows, report.failures) == (2, 3)
    assert site.rewrite(limit=2).done.rows == 0


def test_only_rows_that_are_meant(site):
    site.set("a")
    other = site.set("a", address=TaskAddress("other", "run", "load"))
    report = site.rewrite(selection=TaskSelection("etl"))
    assert (report.wanted.rows, report.done.rows) == (1, 1)
    assert site.ref("a", TaskAddress("other", "run", "load")) == other


def test_what_names_no_blob_of_its_own_row_here_is_counted_and_left_alone(site):
    own = site.set("own")
    copied = row_text(own)
    peers = row_text(f"{HOME}/peer/file.json")
    elsewhere = row_text(own.replace(HOME, "s3://bucket/elsewhere"))
    for key, text in (("copied", copied), ("peer's", peers), ("elsewhere", elsewhere)):
        site.rows.set(TASK, key, text, expires_at=None)
    report = site.rewrite()
    assert (report.elsewhere, report.done.rows) == (3, 1)
    texts = {key: site.rows.get(TASK, key).text for key in ("copied", "peer's", "elsewhere")}
    assert texts == {"copied": copied, "peer's": peers, "elsewhere": elsewhere}
    # The copy names it still.
    assert name_in(own) in site.blobs()
    assert set(report.held) == {name_in(own)}
    assert report.deleted == 0


def test_a_pinned_blob_stays(site):
    old = name_in(site.set("a"))
    pin(site.collector, [old.rpartition("/")[2].partition(".")[0]])
    report = site.rewrite()
    assert report.held == {old: "a pin"}
    assert old in site.blobs()


def test_reclaim_never_leaves_what_rows_named_before():
    site = Site(reclaim="never")
    old = name_in(site.set("a"))
    report = site.rewrite()
    assert (report.done.rows, report.kept, report.deleted) == (1, 1, 0)
    assert old in site.blobs()


def test_the_blob_of_a_young_row_stays_for_its_request_may_be_repeated(site):
    site.ahead = timedelta(hours=5)
    old = site.set("a", "kept")
    report = site.rewrite()
    assert (report.done.rows, report.young, report.deleted) == (1, 1, 0)
    site.rows.set(TASK, "a", row_text(old), expires_at=None)  # the same request once more
    assert site.value("a") == "kept"


@pytest.mark.parametrize("behind", ["collector", "rows"])
def test_a_row_is_as_young_as_the_clock_that_is_behind_says(site, behind):
    site.set("a")
    collector, now = site.collector, datetime.now(timezone.utc)
    if behind == "rows":
        site.rows.now = lambda: now
    else:
        collector = Collector(collector.settings, collector.store, collector.roots, clock=lambda: now)
    report = rewrite(collector, site.rows, site.remaking, grace=timedelta())
    assert (report.young, report.deleted) == (1, 0)


def test_a_blob_has_its_grace_before_it_goes(site, monkeypatch):
    slept = []
    now = 1000.0

    class Time:
        @staticmethod
        def monotonic():
            return now

        @staticmethod
        def sleep(seconds):
            nonlocal now
            slept.append((seconds, old in site.blobs()))
            now += seconds

    monkeypatch.setattr(superseded, "time", Time)
    old, told = name_in(site.set("a")), []
    report = site.rewrite(grace=timedelta(seconds=3.5), on_step=lambda report: told.append(report.waiting))
    assert sum(seconds for seconds, _ in slept) == 3.5
    assert all(there for _, there in slept)
    assert old not in site.blobs()
    assert (report.deleted, report.waiting) == (1, 0)
    assert told == [0, 1, 1, 1, 1, 1]


def test_many_are_deleted_on_the_way(site, monkeypatch):
    monkeypatch.setattr(superseded, "BLOBS_PER_READING", 4)
    monkeypatch.setattr(rewriting, "ROWS_PER_PAGE", 2)
    for number in range(7):
        site.set(str(number))
    told = []
    site.rewrite(on_step=lambda report: told.append(report.deleted))
    assert told == [0, 0, 0, 4, 4]
    assert site.blobs() == site.live()


def test_blobs_that_the_store_does_not_delete_are_told_with_its_reason(site):
    for key in "ab":
        site.set(key)
    site.store.fails.add("some deletes")
    report = site.rewrite()
    assert report.done.rows == 2
    assert list(report.undeleted.values()) == ["access denied"]
    site.store.fails = {"delete"}
    site.set("c")
    assert list(site.rewrite().undeleted.values()) == ["the network is down"]


def test_what_took_longer_than_the_commit_window_is_not_committed(site):
    old = site.set("a")
    site.remaking.before_return = lambda *_: setattr(site, "ahead", site.ahead + timedelta(hours=6))
    report = site.rewrite()
    assert site.ref("a") == old
    assert (report.done.rows, report.changed, report.failures) == (0, 0, 1)
    assert "longer than commit_window" in report.failed[f"{TASK} key 'a'"]
    assert site.blobs() == {name_in(old)}


def test_a_row_whose_commit_took_longer_than_the_commit_window_names_again_what_it_did(site, monkeypatch):
    """By then, a collector may have deleted what it names."""
    old = {key: site.set(key) for key in "ab"}
    replace = site.rows.replace

    def slow(changes):
        monkeypatch.setattr(site.rows, "replace", replace)
        replaced = replace(changes)
        site.ahead += timedelta(hours=6)
        site.set("b", "newer")
        return replaced

    monkeypatch.setattr(site.rows, "replace", slow)
    report = site.rewrite()
    assert site.ref("a") == old["a"]
    assert site.value("a") == "x" * 100
    assert site.value("b") == "newer"
    assert (report.done.rows, report.changed, report.failures, report.deleted) == (0, 1, 1, 0)
    assert "longer than commit_window" in report.failed[f"{TASK} key 'a'"]


def test_a_row_whose_old_blob_was_purged_after_a_commit_that_took_so_long_keeps_the_new_one(site, monkeypatch):
    old = name_in(site.set("a"))
    replace = site.rows.replace

    def slow(changes):
        monkeypatch.setattr(site.rows, "replace", replace)
        replaced = replace(changes)
        site.ahead += timedelta(hours=6)
        site.store.delete([old])
        return replaced

    monkeypatch.setattr(site.rows, "replace", slow)
    site.rewrite()
    assert name_in(site.ref("a")) != old
    assert site.value("a") == "x" * 100


def test_where_a_commit_is_in_doubt_nothing_is_deleted(site, monkeypatch):
    old = name_in(site.set("a"))
    replace = site.rows.replace

    def torn(changes):
        replace(changes)
        raise CoreStoreError("the answer was lost")

    monkeypatch.setattr(site.rows, "replace", torn)
    with pytest.raises(CoreStoreError):
        site.rewrite()
    assert old in site.blobs()
    assert len(site.blobs()) == 2
    assert site.value("a") == "x" * 100


def test_a_database_that_has_not_adopted_the_blobs_is_refused_and_nothing_happens(site):
    site.set("a")
    copy = Site()
    with pytest.raises(RefusedError):
        rewrite(
            Collector(site.offloader.settings, site.store, copy.roots), copy.rows, site.remaking, grace=timedelta()
        )
    assert site.remaking.made == []


def test_a_large_blob_is_alone_on_its_way(site, monkeypatch):
    monkeypatch.setattr(rewriting, "LARGE", 1)
    for number in range(20):
        site.set(str(number))
    at_once, most = 0, 0
    lock = threading.Lock()
    remake = site.remaking.remake

    def counted(*arguments):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            time.sleep(0.005)  # the others have the time to begin
            return remake(*arguments)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(site.remaking, "remake", counted)
    assert site.rewrite().done.rows == 20
    assert most == 1


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_site(request, tmp_path):
    url = f"sqlite:///{tmp_path}/state.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    rows, roots = SqlCoreStore(url), SqlRoots(url, "default")
    list(rows.rows())
    yield Site(rows, roots)
    rows.close()
    roots.close()


def test_tasks_that_set_and_get_meanwhile_see_their_latest_value_always(sql_site):
    """Without any grace, and over and over: blobs are deleted under their readers, who read the row again."""
    site = sql_site
    site.remaking.is_done = lambda ref: False  # again and again
    values = OffloadedValues(site.offloader)
    done, rewritten = threading.Event(), 0

    def rewriter():
        nonlocal rewritten
        while not done.is_set():
            report = site.rewrite()
            assert (report.failures, report.elsewhere) == (0, 0), report.failed
            rewritten += report.done.rows

    def task(index):
        state = Namespace(site.rows, values, TaskAddress("etl", "run", "load", index))
        for number in range(12):
            state.set("key", [index, number], None)
            for _ in range(3):
                assert state.get("key", None) == [index, number]
        state.set("last", index, None)

    with ThreadPoolExecutor(4) as pool:
        rewriting = pool.submit(rewriter)
        tasks = [pool.submit(task, index) for index in range(3)]
        try:
            for each in tasks:
                each.result()
        finally:
            done.set()
        rewriting.result()
    assert rewritten > 0
    assert {site.value("last", TaskAddress("etl", "run", "load", index)) for index in range(3)} == {0, 1, 2}
    assert site.live() <= site.blobs()
