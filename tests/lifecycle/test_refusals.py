"""Refusals: each incident ends with nothing deleted, and says what was measured, what the limit is, what helps."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from offload_backend.address import blob_name, new_blob_id
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.errors import ConfigError, RefusedError
from offload_backend.lifecycle import measures
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.refusals import ACCEPTABLE
from offload_backend.lifecycle.status import show, status
from offload_backend.row import row_text
from offload_backend.settings import Settings
from tests.lifecycle.simulation import (
    DAY,
    HOUR,
    LOCATION,
    TASK,
    SimulatedRoots,
    Site,
    as_text,
    blob_id,
    ledger_at,
    matured,
    name_of,
)

VERBS = ["mark", "purge", "dry purge"]


def runs(site, *accept):
    """What each verb's name runs."""
    return {
        "mark": lambda: site.mark(*accept),
        "purge": lambda: site.purge(*accept),
        "dry purge": lambda: site.purge(*accept, delete=False),
    }


@pytest.fixture
def site():
    site, _, _ = matured()
    return site


@pytest.fixture(params=VERBS)
def verb(request):
    return request.param


@pytest.fixture
def refused(verb, site):
    """The rules by which the verb is refused now."""
    return lambda: site.refused(runs(site)[verb])


@pytest.fixture
def told(verb, site):
    """The message with which the verb is refused now."""
    return lambda: message(site, runs(site)[verb])


@pytest.fixture
def accepted(verb, site):
    """Run the verb with the rules accepted; it must pass."""
    return lambda *rules: runs(site, *rules)[verb]()


def message(site, run):
    with pytest.raises(RefusedError) as caught:
        run()
    return str(caught.value)


@pytest.fixture(autouse=True)
def no_floors(monkeypatch):
    """The few blobs here stand for many; tests of what is few set it back."""
    monkeypatch.setattr(measures, "FEW", 0)
    monkeypatch.setattr(measures, "LOST", 0)


@pytest.fixture(params=[True, False], ids=["delete", "dry"])
def purge_refused(request, site):
    return lambda: site.refused(lambda: site.purge(delete=request.param))


