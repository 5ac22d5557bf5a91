"""What the roots read through a real API server hold, and what is kept because the account cannot see it."""

from __future__ import annotations

import itertools
import json
import sqlite3
import uuid
from contextlib import closing

import pytest

from offload_backend.address import AssetAddress, TaskAddress, address_of_scope, new_blob_id, parse_blob_name
from offload_backend.row import envelope
from offload_backend.testing.root_source import ADDRESSES, RootSourceContract
from tests.airflow.rest_site import faulty, ledger, ref_to, seen

NUMBERS = itertools.count(1)


@pytest.fixture
def site(rest_site):
    return rest_site


def test_a_row_with_a_ref_is_a_root_and_tells_where_and_when(site):
    address = site.run()
    blob_id = site.put(address)
    found = site.seen(address)
    [root] = found.roots
    assert not found.hidden
    assert (root.ids, root.ref) == ((blob_id,), ref_to(blob_id, address))
    assert root.updated_at.utcoffset() is not None
    assert root.holder == f"{address} key 'key'"


def test_an_id_inside_any_value_keeps_its_blob_and_other_values_are_no_roots(site):
    address = site.run()
    blob_id = new_blob_id()
    site.put(address, "nested", {"deep": [{"é": f"see {blob_id.upper()}"}]})
    site.put(address, "plain", {"epoch": 3, "text": "ünïcode"})
    found = site.seen(address)
    assert [(root.ids, root.ref) for root in found.roots] == [((blob_id,), None)]
    assert not found.hidden


