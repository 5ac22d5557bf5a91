"""Rows that leave: to plain rows as Airflow has them, and to what its common-io backend reads."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from offload_backend.address import AssetAddress, TaskAddress, blob_scope
from offload_backend.errors import ConfigError
from offload_backend.lifecycle.migrate import MovingIn
from offload_backend.lifecycle.migrate_out import MovingToCommonIo, MovingToPlainRows
from offload_backend.peervalue import new_peer_name, peer_scopes, read_peer_value
from offload_backend.row import envelope
from tests.lifecycle.migrating import HERE, MAPPED, OLD, ORDERS, PEER, TASK, Estate, before, peer_name

LATER = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
VALUE = {"epoch": 3, "loss": [0.1, 1e16, -0.0, 1.5e-7], "text": "é\u2028😀", "done": True, "nothing": None, "": []}


def to_plain(estate, row_limit=65535, **options):
    moving = MovingToPlainRows(estate.settings, estate.stores.open, row_limit=row_limit)
    return estate.migrate(moving, **{"delete": False, **options})


def to_peer(estate, compression="", threshold=0, **options):
    moving = MovingToCommonIo(
        estate.settings,
        estate.stores.open,
        path="s3://conn@bucket/peer/",
        compression=compression,
        threshold=threshold,
    )
    return estate.migrate(moving, **{"delete": False, **options})


class TestToPlainRows:
    def test_rows_hold_byte_for_byte_what_airflow_itself_would_have_stored(self):
        estate = Estate()
        estate.set("a", VALUE, expires_at=LATER)
        estate.set("old", [1, "two"], path=OLD)
        estate.set("total", "text", ORDERS)
        estate.set("inline", {"n": [1, 2]}, MAPPED, inline_limit=1000)
        estate.set_by_peer("peer's", VALUE)
        estate.rows.set(TASK, "plain", '{"is":  "left as it is"}', expires_at=None)
        was = {(row.address, row.key): row for row in estate.rows.rows()}
        report = to_plain(estate)
        assert (report.wanted.rows, report.done.rows, report.failures, report.kept) == (5, 5, 0, 2)
        assert (report.wanted.blobs, report.done.blobs) == (4, 0)
        expected = {"a": VALUE, "old": [1, "two"], "peer's": VALUE}
        assert {key: estate.text(key) for key in expected} == {k: json.dumps(v) for k, v in expected.items()}
        assert estate.text("total", ORDERS) == '"text"'
        assert estate.text("inline", MAPPED) == '{"n": [1, 2]}'
        assert estate.text("plain") == '{"is":  "left as it is"}'
        for row in estate.rows.rows():
            before_it = was[row.address, row.key]
            assert (row.updated_at, row.expires_at) == (before_it.updated_at, before_it.expires_at)
        assert to_plain(estate).wanted.rows == 0
        # And whoever comes back brings all of them in.
        assert estate.migrate(MovingIn(estate.settings, estate.stores.open)).done.rows == 6
        assert {key: estate.value(key) for key in expected} == expected

    @pytest.mark.parametrize("value", [(1, 2), b"bytes", {1: 2}, float("nan"), {"deep": [LATER]}, 2**70])
    @pytest.mark.parametrize("inline_limit", [0, 10_000])
    def test_what_is_more_than_json_is_told_and_stays(self, value, inline_limit):
        estate = Estate()
        estate.set("good", 1)
        estate.set("a", value, inline_limit=inline_limit)
        text = estate.text("a")
        dry = to_plain(estate, dry=True)
        report = to_plain(estate)
        for each in (dry, report):
            assert (each.wanted.rows, each.failures) == (1, 1)
            assert "more than JSON; set the key again with plain data" in each.failed[f"{TASK} key 'a'"]
        assert (report.done.rows, estate.text("a")) == (1, text)
        assert repr(estate.value("a")) == repr(value)

    @pytest.mark.parametrize("data", [b'{"loss": NaN}', b"[1180591620717411303424]", rb'"half \ud800"'])
    def test_what_the_peer_holds_and_no_json_is_stays(self, data):
        estate = Estate()
        name = estate.set_by_peer("a", None, data=data)
        report = to_plain(estate)
        assert (report.done.rows, report.failures) == (0, 1)
        assert estate.held("a") == f"s3://conn@bucket/peer/{name}"

    def test_what_is_longer_than_a_row_may_be_is_told_without_reading_it(self):
        estate = Estate()
        estate.set("long", "x" * 1000)
        estate.set("just too long", "x" * 99)
        estate.set("just fits", "x" * 98)
        estate.set("escaped", "é" * 30)  # 62 bytes of UTF-8 and 182 of ASCII
        dry = to_plain(estate, row_limit=100, dry=True)
        assert set(dry.failed) == {f"{TASK} key {key!r}" for key in ("long", "just too long")}
        estate.stores.open(HERE).calls.clear()
        report = to_plain(estate, row_limit=100)
        assert estate.stores.open(HERE).calls.count("get") == 2 + 1  # and the owner's record
        assert report.done.rows == 1
        assert "1002 bytes" in report.failed[f"{TASK} key 'long'"]
        assert "182 bytes" in report.failed[f"{TASK} key 'escaped'"]
        assert "max_value_storage_bytes" in report.failed[f"{TASK} key 'escaped'"]
        assert to_plain(estate, row_limit=0).done.rows == 3

    @pytest.mark.parametrize("inside", ["[1]", ["no text"], 1])
    @pytest.mark.parametrize("inline_limit", [0, 1000])
    def test_a_dict_that_would_be_taken_for_an_envelope_stays(self, inline_limit, inside):
        estate = Estate()
        value = {"__airflow_state_ref__": inside}
        estate.set("a", value, inline_limit=inline_limit)
        report = to_plain(estate)
        assert report.failures == 1
        assert "taken for an envelope" in report.failed[f"{TASK} key 'a'"]
        assert estate.value("a") == value

    def test_what_a_task_sets_meanwhile_wins(self):
        estate = Estate()
        estate.set("a", "old")
        moving = MovingToPlainRows(estate.settings, estate.stores.open, row_limit=0)
        with before(moving, "remake", lambda: estate.set("a", "newer")):
            report = estate.migrate(moving)
        assert (report.done.rows, report.changed) == (0, 1)
        assert estate.value("a") == "newer"

    def test_old_blobs_go_by_the_rules_of_reclaim_if_that_is_asked_for(self):
        estate = Estate()
        estate.set("a", "x")
        estate.rows.set(MAPPED, "inline", envelope("[1]"), expires_at=None)
        report = to_plain(estate, delete=True)
        assert (report.deleted, estate.names()) == (1, set())
        never = Estate(reclaim="never")
        never.set("a", "x")
        assert to_plain(never, delete=True).kept == 1
        assert len(never.names()) == 1
        young = Estate()
        young.set("a", "x")
        young.ahead = timedelta()
        assert to_plain(young, delete=True).young == 1

    def test_a_ref_that_is_damaged_or_of_other_state_stays(self):
        estate = Estate()
        ref = estate.set("a", "mine")
        estate.rows.set(MAPPED, "a", envelope(ref), expires_at=None)
        estate.rows.set(TASK, "newer", envelope(ref.replace("offload=1", "offload=9")), expires_at=None)
        report = to_plain(estate)
        assert (report.done.rows, report.failures) == (1, 2)
        assert estate.held("a", MAPPED) == ref
        assert "newer format" in report.failed[f"{TASK} key 'newer'"]


class TestToCommonIo:
    def test_values_become_objects_in_the_folders_of_the_peer(self):
        estate = Estate()
        estate.set("a/b.gz", VALUE, expires_at=LATER)
        estate.set("k", [1], MAPPED)
        estate.set("total", "text", ORDERS, path=OLD)
        was = {(row.address, row.key): row for row in estate.rows.rows()}
        report = to_peer(estate)
        assert (report.done.rows, report.failures, report.kept) == (3, 0, 2)
        names = {name.rpartition("~")[0] for name in estate.names(PEER)}
        assert names == {"etl/run%2F1/load/-1/a%2Fb.gz", "etl/run%2F1/load/7/k", "assets/orders/total"}
        held = estate.held("a/b.gz")
        assert held.startswith("s3://conn@bucket/peer/etl/run%2F1/load/-1/a%2Fb.gz~")
        stored = b"".join(estate.stores.open(PEER).get(held.removeprefix("s3://conn@bucket/peer/")))
        assert stored == json.dumps(VALUE).encode()
        # Workers of ours read it meanwhile.
        assert estate.value("a/b.gz") == VALUE
        assert (estate.value("k", MAPPED), estate.value("total", ORDERS)) == ([1], "text")
        for row in estate.rows.rows():
            before_it = was[row.address, row.key]
            assert (row.updated_at, row.expires_at) == (before_it.updated_at, before_it.expires_at)
        assert to_peer(estate).wanted.rows == 0

    @pytest.mark.parametrize(
        ("compression", "suffix"), [("gzip", "gz"), ("bz2", "bz2"), ("xz", "xz"), ("zip", "zip"), ("zstd", "zst")]
    )
    def test_objects_are_compressed_as_the_peer_is_told_to(self, compression, suffix):
        estate = Estate()
        estate.set("a", VALUE)
        to_peer(estate, compression)
        [name] = estate.names(PEER)
        assert name.endswith(f".{suffix}")
        assert read_peer_value(estate.stores.open(PEER).get(name), max_bytes=10_000) == VALUE
        assert estate.value("a") == VALUE

    def test_the_peers_objects_come_where_it_reads_them_and_stay_if_they_are_there(self):
        elsewhere = "s3://bucket/peer-of-before"
        estate = Estate(read_paths=f"{elsewhere} s3://conn@bucket/peer")
        estate.set_by_peer("there", VALUE)
        name = peer_name(TASK, "a")
        estate.stores.open(elsewhere).put(name, [json.dumps(VALUE).encode()])
        estate.rows.set(TASK, "a", envelope(f"{elsewhere}/{name}"), expires_at=None)
        there = estate.text("there")
        assert to_peer(estate, dry=True).wanted.rows == 1
        assert to_peer(estate).done.rows == 1
        assert estate.held("a").startswith("s3://conn@bucket/peer/etl/run%2F1/load/-1/a~")
        assert (estate.value("a"), estate.text("there")) == (VALUE, there)
        assert to_peer(estate).wanted.rows == 0

    def test_what_the_peer_holds_elsewhere_and_is_no_json_stays_there(self):
        elsewhere = "s3://bucket/peer-of-before"
        estate = Estate(read_paths=f"{elsewhere} s3://conn@bucket/peer")
        estate.stores.open(elsewhere).put(peer_name(TASK, "a"), [b'{"loss": NaN}'])
        text = envelope(f"{elsewhere}/{peer_name(TASK, 'a')}")
        estate.rows.set(TASK, "a", text, expires_at=None)
        report = to_peer(estate)
        assert (report.done.rows, report.failures) == (0, 1)
        assert estate.text("a") == text

    def test_small_values_stay_in_rows_below_the_peers_own_threshold(self):
        estate = Estate()
        estate.set("small", "x" * 97)
        estate.set("large", "x" * 98)
        estate.set("inline", [1, 2], inline_limit=1000)
        inline = estate.text("inline")
        to_peer(estate, threshold=100)
        assert estate.text("small") == envelope(json.dumps("x" * 97))
        assert estate.held("large").startswith("s3://conn@bucket/peer/")
        assert estate.text("inline") == inline

    @pytest.mark.parametrize("inline_limit", [0, 10_000])
    def test_what_is_more_than_json_is_told_and_stays(self, inline_limit):
        estate = Estate()
        estate.set("a", (1, 2), inline_limit=inline_limit)
        assert to_peer(estate, dry=True).failures == 1
        report = to_peer(estate)
        assert (report.failures, report.wanted.rows) == (1, 0)
        assert estate.value("a") == (1, 2)

    @pytest.mark.parametrize(
        "address",
        [
            TaskAddress("d", "r", "t", 3, UUID(int=5)),
            TaskAddress("a/b", "scheduled__2026-01-01T00:00:00+00:00", "t.é", 0),
            TaskAddress("assets", "r", "t"),
            AssetAddress(name="a/b"),
            AssetAddress(uri="s3://a/b?c#d"),
        ],
        ids=str,
    )
    def test_whose_an_object_is_can_be_told_from_its_name(self, address):
        """By workers of ours, who read it under ``isolation = state``."""
        name = new_peer_name(address, "key/é.gz", "gzip")
        assert blob_scope(address, "")[0] in peer_scopes(name)
        estate = Estate()
        estate.set("key/é.gz", VALUE, address)
        assert to_peer(estate).done.rows == 1
        assert estate.value("key/é.gz", address) == VALUE

    def test_what_a_task_sets_meanwhile_wins_and_the_object_goes(self):
        estate = Estate()
        estate.set("a", "old")
        moving = MovingToCommonIo(estate.settings, estate.stores.open, path="s3://conn@bucket/peer")
        with before(moving, "remake", lambda: estate.set("a", "newer")):
            report = estate.migrate(moving)
        assert (report.done.rows, report.changed) == (0, 1)
        assert estate.value("a") == "newer"
        assert estate.names(PEER) == set()

    def test_no_two_objects_have_one_name_so_that_no_late_one_replaces_a_newer(self):
        estate = Estate()
        theirs = estate.set_by_peer("a", "of the peer")
        estate.set("a", "of ours")
        to_peer(estate)
        assert theirs in estate.names(PEER)
        assert b"".join(estate.stores.open(PEER).get(theirs)) == b'"of the peer"'
        assert estate.value("a") == "of ours"

    @pytest.mark.parametrize("path", ["", "/folder", "s3://conn@bucket/another"])
    def test_a_place_that_workers_do_not_read_is_told(self, path):
        estate = Estate()
        with pytest.raises(ConfigError, match=r"workers would not read|no URL"):
            MovingToCommonIo(estate.settings, estate.stores.open, path=path)

    def test_a_compression_that_is_not_there_is_told_before_anything_happens(self):
        with pytest.raises(ConfigError, match="no compression 'brotli'"):
            to_peer(Estate(), "brotli")

    @pytest.mark.parametrize("setting", ["unsigned_refs", "unencrypted_blobs"])
    def test_workers_must_accept_what_is_neither_signed_nor_encrypted(self, monkeypatch, setting):
        monkeypatch.setenv("KEY", "1" * 64)
        keys = {"signing_keys": "s=env:KEY", "encryption_keys": "k=env:KEY"}
        accepted = {"unsigned_refs": "accept", "unencrypted_blobs": "accept"}
        with pytest.raises(ConfigError) as caught:
            to_peer(Estate(**keys, **{**accepted, setting: "refuse"}))
        assert f"{setting} = accept" in caught.value.hint
        estate = Estate(**keys, **accepted)
        estate.set("a", VALUE)
        assert to_peer(estate).done.rows == 1
        assert estate.value("a") == VALUE