class TestOwnership:
    def test_nobody_has_adopted_the_deployment(self):
        site = Site()
        site.live()
        site.orphans()
        site.wait(40 * DAY)
        for run in runs(site).values():
            assert site.refused(run) == ["owner"]
        assert "offload gc adopt" in message(site, site.mark)
        assert site.store.control() == []

    def test_the_database_is_another_one(self, site, refused, told):
        ledger = site.roots.ledger()
        site.roots = SimulatedRoots(site.core_store, "other")
        site.roots.record(ledger)
        assert refused() == ["owner"]
        assert "the database database (limit: other, memory other)" in told()

    def test_the_database_is_of_another_kind(self, site, refused):
        site.roots.origin = lambda: replace(SimulatedRoots.origin(site.roots), kind="sqlite")
        assert refused() == ["owner"]

    def test_a_cloned_database_without_our_ledger(self, site, refused):
        site.roots = SimulatedRoots(site.core_store, "clone")
        assert refused() == ["owner", "ledger"]

    def test_the_same_database_has_lost_its_ledger(self, site, refused):
        site.roots = SimulatedRoots(site.core_store)
        assert refused() == ["ledger"]
        assert "the database has no ledger" in message(site, site.mark)

    def test_a_second_database_adopts_the_same_deployment(self, site, refused):
        mine = site.roots
        site.roots = SimulatedRoots(site.core_store, "second")
        before = site.store.names()
        assert site.refused(site.adopt) == ["adopted"]
        assert "the blobs belong to memory database" in message(site, site.adopt)
        assert site.store.names() == before
        site.adopt("adopted")
        site.roots = mine
        assert refused() == ["owner", "ledger"]

    def test_an_adoption_that_was_killed_before_the_database_knew_of_it(self, site, refused):
        site.roots.record = lambda ledger: 1 / 0
        with pytest.raises(ZeroDivisionError):
            site.adopt()
        del site.roots.record
        assert refused() == ["ledger"]
        site.adopt()
        site.mark()

    def test_the_ledgers_canary_is_somewhere_else(self, site, refused):
        ledger = site.roots.ledger()
        site.roots.record(replace(ledger, canary=ledger.canary.replace(LOCATION, "s3://other/place")))
        assert refused() == ["ledger"]
        site.roots.record(replace(ledger, canary="rubbish://#offload=9"))
        assert refused() == ["ledger"]
        site.roots.record(replace(ledger, canary=ledger.canary.replace("/canary/", "/elsewhere/")))
        assert refused() == ["ledger"]

    @pytest.mark.parametrize("damage", [b"", b"{}", b'{"offload_owner":2}', b"[]", b"\xff"])
    def test_the_owners_record_is_damaged_or_of_another_version(self, site, refused, damage):
        [name] = site.store.control("owner")
        site.store.replace(name, damage)
        assert refused() == ["owner"]
        site.adopt()
        site.mark()

    @pytest.mark.parametrize(("fact", "value"), [("deployment", "stage"), ("location", "s3://bucket/other")])
    def test_the_owners_record_was_copied_from_elsewhere(self, site, refused, fact, value):
        [name] = site.store.control("owner")
        found = json.loads(b"".join(site.store.get(name)))
        site.store.replace(name, json.dumps({**found, fact: value}).encode())
        assert refused() == ["owner"]

    def test_the_bucket_is_ahead_because_the_database_was_restored(self, site, refused):
        ledger_at(site.roots, 1)
        assert refused() == ["sequence"]
        assert "the bucket has seen run 3, the database only 1: it was restored or copied" in message(
            site, site.mark
        )
        site.adopt()
        assert site.roots.ledger().sequence == 4
        site.mark()

    def test_a_backup_from_within_a_mark_was_restored(self, site, refused):
        within = []
        site.roots.before_roots = lambda: within.append(site.roots.ledger().sequence)
        site.mark()
        site.roots.before_roots = lambda: None
        ledger_at(site.roots, within[0])
        assert refused() == ["sequence"]

    def test_an_old_export_is_refused_and_a_new_one_goes_on(self, site):
        behind, known = 1, site.roots.ledger().sequence
        site.roots.read_at = site.store_clock() - 9 * DAY
        ledger_at(site.roots, behind)
        assert "the export was used before" in message(site, site.mark)
        site.roots.read_at = site.store_clock()
        ledger_at(site.roots, known)
        site.mark()

    def test_a_new_export_that_does_not_know_the_last_run_stops_all_that_follow(self, site):
        site.roots.read_at = site.store_clock()
        ledger_at(site.roots, 1)
        assert site.refused(site.mark) == ["sequence"]
        ledger_at(site.roots, 1000)
        assert site.refused(site.mark) == ["sequence"]
        assert "a higher number proves nothing" in message(site, site.purge)
        site.adopt()
        site.mark()
        assert site.store.control("stopped/") == []

    def test_the_newest_of_many_runs_counts(self, site, refused):
        site.mark()
        ledger_at(site.roots, 4)
        assert refused() == ["sequence"]

    def test_the_database_may_be_ahead_of_the_bucket(self, site, accepted):
        ledger_at(site.roots, 40)
        accepted()

    def test_the_database_is_restored_while_a_run_is_under_way(self, site, refused):
        site.roots.before_roots = lambda: ledger_at(site.roots, 1)
        assert refused() == ["sequence"]

    def test_the_deployment_is_adopted_while_a_run_is_under_way(self, site, refused):
        site.roots.before_roots = site.adopt
        assert refused() == ["owner"]

    def test_the_database_is_a_replica(self, site, refused):
        site.roots.replica = True
        assert refused() == ["replica"]

    def test_a_refused_preflight_leaves_the_ledger_alone(self, site, refused):
        site.roots.replica = True
        before = site.roots.ledger(), site.store.names()
        refused()
        assert (site.roots.ledger(), site.store.names()) == before


