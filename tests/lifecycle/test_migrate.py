"""Rows that come to the path: from the peer, from rows that are long, from another location."""

from __future__ import annotations

import gzip
import json
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.errors import ConfigError, RefusedError
from offload_backend.lifecycle import rowvalues
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.migrate import MovingHere, MovingIn
from offload_backend.lifecycle.selection import TaskSelection
from offload_backend.ref import BlobRef, parse_ref, signature_of
from offload_backend.row import envelope, is_typed
from tests.inner.stores import a_ref
from tests.lifecycle.migrating import HERE, MAPPED, OLD, ORDERS, PEER, TASK, URI, Estate, before

LATER = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
VALUE = {"epoch": 3, "loss": [0.1, 2**70, -0.0], "text": "é\ud800"[:1]}


def moving_in(estate, **options):
    return estate.migrate(MovingIn(estate.settings, estate.stores.open), **options)


def moving_here(estate, **options):
    moving = MovingHere(estate.settings, estate.stores.open, OLD)
    return estate.migrate(moving, old=OLD, **{"delete": False, **options})


class TestFromThePeer:
    def test_each_value_comes_to_a_blob_of_ours_and_nothing_of_the_peers_goes(self):
        estate = Estate()
        estate.set_by_peer("a", VALUE, expires_at=LATER)
        estate.set_by_peer("b/c", [1], MAPPED)
        estate.set_by_peer("total", {"n": 1}, ORDERS)
        estate.set_by_peer("by uri", {"n": 2}, ORDERS, named=URI)
        estate.set_by_peer("zipped", "text", data=gzip.compress(b'"text"'))
        before_it = {row.key: row for row in estate.rows.rows()}
        theirs = estate.names(PEER)
        report = moving_in(estate)
        assert (report.done.rows, report.wanted.rows, report.failures, report.elsewhere) == (5, 5, 0, 0)
        assert report.done.bytes == sum(a_ref(estate.held(row.key, row.address)).size for row in estate.rows.rows())
        assert estate.value("a") == VALUE
        assert estate.value("b/c", MAPPED) == [1]
        assert estate.value("total", ORDERS) == {"n": 1}
        assert estate.value("zipped") == "text"
        # Whoever knows the asset by its uri has stored it under that.
        assert "/asset/uri=" in estate.held("by uri", ORDERS)
        assert "/asset/name=orders/" in estate.held("total", ORDERS)
        assert estate.names(PEER) == theirs
        assert len(estate.names()) == 5
        for row in estate.rows.rows():
            was = before_it[row.key]
            assert (row.updated_at, row.expires_at) == (was.updated_at, was.expires_at)
        again = moving_in(estate)
        assert (again.wanted.rows, again.done.rows) == (0, 0)
        assert len(estate.names()) == 5

    def test_a_small_value_stays_in_its_row_as_a_worker_would_have_written_it(self):
        estate = Estate(inline_limit=500)
        estate.set_by_peer("small", [1, "two"])
        estate.set_by_peer("large", ["word"] * 500)
        estate.set_by_peer("not a number", None, data=b"[NaN]")
        moving_in(estate)
        assert estate.text("small") == envelope('[1,"two"]')
        assert is_typed(estate.held("not a number"))
        assert estate.value("large") == ["word"] * 500
        assert len(estate.names()) == 1

    def test_what_the_peer_sets_meanwhile_wins_although_the_row_says_the_same_again(self):
        estate = Estate()
        estate.set_by_peer("a", "old")
        moving = MovingIn(estate.settings, estate.stores.open)
        offloader = moving._offloader
        with before(offloader, "offload", lambda: estate.set_by_peer("a", "newer")):
            report = estate.migrate(moving)
        assert (report.done.rows, report.changed) == (0, 1)
        assert estate.value("a") == "newer"
        assert estate.names() == set()
        moving_in(estate)
        assert estate.value("a") == "newer"

    def test_whose_a_value_is_says_the_row_and_a_ref_of_other_state_is_not_made_good(self):
        estate = Estate()
        name = estate.set_by_peer("a", "mine")
        estate.rows.set(MAPPED, "a", envelope(f"s3://conn@bucket/peer/{name}"), expires_at=None)
        report = moving_in(estate)
        assert (report.done.rows, report.failures) == (1, 1)
        assert "stored for other state" in report.failed[f"{MAPPED} key 'a'"]
        assert estate.held("a", MAPPED) == f"s3://conn@bucket/peer/{name}"

    def test_where_rows_were_moved_on_purpose_the_value_becomes_the_rows_own(self):
        estate = Estate(isolation="deployment")
        name = estate.set_by_peer("a", "moved")
        estate.rows.set(MAPPED, "b", envelope(f"s3://conn@bucket/peer/{name}"), expires_at=None)
        assert moving_in(estate).done.rows == 2
        assert "/run%2F1/load/7/b/" in estate.held("b", MAPPED)
        assert estate.value("b", MAPPED) == "moved"

    def test_one_bad_row_stops_no_other_and_stays_as_it_is(self):
        estate = Estate()
        estate.set_by_peer("good", 1)
        estate.stores.open(PEER).delete([estate.set_by_peer("gone", 1)])
        estate.set_by_peer("damaged", 1, data=b"\x1f\x8bx")
        outside = envelope("s3://conn@elsewhere/peer/etl/run%2F1/load/-1/outside")
        estate.rows.set(TASK, "outside", outside, expires_at=None)
        texts = {key: estate.text(key) for key in ("gone", "damaged", "outside")}
        report = moving_in(estate)
        assert (report.done.rows, report.failures) == (1, 3)
        assert "read_paths" in report.failed[f"{TASK} key 'outside'"]
        assert {key: estate.text(key) for key in texts} == texts

    def test_refs_are_signed_and_blobs_encrypted_but_not_what_a_task_would_refuse(self, monkeypatch):
        monkeypatch.setenv("KEY", "1" * 64)
        keys = {"signing_keys": "s=env:KEY", "encryption_keys": "k=env:KEY"}
        estate = Estate(**keys)
        estate.set_by_peer("a", "secret")
        report = moving_in(estate)
        assert report.failures == 1
        assert "unsigned_refs = accept" in report.failed[f"{TASK} key 'a'"]
        estate.settings = estate.settings.replaced({"unsigned_refs": "accept", "unencrypted_blobs": "accept"})
        assert moving_in(estate).done.rows == 1
        assert signature_of(estate.held("a")).signer == "s"
        assert parse_ref(estate.held("a")).key == "k"
        assert estate.value("a", unsigned_refs="refuse", unencrypted_blobs="refuse") == "secret"

    def test_of_large_values_one_at_a_time_is_in_memory(self, monkeypatch):
        monkeypatch.setattr(rowvalues, "LARGE", 100)
        estate = Estate(concurrency=4)
        for number in range(12):
            estate.set_by_peer(str(number), "x" * 200)
        moving = MovingIn(estate.settings, estate.stores.open)
        offload, lock, at_once, most = moving._offloader.offload, threading.Lock(), 0, 0

        def counted(*arguments):
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.005)  # the others have the time to begin
            with lock:
                at_once -= 1
            return offload(*arguments)

        monkeypatch.setattr(moving._offloader, "offload", counted)
        assert estate.migrate(moving).done.rows == 12
        assert most == 1

    def test_a_part_a_dry_run_and_one_dag(self):
        estate = Estate()
        other = TaskAddress("other", "r", "t")
        for key in "abc":
            estate.set_by_peer(key, key)
        estate.set_by_peer("d", "d", other)
        dry = moving_in(estate, dry=True)
        assert (dry.rows, dry.wanted.rows, dry.done.rows) == (4, 4, 0)
        assert estate.names() == set()
        assert moving_in(estate, selection=TaskSelection("etl"), limit=2).done.rows == 2
        assert moving_in(estate, selection=TaskSelection("etl")).done.rows == 1
        assert estate.held("d", other).startswith("s3://conn@bucket/peer/")

    def test_another_database_is_refused(self):
        estate = Estate()
        estate.set_by_peer("a", 1)
        adopt(Estate().collector())
        estate.roots._fingerprint = "a copy"
        with pytest.raises(RefusedError):
            moving_in(estate)
        assert estate.names() == set()