def test_what_a_worker_wrote_is_found_at_the_address_in_the_blobs_name(site):
    env = {"AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "0"}
    run = site.airflow.run("probe", "mapped", conf={"code": "store.set('big', {'n': number})"}, env=env)
    names = [
        parse_blob_name("v1/" + row.ref.partition("/v1/")[2].partition("#")[0])
        for row in site.airflow.rows().task
        if row.run_id == run.run_id
    ]
    assert len(names) == 3
    found = site.seen(*(address_of_scope(name.scope) for name in names))
    assert found.ids >= {name.id for name in names}  # a region, in 3.4, looks like an id as well
    assert not found.hidden


@pytest.mark.parametrize("count", [1, 99, 100, 101, 199, 200, 250])
def test_every_row_of_a_list_of_any_length_is_found(site, count):
    address = site.run()
    ids = site.put_many(address, count)
    found = site.seen(address)
    assert found.ids == ids
    assert not found.hidden


def test_a_row_that_is_gone_is_no_root(site):
    address = site.run()
    kept, gone = site.put(address, "kept"), site.put(address, "gone")
    assert site.seen(address).ids == {kept, gone}
    place = {"region_id": str(uuid.UUID(int=0)), "region_index": -1} if site.airflow.has_regions else {}
    site.airflow.rest.ask("DELETE", f"{site.path(address)}/state-store/gone", params=place)
    found = site.seen(address)
    assert found.ids == {kept}
    assert not found.hidden


def test_a_row_deleted_while_pages_are_read_moves_no_other_out_of_sight(site, monkeypatch):
    address = site.run()
    ids = site.put_many(address, 150)
    first = site.seen(address).roots[0]

    def delete_one(status, headers, body):
        where = "WHERE run_id = :run AND key = 'k000'"
        site.airflow.sql(f"DELETE FROM task_state_store {where}", run=address.run_id)
        return status, headers, body

    with faulty(site, monkeypatch) as proxy:
        proxy.change("rows", delete_one)
        found = site.seen(address, url=proxy.url)
    assert found.ids == ids - set(first.ids)
    assert not found.hidden


def test_a_row_replaced_by_another_while_pages_are_read_moves_no_other_out_of_sight(site, monkeypatch):
    address = site.run()
    ids = site.put_many(address, 150)

    def move_one(status, headers, body):
        where = "WHERE run_id = :run AND key = 'k000'"
        site.airflow.sql(f"UPDATE task_state_store SET key = 'k999' {where}", run=address.run_id)
        return status, headers, body

    with faulty(site, monkeypatch) as proxy:
        proxy.change("rows", move_one)
        found = site.seen(address, url=proxy.url)
    assert found.ids == ids
    assert not found.hidden


def test_a_list_that_never_stays_the_same_is_hidden(site, monkeypatch):
    address = site.run()
    site.put_many(address, 150)
    keys = (f"k{number:03}" for number in itertools.count())

    def delete_one(status, headers, body):
        where = "WHERE run_id = :run AND key = :key"
        site.airflow.sql(f"DELETE FROM task_state_store {where}", run=address.run_id, key=next(keys))
        return status, headers, body

    with faulty(site, monkeypatch) as proxy:
        proxy.change("rows", delete_one, times=0)
        found = site.seen(address, url=proxy.url)
    assert "changed each" in found.reason


def test_rows_of_a_deleted_task_instance_are_found(site):
    address = site.run()
    blob_id = site.put(address)
    site.airflow.rest.ask("DELETE", site.path(address))
    found = site.seen(address)
    assert found.ids == {blob_id}
    # From 3.4 on its rows may be in a region as well, which nothing lists.
    assert found.kept == ({address} if site.airflow.has_regions else set())


def test_a_deleted_run_is_provably_gone_with_its_rows(site):
    address = site.run()
    site.put(address)
    site.airflow.sql("UPDATE dag_run SET state = 'failed' WHERE run_id = :run", run=address.run_id)
    site.airflow.rest.ask("DELETE", f"/api/v2/dags/{address.dag_id}/dagRuns/{address.run_id}")
    found = site.seen(address)
    assert (found.roots, found.hidden) == ((), ())


@pytest.mark.parametrize("account", ["op", "admin", "narrow"])
def test_a_dag_that_is_not_there_is_provably_gone_for_who_may_see_all(site, account):
    found = site.seen(TaskAddress("never_was", "run", "task"), account=account)
    assert (found.roots, found.hidden) == ((), ())


def test_rows_without_their_run_are_kept(site, monkeypatch):
    address = site.run()
    blob_id = site.put(address)
    lost = json.dumps(
        {"detail": f"The DagRun with dag_id: `probe` and run_id: `{address.run_id}` was not found"}
    ).encode()

    def deny(status, headers, body):
        return 404, {"Content-Type": "application/json"}, lost

    site.airflow.rest.ask("DELETE", site.path(address))
    with faulty(site, monkeypatch) as proxy:
        proxy.change("run", deny, times=0)
        found = site.seen(address, url=proxy.url)
    assert found.ids == {blob_id}
    assert "yet it has rows" in found.reason


@pytest.mark.parametrize(
    "run_id",
    ["manual__2026-01-01T00:00:00+00:00", "a b%2Fc&limit=0?#;=", "é%C3%A9 %25", "{x}[y]", "~x", "...", "a`b"],
)
def test_ids_arrive_as_they_are(site, run_id):
    run_id = f"{run_id}{next(NUMBERS)}"
    address, other = TaskAddress("probe", run_id, "sync"), TaskAddress("probe", f"{run_id}x", "sync")
    for each in (address, other):
        site.clone_run("probe", each.run_id, [("sync", -1)])
    blob_id = site.put(address)
    found = site.seen(address, other)
    assert found.ids == {blob_id}
    assert not found.hidden


@pytest.mark.parametrize(
    "address",
    [
        TaskAddress("~", "run", "task"),
        TaskAddress("dag", "~", "task"),
        TaskAddress("dag", "run", "~"),
        TaskAddress("dag", "a/b", "task"),
        TaskAddress("dag", "run", "sync/state-store/k"),
        TaskAddress("..", "run", "task"),
        TaskAddress("dag", ".", "task"),
        TaskAddress("", "run", "task"),
        TaskAddress("dag", "\ud800", "task"),
    ],
)
def test_an_id_that_means_something_else_in_a_path_is_not_even_asked_for(site, monkeypatch, address):
    with faulty(site, monkeypatch) as proxy:
        found = site.seen(address, url=proxy.url)
    assert "cannot be asked for" in found.reason
    assert set(proxy.operations) <= {"version", "login", "variable"}


def test_a_run_that_a_backtick_makes_ambiguous_is_kept(site):
    assert site.seen(TaskAddress("never_was", "a`b", "task")).hidden


def test_a_value_that_the_server_cannot_answer_with_hides_its_address_and_no_other(site):
    broken, whole = site.run(), site.run()
    site.put(broken)
    blob_id = site.put(whole)
    where = "WHERE run_id = :run"
    site.airflow.sql(f"UPDATE task_state_store SET value = '\"\\ud800\"' {where}", run=broken.run_id)
    found = site.seen(broken, whole)
    assert found.ids == {blob_id}
    assert found.kept == {broken}
    assert "500" in found.reason


class TestRegions:
    """Airflow 3.4's second coordinate."""

    def test_a_region_unknown_to_the_server_is_kept(self, site):
        address = site.run()
        found = site.seen(TaskAddress("probe", address.run_id, "sync", 0, uuid.uuid4()))
        wanted = "not current" if site.airflow.has_regions else "older than the region"
        assert wanted in found.reason

    def test_an_address_without_region_of_a_task_that_has_some_is_kept(self, site):
        run = site.airflow.run("probe", "mapped", conf={"code": ""})
        found = site.seen(TaskAddress("probe", run.run_id, "mapped", 1))
        if site.airflow.has_regions:
            assert "the address names none" in found.reason
        else:
            assert not found.hidden

    def test_an_index_that_the_task_does_not_have_is_kept_where_there_are_regions(self, site):
        address = site.run()
        found = site.seen(TaskAddress("probe", address.run_id, "sync", 7))
        assert bool(found.hidden) is site.airflow.has_regions

    def test_a_task_that_the_run_does_not_have_is_kept_where_there_are_regions(self, site):
        address = site.run()
        found = site.seen(TaskAddress("probe", address.run_id, "no_such_task"))
        assert bool(found.hidden) is site.airflow.has_regions


class TestAssets:
    def test_an_asset_is_found_by_its_name_and_by_its_uri(self, site):
        name = AssetAddress(name="probe_a")
        blob_id = site.put(name)
        for address in (name, AssetAddress(uri="s3://probe/a")):
            found = site.seen(address)
            assert blob_id in found.ids
            assert not found.hidden

    def test_all_assets_of_one_name_count_active_or_not(self, site):
        name, uris = f"twin{next(NUMBERS)}", [f"s3://twin/{next(NUMBERS)}" for _ in range(2)]
        for uri in uris:
            site.clone("asset", "name = 'probe_a'", name=name, uri=uri)
        ids = {site.put(AssetAddress(uri=uri)) for uri in uris}
        found = site.seen(AssetAddress(name=name))
        assert found.ids == ids
        assert not found.hidden

    def test_all_pages_of_assets_and_of_their_rows_are_read(self, site):
        name = f"many{next(NUMBERS)}"
        for number in range(130):
            site.clone("asset", "name = 'probe_a'", name=name, uri=f"s3://{name}/{number}")
        last = AssetAddress(uri=f"s3://{name}/129")
        ids = {site.put(last, f"k{number:03}") for number in range(110)}
        found = site.seen(AssetAddress(name=name))
        assert found.ids == ids
        assert not found.hidden

    def test_an_asset_that_is_not_listed_is_kept(self, site):
        addresses = {AssetAddress(name="no such asset"), AssetAddress(uri="s3://no/such"), AssetAddress(name="~")}
        assert site.seen(*addresses).kept == addresses

    def test_ids_that_are_provably_unused_hide_nothing(self, site):
        gap = f"gap{next(NUMBERS)}"
        for name in (gap, f"{gap}-after"):
            site.clone("asset", "name = 'probe_a'", name=name, uri=f"s3://{name}")
        site.airflow.sql("DELETE FROM asset WHERE name = :name", name=gap)
        assert not site.seen(AssetAddress(name=f"{gap}-after")).hidden


class TestAnAccountThatMayNotSeeEverything:
    """Its roots are fewer, and nothing of what it cannot see becomes an orphan."""

    def test_a_dag_that_is_denied_is_kept_and_others_are_read(self, site):
        denied, allowed = site.run("asset_watermark", "load"), site.run()
        hidden_id, blob_id = site.put(denied), site.put(allowed)
        assert site.seen(denied, allowed).ids == {hidden_id, blob_id}
        found = site.seen(denied, allowed, account="narrow")
        assert found.ids == {blob_id}
        assert found.kept == {denied}
        assert "403" in found.reason

    def test_a_run_that_is_gone_is_kept_where_its_dag_is_denied(self, site):
        """Airflow answers 403 before it looks: nothing tells whether the run exists."""
        address = TaskAddress("asset_watermark", "never_was", "load")
        assert not site.seen(address).hidden
        assert "403" in site.seen(address, account="narrow").reason

    def test_an_asset_that_is_denied_is_kept(self, site):
        denied, allowed = AssetAddress(name="probe_b"), AssetAddress(name="probe_a")
        blob_id, other_id = site.put(denied), site.put(allowed)
        assert blob_id in site.seen(denied).ids
        found = site.seen(denied, allowed, account="narrow")
        assert blob_id not in found.ids
        if site.airflow.has_regions:  # the list leaves it out: nobody knows what else, so no asset is judged
            assert found.kept == {denied, allowed}
        else:
            assert other_id in found.ids
            assert found.kept == {denied}

    def test_one_of_two_assets_of_a_name_is_enough_to_keep_it(self, site):
        name = "probe_b"  # which the account may not see
        uri = f"s3://probe/b/{next(NUMBERS)}"
        site.clone("asset", "name = 'probe_a'", name=f"seen{uri}", uri=uri)
        site.clone("asset", "name = 'probe_a'", name=name, uri=uri)
        assert site.seen(AssetAddress(uri=uri), account="narrow").kept == {AssetAddress(uri=uri)}
        site.airflow.sql("DELETE FROM asset WHERE uri = :uri", uri=uri)

    @pytest.mark.parametrize("account", ["viewer", "user"])
    def test_a_role_that_reads_no_variables_raises_and_says_so(self, site, account):
        address = site.run()
        with (
            site.roots(account, deployment="other") as source,
            pytest.raises(Exception, match="may not use the Variable") as caught,
        ):
            seen(source, [address])
        assert "can_read" in caught.value.hint

    def test_a_role_that_reads_rows_reads_them(self, site):
        address = site.run()
        blob_id = site.put(address)
        for account in ("viewer", "user"):
            with site.roots(account) as source:
                assert [root.ids for root in itertools.islice(source.roots([address]), 1)] == [(blob_id,)]

    def test_an_account_without_any_role_keeps_all(self, site):
        addresses = [site.run(), AssetAddress(name="probe_a")]
        with site.roots("nobody") as source:
            found = list(itertools.islice(source.roots(addresses), 2))
        assert [hidden.address for hidden in found] == addresses
        assert all("403" in hidden.reason for hidden in found)


class TestContract(RootSourceContract):
    """The contract of every source, on a DAG and a run made for it."""

    @pytest.fixture(autouse=True)
    def rows(self, site):
        if not site.airflow.sql("SELECT 1 FROM dag WHERE dag_id = 'dag'"):
            tasks = [(each.task_id, each.map_index) for each in ADDRESSES if isinstance(each, TaskAddress)]
            site.clone_run("dag", "run", tasks)
        with closing(sqlite3.connect(site.airflow.home / "airflow.db", isolation_level=None)) as database:
            database.execute("DELETE FROM task_state_store WHERE dag_id = 'dag'")
            database.execute(
                "DELETE FROM asset_state_store WHERE asset_id = (SELECT id FROM asset WHERE name = 'orders')"
            )
            yield database

    @pytest.fixture
    def root_source(self, site):
        with site.roots() as source:
            yield source

    @pytest.fixture
    def put_row(self, site, rows):
        [[run]] = site.airflow.sql("SELECT id FROM dag_run WHERE dag_id = 'dag'")
        [[asset]] = site.airflow.sql("SELECT id FROM asset WHERE name = 'orders'")
        index = "region_index" if site.airflow.has_regions else "map_index"
        now = "2026-01-01 00:00:00.000000"

        def put(address, key, text):
            if isinstance(address, AssetAddress):
                columns, values = "asset_id, last_updated_by_kind", (asset, "api")
            else:
                columns = f"dag_run_id, dag_id, run_id, task_id, {index}"
                values = (run, address.dag_id, address.run_id, address.task_id, address.map_index)
            table = "asset_state_store" if isinstance(address, AssetAddress) else "task_state_store"
            marks = ", ".join("?" * len(values))
            statement = (
                f"INSERT OR REPLACE INTO {table} (key, value, updated_at, {columns}) VALUES (?, ?, ?, {marks})"
            )
            rows.execute(statement, (key, text, now, *values))

        return put

    @pytest.fixture
    def drop_row(self, rows):
        return lambda address, key: rows.execute("DELETE FROM task_state_store WHERE key = ?", [key])


def test_the_canary_follows_the_rows(site):
    address = site.run()
    blob_id = site.put(address)
    wanted = ledger(1)
    with site.roots() as source:
        source.record(wanted)
        roots = seen(source, [address]).roots
    assert [root.ref for root in roots] == [ref_to(blob_id, address), wanted.canary]
    assert json.loads(envelope(wanted.canary))