class TestClocks:
    @pytest.mark.parametrize("skew", [timedelta(minutes=5, microseconds=1), -timedelta(minutes=5, microseconds=1)])
    def test_this_machines_clock_is_wrong(self, site, refused, told, accepted, skew):
        site.local_clock.now += skew
        assert refused() == ["clock-skew"]
        assert ("ahead of" if skew > timedelta(0) else "behind") in told()
        assert accepted("clock-skew").skew == skew

    @pytest.mark.parametrize("skew", [timedelta(minutes=5), -timedelta(minutes=5)])
    def test_a_little_skew_is_no_reason(self, site, accepted, skew):
        site.local_clock.now += skew
        assert accepted().skew == skew

    def test_a_slow_store_is_not_skew(self, site):
        put = site.store.put

        def slow(name, chunks):
            site.local_clock.now += HOUR
            put(name, chunks)
            site.local_clock.now += HOUR

        site.store_clock.now += HOUR
        site.store.put = slow
        assert site.mark().skew == timedelta(0)

    def test_the_stores_clock_went_back(self, site, refused, told, accepted):
        for clock in (site.store_clock, site.local_clock):
            clock.now -= 8 * DAY + timedelta(seconds=301)
        assert refused() == ["clock-backwards"]
        assert "301s older" in told()
        accepted("clock-backwards")

    def test_a_small_step_back_is_no_reason(self, site, accepted):
        for clock in (site.store_clock, site.local_clock):
            clock.now -= 8 * DAY + timedelta(seconds=299)
        accepted()

    def test_the_roots_were_exported_in_the_future(self, site, refused):
        site.roots.read_at = site.store_clock() + timedelta(minutes=5, microseconds=1)
        assert refused() == ["clock-skew"]

    def test_an_export_from_a_slightly_fast_clock_is_no_reason(self, site, accepted):
        site.roots.read_at = site.store_clock() + timedelta(minutes=5)
        accepted()


class TestSettings:
    def test_the_location_is_a_whole_bucket(self, accepted):
        bucket = Site(
            Settings.load({"path": "s3://bucket", "deployment": "prod", "inline_limit": 0, "gc_max_ratio": 1.0})
        )
        assert bucket.refused(bucket.adopt) == ["location"]
        assert bucket.store.names() == []

    def test_the_location_has_become_a_whole_bucket(self, site, monkeypatch):
        site = Site(Settings.load({"path": "s3://bucket", "deployment": "prod", "inline_limit": 0}))
        from offload_backend.lifecycle.adopt import adopt

        adopt(site.collector, ["location"])
        for run in runs(site).values():
            assert site.refused(run) == ["location"]
        site.mark("location")

    def test_a_place_in_memory_has_no_bucket(self):
        site = Site(Settings.load({"path": "memory://trial", "deployment": "prod"}))
        site.adopt()
        site.mark()

    def test_min_age_is_under_a_day(self, site, refused, accepted):
        site.configure(gc_min_age="86399s")
        assert refused() == ["min-age"]
        accepted("min-age")

    def test_min_age_of_a_day_is_enough(self, site, accepted):
        site.configure(gc_min_age="24h")
        accepted()

    @pytest.mark.parametrize("window", ["72h", "80h"])
    def test_min_age_is_not_more_than_the_commit_window(self, site, refused, accepted, window):
        site.configure(commit_window=window)
        assert refused() == ["commit-window"]
        accepted("commit-window")