class TestFromLongRows:
    def test_rows_of_json_that_are_longer_than_the_limit_become_blobs_and_others_stay(self):
        estate = Estate(inline_limit=200)
        long, short = {"words": ["é"] * 60, "n": 1e16}, {"n": 1}
        plain = {"plain": json.dumps(long), "short": json.dumps(short)}
        for key, text in {**plain, "peer's": envelope(json.dumps(long))}.items():
            estate.rows.set(TASK, key, text, expires_at=LATER)
        report = moving_in(estate)
        assert (report.wanted.rows, report.done.rows, report.done.bytes) == (2, 2, report.wanted.bytes)
        assert [estate.value(key) for key in ("plain", "peer's", "short")] == [long, long, short]
        assert estate.text("short") == plain["short"]
        assert all(isinstance(parse_ref(estate.held(key)), BlobRef) for key in ("plain", "peer's"))
        assert moving_in(estate).wanted.rows == 0

    def test_a_row_that_is_long_by_its_spaces_alone_gets_shorter(self):
        estate = Estate(inline_limit=400)
        for key, text in {
            "plain": json.dumps([1] * 100, indent=8),
            "enveloped": envelope(f"[1{' ' * 400}]"),
        }.items():
            estate.rows.set(TASK, key, text, expires_at=None)
        assert moving_in(estate).done.rows == 2
        assert estate.text("plain") == f"[{','.join('1' * 100)}]"
        assert estate.text("enveloped") == envelope("[1]")
        assert estate.names() == set()
        assert moving_in(estate).wanted.rows == 0

    def test_a_value_that_a_task_sets_meanwhile_wins(self):
        estate = Estate()
        estate.rows.set(TASK, "a", '"old"', expires_at=None)
        moving = MovingIn(estate.settings, estate.stores.open)
        with before(moving._offloader, "offload", lambda: estate.set("a", "newer")):
            report = estate.migrate(moving)
        assert (report.changed, report.done.rows) == (1, 0)
        assert estate.value("a") == "newer"
        assert len(estate.names()) == 1

    def test_what_is_ours_already_and_what_nobody_can_read_is_left_alone(self):
        estate = Estate()
        estate.set("a", 1)
        estate.rows.set(
            TASK, "newer", envelope(estate.held("a").replace("offload=1", "offload=9")), expires_at=None
        )
        estate.rows.set(TASK, "typed", envelope('data:application/vnd.offload.tree+json,{"x":1}'), expires_at=None)
        report = moving_in(estate)
        assert (report.rows, report.wanted.rows, report.failures) == (3, 0, 0)