class TestFindings:
    def test_the_core_store_is_empty(self, site, refused, told):
        site.core_store.close()
        assert refused() == ["no-roots"]
        assert "10 old ones" in told()

    def test_the_canary_alone_is_no_live_ref(self, site, refused):
        site.core_store.close()
        assert [len(root.ids) for root in site.roots.roots(())] == [1]
        assert "no-roots" in refused()

    def test_the_rows_are_those_of_another_location(self, site, refused):
        for (address, key), row in site.core_store.copy_rows().items():
            site.core_store.set(address, key, row.text.replace(LOCATION, "s3://other/prefix"))
        assert refused() == ["no-roots"]

    def test_the_rows_are_those_of_another_deployment(self, site, refused):
        for (address, key), row in site.core_store.copy_rows().items():
            site.core_store.set(address, key, row.text.replace("v1/prod/", "v1/stage/"))
        assert refused() == ["no-roots"]

    def test_no_blob_is_old_and_no_row_there_yet(self):
        site = Site()
        site.adopt()
        site.orphans()
        site.mark()

    def test_a_scan_that_swallowed_an_exception_yields_nothing(self, site, refused):
        site.roots.tamper = lambda roots: ()
        assert refused() == ["canary-read", "no-roots"]

    def test_a_scan_that_was_cut_short_lacks_the_canary(self, site, refused):
        site.roots.tamper = lambda roots: list(roots)[:-1]
        assert refused() == ["canary-read"]

    def test_the_canary_is_not_listed(self, site, refused):
        site.store.unlisted = set(site.store.control("canary"))
        assert refused() == ["canary-listed"]

    def test_the_canary_of_another_owner_does_not_count(self, site, refused):
        [name] = site.store.control("canary")
        site.store.unlisted = {name}
        site.store.put(name.replace(name.rpartition("/")[2].partition(".")[0], new_blob_id()), [b"1"])
        assert refused() == ["canary-listed"]

    def test_the_listing_is_of_the_wrong_bucket(self, site, refused, told):
        site.store.unlisted = site.store.blobs()
        assert refused() == ["match"]
        assert "0 of 8 old refs are in the listing (0.00%)" in told()

    def test_one_old_ref_in_eight_is_not_found(self, site, refused, accepted):
        name = next(name_of(ref) for ref in [_ref(site)])
        site.store.lose(name)
        assert refused() == ["match"]
        site.configure(gc_min_match=0.875)
        accepted()

    def test_young_refs_that_are_found_do_not_make_up_for_old_ones(self, site, refused):
        site.store.lose(name_of(_ref(site)))
        site.live(20)
        assert refused() == ["match"]

    def test_a_young_ref_that_is_not_found_is_no_reason(self, site, accepted):
        site.commit(site.upload())
        site.store.lose(name_of(_ref(site, -1)))
        accepted()

    def test_a_ref_of_unknown_age_counts_as_old(self, site, refused):
        site.commit(site.upload())
        site.store.lose(name_of(_ref(site, -1)))
        site.roots.tamper = lambda roots: [replace(root, updated_at=None) for root in roots]
        assert refused() == ["match"]

    def test_refs_elsewhere_are_not_looked_for(self, site, accepted):
        for text in (
            "s3://other/prefix/v1/prod/task/d/r/t/-1/k/01999999-9999-7aaa-8bbb-cccccccccccc.json.zst",
            f"{LOCATION}/dag/run/task/-1/01999999-9999-7aaa-8bbb-cccccccccccc",
            f"{LOCATION}/v1/prod/task/d/r/t/-1/k/01999999-9999-7aaa-8bbb-cccccccccccd.json.zst",
        ):
            site.core_store.set(TASK, text, row_text(text))
        site.wait(HOUR)
        accepted()

    def test_a_row_that_holds_a_newer_ref_of_ours_keeps_and_does_not_count(self, site, accepted):
        ref = _ref(site).replace("offload=1", "offload=2").replace(blob_id(_ref(site)), new_blob_id())
        site.core_store.set(TASK, "newer", row_text(ref))
        site.wait(4 * DAY)
        accepted()

    def test_too_large_a_share_would_go(self, site, purge_refused):
        site.configure(gc_max_ratio=0.199)
        assert purge_refused() == ["ratio"]
        assert "2 of 10 blobs would go (20.0%)" in message(site, site.purge)
        site.configure(gc_max_ratio=0.2)
        site.purge()

    def test_a_share_of_few_is_no_reason(self, site, purge_refused, monkeypatch):
        site.configure(gc_max_ratio=0.1)
        monkeypatch.setattr(measures, "FEW", 1)
        assert purge_refused() == ["ratio"]
        monkeypatch.setattr(measures, "FEW", 2)
        site.purge()

    def test_a_mark_takes_nothing_away_and_is_not_refused_for_what_it_finds(self, site):
        site.configure(gc_max_count=1, gc_max_ratio=0.1)
        assert site.mark().counts.marked.count == 2

    def test_a_few_refs_that_dangle_do_not_stop_the_collector(self, site, refused, monkeypatch, accepted):
        site.store.lose(name_of(_ref(site)))
        site.store.lose(name_of(_ref(site, 1)))
        monkeypatch.setattr(measures, "LOST", 1)
        assert refused() == ["match"]
        monkeypatch.setattr(measures, "LOST", 2)
        accepted()

    def test_when_no_ref_at_all_is_found_they_are_not_few(self, site, refused, monkeypatch):
        monkeypatch.setattr(measures, "LOST", 100)
        site.store.unlisted = site.store.blobs()
        assert refused() == ["match"]

    def test_what_is_few(self, monkeypatch):
        monkeypatch.undo()
        assert (measures.FEW, measures.LOST) == (10, 2)

    def test_the_default_share_is_a_fifth(self):
        assert Settings.model_fields["gc_max_ratio"].default == 0.2
        assert Settings.model_fields["gc_min_match"].default == 0.999

    def test_too_many_would_go(self, site, purge_refused):
        site.configure(gc_max_count=1)
        assert purge_refused() == ["count"]
        assert "2 blobs would go at once (limit: 1)" in message(site, site.purge)

    def test_as_many_as_are_allowed_may_go(self, site, accepted):
        site.configure(gc_max_count=2)
        accepted()

    @pytest.mark.parametrize(
        ("changes", "rule"), [({"gc_max_count": 1}, "count"), ({"gc_max_ratio": 0.1}, "ratio")]
    )
    def test_too_many_can_be_accepted(self, site, accepted, changes, rule):
        site.configure(**changes)
        report = accepted(rule)
        assert report.accepted == (rule,)

    def test_that_there_are_no_roots_can_be_accepted(self, site):
        site.core_store.close()
        site.mark("no-roots")
        site.wait(8 * DAY)
        assert site.purge("no-roots").deleted.count == 10


def _ref(site, number=0):
    row = list(site.core_store.rows())[number]
    return json.loads(row.text)["__airflow_state_ref__"]


class TestManifest:
    @pytest.fixture(params=[True, False], ids=["delete", "dry"])
    def refused(self, request, site):
        return lambda: site.refused(lambda: site.purge(delete=request.param))

    def test_there_is_none(self, refused, site):
        for name in site.store.control("manifest"):
            site.store.lose(name)
        assert refused() == ["manifest"]
        assert "offload gc mark" in message(site, site.purge)

    def test_the_last_mark_was_refused(self, site, refused):
        site.store.unlisted = set(site.store.control("canary"))
        site.refused(site.mark)
        site.store.unlisted = set()
        assert refused() == ["manifest"]
        assert "was refused" in message(site, site.purge)

    def test_the_deployment_was_adopted_since(self, site, refused):
        site.adopt()
        assert refused() == ["manifest"]

    def test_it_is_older_than_a_month(self, site, refused):
        site.wait(22 * DAY)
        site.purge(delete=False)
        site.wait(timedelta(microseconds=1))
        assert refused() == ["manifest"]

    @pytest.mark.parametrize(
        ("fact", "value"),
        [("deployment", "stage"), ("location", "s3://bucket/other"), ("offload_manifest", 2), ("state", "strange")],
    )
    def test_it_is_not_of_this_place_or_version(self, site, refused, fact, value):
        [name] = site.store.control("manifest")
        site.store.replace(name, with_header(b"".join(site.store.get(name)), fact, value))
        assert refused() == ["manifest"]

    def test_it_is_cut_short(self, site, refused):
        [name] = site.store.control("manifest")
        lines = gzip.decompress(b"".join(site.store.get(name))).splitlines(keepends=True)
        for kept in (lines[:-1], lines[:1] + lines[2:], [lines[0], lines[-1]]):
            site.store.replace(name, gzip.compress(b"".join(kept)))
            assert refused() == ["manifest"]

    def test_one_of_a_killed_mark_does_not_replace_the_last_one(self, site):
        from offload_backend.lifecycle.mark import begin

        begin(site.collector)
        assert site.purge().deleted.count == 2


def with_header(data, fact, value):
    """The manifest with another header, and a footer that is right for it."""
    import hashlib

    first, *lines, last = gzip.decompress(data).splitlines(keepends=True)
    first = json.dumps({**json.loads(first), fact: value}).encode() + b"\n"
    digest = hashlib.sha256(b"".join([first, *lines])).hexdigest()
    footer = json.dumps({**json.loads(last), "sha256": digest}).encode() + b"\n"
    return gzip.compress(b"".join([first, *lines, footer]))


class Raises(Hooks):
    def __init__(self, method):
        setattr(self, method, self._raise)

    def _raise(self, *arguments):
        raise ValueError("a secret")