@dataclass
class Unknown:
    """A class that the deployment that moves does not know."""

    x: int


class TestFromAnotherPlace:
    def test_blobs_come_here_with_what_they_say_of_themselves_and_the_old_ones_stay(self):
        estate = Estate()
        values = {"a": VALUE, "tree": {"nested": (1, b"\x00" * 3000)}, "z": "x" * 100_000}
        for key, value in values.items():
            estate.set(key, value, path=OLD, expires_at=LATER)
        estate.set("total", [7], ORDERS, path=OLD)
        estate.set("by uri", [8], URI, path=OLD)
        old, refs = (
            estate.names(OLD),
            {row.key: a_ref(estate.held(row.key, row.address)) for row in estate.rows.rows()},
        )
        report = moving_here(estate)
        assert (report.done.rows, report.kept, report.deleted, report.failures) == (5, 5, 0, 0)
        assert report.done == report.wanted
        assert {key: estate.value(key) for key in values} == values
        assert estate.value("total", ORDERS) == [7]
        for row in estate.rows.rows():
            new, was = a_ref(estate.held(row.key, row.address)), refs[row.key]
            assert new.url.startswith(f"{HERE}/")
            assert (new.about, new.codec, new.raw) == (was.about, was.codec, was.raw)
            # The scope, the key and the kind stay; the id is another one.
            assert new.url.removeprefix(HERE).rpartition("/")[0] == was.url.removeprefix(OLD).rpartition("/")[0]
            assert new.url.rpartition("/")[2] != was.url.rpartition("/")[2]
        assert estate.names(OLD) == old
        assert moving_here(estate).wanted.rows == 0

    def test_the_old_blobs_go_if_that_is_asked_for_and_they_are_this_databases(self):
        estate = Estate()
        estate.set("a", "x" * 1000, path=OLD)
        report = moving_here(estate, delete=True)
        assert (report.done.rows, report.deleted) == (1, 1)
        assert estate.names(OLD) == set()
        estate.set("b", "y", path=OLD)
        estate.stores.open(OLD).delete([info.name for info in estate.stores.open(OLD).list("v1/default/_gc/owner")])
        with pytest.raises(RefusedError):
            moving_here(estate, delete=True)
        assert len(estate.names()) == 1
        assert moving_here(estate).done.rows == 1

    def test_the_old_blob_of_a_young_row_or_of_another_row_stays_all_the_same(self):
        estate = Estate(isolation="deployment")
        ref = estate.set("a", "x" * 1000, path=OLD)
        estate.rows.set(MAPPED, "copy", envelope(ref), expires_at=None)
        report = moving_here(estate, delete=True, selection=TaskSelection("etl", map_index=-1))
        assert (report.deleted, len(report.held)) == (0, 1)
        assert moving_here(estate, delete=True).done.rows == 1
        assert estate.value("copy", MAPPED) == "x" * 1000
        assert "/load/7/copy/" in estate.held("copy", MAPPED)
        assert len(estate.names(OLD)) == 1  # of the row that it was copied to, nothing is deleted
        estate.set("young", "y", path=OLD)
        estate.ahead = timedelta()
        assert moving_here(estate, delete=True).young == 1

    def test_a_ref_of_other_state_is_not_made_good(self):
        estate = Estate()
        ref = estate.set("a", "x", path=OLD)
        estate.rows.set(MAPPED, "a", envelope(ref), expires_at=None)
        report = moving_here(estate)
        assert (report.done.rows, report.failures) == (1, 1)
        assert "stored for other state" in report.failed[f"{MAPPED} key 'a'"]
        assert estate.held("a", MAPPED) == ref

    def test_no_class_is_needed_and_none_is_made(self):
        estate = Estate()
        estate.set("a", Unknown(3), path=OLD, allowed_classes=f"{__name__}.*")
        assert moving_here(estate).done.rows == 1
        assert estate.value("a", allowed_classes=f"{__name__}.*") == Unknown(3)

    def test_a_blob_is_encrypted_on_the_way_and_a_forged_ref_is_not_made_good(self, monkeypatch):
        monkeypatch.setenv("KEY", "1" * 64)
        keys = {"signing_keys": "s=env:KEY", "encryption_keys": "k=env:KEY", "unencrypted_blobs": "accept"}
        estate = Estate(**keys)
        estate.set("a", "secret", path=OLD, encryption_keys="")
        forged = estate.set("b", "forged", path=OLD).replace("&codec=json", "&codec=tree")
        estate.rows.set(TASK, "b", envelope(forged), expires_at=None)
        report = moving_here(estate)
        assert (report.done.rows, report.failures) == (1, 1)
        assert "not as it was signed" in report.failed[f"{TASK} key 'b'"]
        assert parse_ref(estate.held("a")).key == "k"
        assert estate.value("a", unsigned_refs="refuse", unencrypted_blobs="refuse") == "secret"

    def test_the_peers_and_other_deployments_refs_there_are_counted_and_stay(self):
        estate = Estate()
        estate.set("other", 1, path=OLD, deployment="other")
        estate.rows.set(TASK, "peer's", envelope(f"{OLD}/etl/run/load/-1/key"), expires_at=None)
        estate.rows.set(TASK, "newer", envelope(f"{OLD}/v1/x#offload=9"), expires_at=None)
        estate.set("here", 1)
        texts = {row.key: row.text for row in estate.rows.rows()}
        report = moving_here(estate)
        assert (report.elsewhere, report.failures, report.wanted.rows) == (2, 1, 0)
        assert "newer format" in report.failed[f"{TASK} key 'newer'"]
        assert {row.key: row.text for row in estate.rows.rows()} == texts

    @pytest.mark.parametrize(("here", "old"), [(f"{OLD}/deeper", OLD), (OLD, f"{OLD}/deeper")])
    def test_one_place_may_lie_within_the_other(self, here, old):
        estate = Estate(path=here, read_paths=old)
        estate.adopt(here)
        estate.set("there", "x", path=old)
        estate.set("here", "y")
        report = estate.migrate(MovingHere(estate.settings, estate.stores.open, old), old=old, delete=False)
        assert (report.wanted.rows, report.done.rows, report.elsewhere) == (1, 1, 0)
        assert a_ref(estate.held("there")).url.startswith(f"{here}/v1/")
        assert estate.value("there") == "x"

    @pytest.mark.parametrize("old", [HERE, "s3://bucket/unknown", f"{OLD}/v1"])
    def test_a_place_that_is_not_read_is_told(self, old):
        estate = Estate(read_paths=f"{OLD} {HERE}")
        with pytest.raises(ConfigError, match="only read"):
            MovingHere(estate.settings, estate.stores.open, old)

    def test_a_row_whose_commit_took_longer_than_the_commit_window_names_the_old_place_again(self, monkeypatch):
        estate = Estate()
        ref = estate.set("a", "x" * 1000, path=OLD)
        replace = estate.rows.replace

        def slow(changes):
            monkeypatch.setattr(estate.rows, "replace", replace)
            replaced = replace(changes)
            estate.ahead += timedelta(hours=6)
            return replaced

        monkeypatch.setattr(estate.rows, "replace", slow)
        report = moving_here(estate)
        assert (report.done.rows, report.failures) == (0, 1)
        assert estate.held("a") == ref
        assert estate.value("a") == "x" * 1000

    def test_a_damaged_blob_stays_and_is_told(self):
        estate = Estate()
        store, name = (
            estate.stores.open(OLD),
            a_ref(estate.set("a", "x" * 1000, path=OLD)).url.removeprefix(f"{OLD}/"),
        )
        whole = b"".join(store.get(name))
        store.replace(name, whole[:-40] + b"x" + whole[-39:])
        text = estate.text("a")
        report = moving_here(estate)
        assert (report.done.rows, report.failures, estate.text("a")) == (0, 1, text)
        assert estate.names() == set()


def test_assets_known_by_uri_alone_are_read_by_it():
    estate = Estate()
    alone = AssetAddress(uri="s3://warehouse/orders")
    estate.set_by_peer("k", [1], alone)
    assert moving_in(estate).done.rows == 1
    assert estate.value("k", alone) == [1]