class TestHooks:
    @pytest.mark.parametrize(
        ("method", "verbs"),
        [
            ("extra_roots", VERBS),
            ("before_delete", ["purge", "dry purge"]),
            ("on_orphans_marked", ["mark"]),
        ],
    )
    def test_one_that_raises_is_a_refusal(self, site, method, verbs):
        site.hooks = Raises(method)
        for verb in verbs:
            assert site.refused(runs(site)[verb]) == ["hook"]
        assert method in message(site, runs(site)[verbs[0]])
        assert "secret" not in message(site, runs(site)[verbs[0]])

    def test_one_that_raises_when_it_is_told_of_the_rescued(self, site):
        site.commit(f"{_orphan(site)}")
        site.hooks = Raises("on_rescued")
        assert site.refused(site.purge) == ["hook"]

    def test_one_that_raises_when_it_is_told_of_a_refusal_hides_none(self, site, refused):
        site.hooks = Raises("on_refused")
        site.roots.replica = True
        assert refused() == ["replica", "hook"]

    def test_every_refusal_is_told_to_the_hooks(self, site, purge_refused):
        seen = []

        class Told(Hooks):
            def on_refused(self, refusals):
                seen.append([refusal.rule for refusal in refusals])

        site.hooks = Told()
        site.configure(gc_max_count=1, gc_max_ratio=0.1)
        rules = purge_refused()
        assert seen == [rules] == [["ratio", "count"]]

    def test_extra_roots_that_hold_no_id(self, site, refused):
        class Rubbish(Hooks):
            def extra_roots(self):
                return ["not an id"]

        site.hooks = Rubbish()
        assert refused() == ["hook"]

    def test_extra_roots_that_raise_in_the_middle(self, site, refused):
        class Broken(Hooks):
            def extra_roots(self):
                yield new_blob_id()
                raise ValueError("a secret")

        site.hooks = Broken()
        assert refused() == ["hook"]

    def test_a_hook_that_would_delete_more(self, site):
        class More(Hooks):
            def before_delete(self, batch):
                other = new_blob_id()
                live = blob_name("prod", TASK, "k", other, "json.zst")
                return [*batch, replace(batch[0], id=other, name=live)]

        site.hooks = More()
        for run in (site.purge, lambda: site.purge(delete=False)):
            assert site.refused(run) == ["hook"]

    def test_a_hook_that_returns_nothing_by_mistake(self, site):
        class Forgetful(Hooks):
            def before_delete(self, batch):
                pass

        site.hooks = Forgetful()
        assert site.refused(site.purge) == ["hook"]


def _orphan(site):
    rows = {blob_id(_ref(site, number)) for number in range(8)}
    [name, _] = [name for name in sorted(site.store.blobs()) if blob_id(name) not in rows]
    return f"{LOCATION}/{name}#offload=1&size=1&raw=1&sha256={'0' * 64}&codec=json&frames=zstd"


class TestAccepting:
    @pytest.mark.parametrize(
        "rule", ["owner", "ledger", "sequence", "replica", "canary-read", "manifest", "hook", "x"]
    )
    def test_what_must_be_mended_cannot_be_accepted(self, site, rule):
        for run in runs(site, rule).values():
            with pytest.raises(ConfigError, match=f"{rule}: cannot be accepted"):
                run()

    def test_accepting_one_rule_accepts_no_other(self, site):
        site.configure(gc_max_count=1, gc_max_ratio=0.1)
        assert site.refused(lambda: site.purge("count")) == ["ratio"]
        assert site.refused(lambda: site.purge("ratio")) == ["count"]

    def test_every_rule_that_can_be_accepted_says_so(self, site):
        site.configure(gc_max_count=1, gc_max_ratio=0.1, gc_min_age="1h", commit_window="2h")
        site.core_store.close()
        site.local_clock.now -= 99 * DAY
        with pytest.raises(RefusedError) as caught:
            site.purge("min-age", "commit-window", "clock-skew", "no-roots")
        seen = {refusal.rule: refusal for refusal in caught.value.refusals}
        for accept in ((), ("min-age", "commit-window"), ("min-age", "commit-window", "clock-skew")):
            with pytest.raises(RefusedError) as caught:
                site.mark(*accept)
            seen |= {refusal.rule: refusal for refusal in caught.value.refusals}
        assert seen.keys() == {"min-age", "commit-window", "clock-skew", "no-roots", "ratio", "count"}
        for rule, refusal in seen.items():
            assert rule in ACCEPTABLE
            assert f"--accept {rule}" in refusal.override


class TestShowing:
    def test_a_refused_mark_is_written_down_with_what_it_found(self, site):
        site.store.unlisted = set(site.store.control("canary"))
        site.refused(lambda: site.mark("count"))
        shown = show(site.collector)
        assert (shown.state, shown.verb, shown.candidates, shown.accepted) == ("refused", "mark", 2, ("count",))
        assert [refusal.rule for refusal in shown.refusals] == ["canary-listed"]
        assert shown.counts.listed.count == 10
        assert len(shown.samples) == 2
        as_text(shown)

    def test_status_tells_the_refusals_that_a_run_would_meet(self, site):
        site.roots.replica = True
        before = site.store.names(), site.roots.ledger()
        found = status(site.collector)
        assert [refusal.rule for refusal in found.refusals] == ["replica"]
        assert (site.store.names(), site.roots.ledger()) == before


def test_another_root_source_over_the_same_rows_is_another_database(site, refused):
    site.roots = MemoryRootSource(site.core_store)
    assert refused() == ["owner", "ledger"]
