"""Servers that fail, lie, hang or ask for a login, and the ledger: never a short list of roots."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
from http import HTTPStatus
from uuid import UUID

import httpx
import pytest

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores import rest_client
from offload_backend.corestores.airflow_rest import TROUBLES, RestRoots
from offload_backend.corestores.rest_client import base_url
from offload_backend.corestores.rest_ledger import variable_key
from offload_backend.errors import ConfigError, CoreStoreError
from offload_backend.rootsource import Hidden, Root
from tests.airflow.rest_site import edited, faulty, ledger, password_of, seen

JSON = {"Content-Type": "application/json"}
EMPTY = {"task_state_store": [], "asset_state_store": [], "total_entries": 0}
LOGIN_PAGE = b"<!doctype html><title>Log in</title>"


@pytest.fixture
def site(rest_site, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(rest_client, "PAUSES", (0.0, 0.0))
    return rest_site


@pytest.fixture
def proxy(site, monkeypatch):
    with faulty(site, monkeypatch) as proxy:
        yield proxy


def answering(status, body, headers=JSON):
    return lambda *_: (status, dict(headers), body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.fixture(scope="module")
def long(rest_site):
    """An address with two pages of rows, and the ids in them."""
    address = rest_site.run()
    return address, rest_site.put_many(address, 150)


@pytest.fixture(scope="module")
def states(rest_site, long):
    """That address, and another one with one row."""
    address = rest_site.run()
    return long, (address, rest_site.put(address))


WRONG = {
    "an error": answering(500, {"detail": "Internal Server Error"}),
    "an error without a body": answering(500, b"", {}),
    "a denial": answering(403, {"detail": "Forbidden"}),
    "a proxy's not found": answering(404, {"detail": "Not Found"}),
    "a conflict": answering(409, {"detail": "Multiple producers"}),
    "a bad request": answering(400, {"detail": "Select a region and index for this task instance"}),
    "a login page": answering(200, LOGIN_PAGE, {"Content-Type": "text/html"}),
    "a login page called JSON": answering(200, LOGIN_PAGE),
    "a list called a page": answering(200, EMPTY, {"Content-Type": "text/html"}),
    "a redirect to a login page": answering(302, b"", {"Location": "/login"}),
    "a redirect with a body": answering(
        307, {"task_state_store": [], "total_entries": 0}, {**JSON, "Location": "/x"}
    ),
    "nothing": answering(204, b"", {}),
    "an empty object": answering(200, {}),
    "another list": answering(200, {"dag_runs": [], "total_entries": 0}),
    "a list without a total": answering(200, {"task_state_store": [], "task_instances": []}),
    "a total that is a text": answering(200, {"task_state_store": [], "total_entries": "0"}),
    "a list of no objects": answering(200, {"task_state_store": [1], "total_entries": 1}),
    "a row without a value": answering(200, {"task_state_store": [{"key": "k"}], "total_entries": 1}),
    "fewer rows than the total": answering(200, {"task_state_store": [], "total_entries": 1}),
    "JSON that is too deep": answering(200, b"[" * 100_000 + b"]" * 100_000),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("operation", ["rows", "later rows", "standing"])
def test_a_wrong_answer_at_any_step_hides_the_address_and_no_other(site, proxy, states, wrong, operation):
    (broken, _), (whole, blob_id) = states
    if operation == "standing":
        operation = "run" if site.airflow.has_regions else "instance"
    times = 5 if wrong == "fewer rows than the total" and "rows" in operation else 1
    proxy.change(operation, WRONG[wrong], times)
    with site.roots(url=proxy.url, concurrency=1) as source:
        found = seen(source, [broken, whole])
    assert blob_id in found.ids
    assert found.kept == {broken}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("operation", ["assets", "rows"])
def test_a_wrong_answer_about_assets_hides_them(site, proxy, wrong, operation):
    address = AssetAddress(name="probe_a")
    site.put(address)
    proxy.change(operation, WRONG[wrong], times=0)
    with site.roots(url=proxy.url) as source:
        assert seen(source, [address]).kept == {address}


@pytest.mark.parametrize("operation", ["rows", "later rows", "instances", "instance", "run"])
def test_a_cut_answer_is_asked_for_again_and_in_vain_it_hides(site, proxy, long, operation):
    address, ids = long
    proxy.cut_body(operation, 40, times=2)
    found = site.seen(address, url=proxy.url)
    assert found.ids == ids
    assert not found.hidden
    proxy.cut_body("rows", 40, times=3)
    assert "no answer" in site.seen(address, url=proxy.url).reason


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_trouble_that_may_pass_is_asked_again_a_few_times(site, proxy, long, status):
    address, ids = long
    for operation in ("version", "rows", "later rows"):
        proxy.change(operation, answering(status, b"", {}), times=2)
    with site.roots(url=proxy.url) as source:
        found = seen(source, [address])
    assert found.ids == ids
    assert not found.hidden
    proxy.change("later rows", answering(status, b"", {}), times=3)
    assert str(status) in site.seen(address, url=proxy.url).reason


def test_an_upgrade_while_roots_are_read_raises(site, proxy, long):
    with site.roots(url=proxy.url) as source:
        found = source.roots([long[0]])
        assert isinstance(next(found), Root)
        proxy.change("version", answering(200, {"version": "3.5.0"}))
        with pytest.raises(CoreStoreError, match="upgraded"):
            list(found)


def test_a_missing_library_is_named_with_its_extra(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with site.roots() as source, pytest.raises(ConfigError) as caught:
        source.origin()
    assert "offload-backend[rest]" in caught.value.hint


def test_an_answer_that_does_not_come_in_time_hides_its_address(site, proxy):
    slow, quick = site.run(), site.run()
    site.put(slow)
    blob_id = site.put(quick)
    release = threading.Event()
    proxy.hold("rows", release, times=3)
    with site.roots(url=proxy.url, timeout=0.5, concurrency=1) as source:
        found = seen(source, [slow, quick])
    release.set()
    assert found.ids == {blob_id}
    assert found.kept == {slow}


@pytest.mark.parametrize("operation", ["instance", "instances", "run"])
def test_an_answer_about_another_task_instance_or_run_proves_nothing(site, proxy, operation):
    used_in_3_4 = operation != "instance"
    if used_in_3_4 is not site.airflow.has_regions:
        pytest.skip("this version of Airflow is not asked for it")
    address, other = site.run(), site.run()
    site.put(address)

    of_the_other = edited(lambda body: body.replace(address.run_id.encode(), other.run_id.encode()))
    proxy.change(operation, of_the_other, times=0)
    assert site.seen(address, url=proxy.url).kept == {address}


def test_an_answer_about_another_index_or_region_proves_nothing(site, proxy):
    code = {"code": "store.set('key', 1)"}
    run = site.airflow.run("probe", "mapped", conf=code)
    [row] = [row for row in site.airflow.rows().task if row.run_id == run.run_id and row.map_index == 1]
    address = TaskAddress("probe", run.run_id, "mapped", 1, UUID(row.region_id) if row.region_id else None)
    assert not site.seen(address, url=proxy.url).hidden
    changes = (
        {"map_index": 2} if not site.airflow.has_regions else {"region_index": 2, "region_id": str(UUID(int=7))}
    )
    for name, value in changes.items():

        @edited
        def elsewhere(body, change=(name, value)):
            return json.dumps(dict([*json.loads(body).items(), change])).encode()

        proxy.change("instance", elsewhere)
        assert site.seen(address, url=proxy.url).kept == {address}


def test_the_canary_is_read_after_all_rows(site, proxy):
    with site.roots(url=proxy.url, concurrency=3) as source:
        seen(source, [site.run() for _ in range(4)])
    assert proxy.operations[-1] == "variable"
    assert proxy.operations.count("variable") == 1


def test_not_found_about_another_run_proves_nothing(site, proxy):
    gone, other = site.run(), site.run()
    site.airflow.sql("UPDATE dag_run SET state = 'failed' WHERE run_id = :run", run=gone.run_id)
    site.airflow.rest.ask("DELETE", f"/api/v2/dags/probe/dagRuns/{gone.run_id}")

    of_the_other = edited(lambda body: body.replace(gone.run_id.encode(), other.run_id.encode()))
    proxy.change("run", of_the_other, times=0)
    assert site.seen(gone, url=proxy.url).kept == {gone}


def test_an_instance_that_is_gone_and_a_run_that_may_not_be_seen_is_kept(site, proxy):
    address = site.run()
    site.airflow.rest.ask("DELETE", site.path(address))
    proxy.change("run", answering(403, {"detail": "Forbidden"}), times=0)
    assert "403" in site.seen(address, url=proxy.url).reason


def test_a_page_of_one_row_is_not_enough_to_see_that_rows_join(site, proxy):
    address = site.run()
    site.put_many(address, 3)

    @edited
    def first_row(body):
        listed = json.loads(body)
        return json.dumps({**listed, "task_state_store": listed["task_state_store"][:1]}).encode()

    for operation in ("rows", "later rows"):
        proxy.change(operation, first_row, times=0)
    assert site.seen(address, url=proxy.url).kept == {address}


def test_a_server_with_smaller_pages_is_read_completely(site, proxy):
    address = site.run()
    ids = site.put_many(address, 12)

    @edited
    def five_rows(body):
        listed = json.loads(body)
        return json.dumps({**listed, "task_state_store": listed["task_state_store"][:5]}).encode()

    for operation in ("rows", "later rows"):
        proxy.change(operation, five_rows, times=0)
    found = site.seen(address, url=proxy.url)
    assert found.ids == ids
    assert not found.hidden


def test_a_server_that_is_gone_raises_and_does_not_hide_address_after_address(site, proxy):
    addresses = [site.run()] * 200
    with site.roots(url=proxy.url, concurrency=1) as source:
        found = source.roots(iter(addresses))
        proxy.answer("rows", 503, "", times=0)
        assert isinstance(next(found), Hidden)
        proxy.answer("version", 503, "", times=0)
        with pytest.raises(CoreStoreError) as caught:
            list(found)
    assert caught.value.retryable
    assert proxy.operations.count("rows") <= 3 * (TROUBLES + 3)


def test_one_scope_after_another_that_fails_stops_nobody_while_the_server_lives(site, proxy):
    addresses = [site.run() for _ in range(TROUBLES + 1)]
    whole = addresses[-1]
    blob_id = site.put(whole)
    proxy.answer("rows", 500, "", times=TROUBLES)
    with site.roots(url=proxy.url, concurrency=1) as source:
        found = seen(source, addresses)
    assert found.ids == {blob_id}
    assert found.kept == set(addresses[:-1])


def test_addresses_are_taken_as_they_are_needed(site):
    address = site.run()
    site.put(address)
    taken = itertools.count()
    endless = (address for _ in iter(lambda: next(taken), -1))
    with site.roots(concurrency=2) as source:
        found = source.roots(endless)
        assert isinstance(next(found), Root)
        found.close()
    assert next(taken) <= 5


class TestLogin:
    def test_a_token_that_expires_meanwhile_is_replaced_once(self, site, proxy, long):
        address, ids = long
        with site.roots(url=proxy.url) as source:
            assert seen(source, [address]).ids == ids
            source._client._token = expired_token(site)
            found = seen(source, [address])
        assert found.ids == ids
        assert not found.hidden
        assert proxy.operations.count("login") == 2

    def test_a_token_that_expires_between_two_pages_is_replaced(self, site, proxy, long):
        address, ids = long
        with site.roots(url=proxy.url) as source:
            expired = expired_token(site)

            def expire(status, headers, body):
                source._client._token = expired
                return status, headers, body

            proxy.change("rows", expire)
            found = seen(source, [address])
        assert found.ids == ids
        assert not found.hidden

    def test_a_given_token_that_has_expired_hides_and_raises(self, site):
        address = site.run()
        with site.roots(token=expired_token(site)) as source:
            found = source.roots([address])
            assert isinstance(next(found), Hidden)
            with pytest.raises(CoreStoreError, match="refuses the token") as caught:
                next(found)
        assert "fresh token" in caught.value.hint

    def test_a_given_token_is_used(self, site):
        address = site.run()
        blob_id = site.put(address)
        with site.roots(token=token_of(site, "/auth/token"), account="nobody") as source:
            assert seen(source, [address]).ids == {blob_id}

    def test_a_token_that_the_server_cannot_verify_is_no_denial(self, site):
        with site.roots(token="eyJhbGciOiJIUzI1NiJ9.e30.x") as source, pytest.raises(CoreStoreError) as caught:
            source.ledger()
        assert "refuses the token" in str(caught.value)

    def test_a_wrong_password_raises_without_showing_it(self, site, caplog):
        caplog.set_level(logging.DEBUG)
        source = RestRoots(site.url, deployment="d", username="op", password="wrong-and-secret")
        with pytest.raises(CoreStoreError, match="does not log in op") as caught:
            source.ledger()
        source.close()
        for text in (str(caught.value), repr(caught.value), caplog.text, source.origin().fingerprint):
            assert "secret" not in text

    def test_an_account_in_the_url_logs_in_and_is_shown_nowhere(self, site, caplog):
        caplog.set_level(logging.DEBUG)
        url = site.url.replace("http://", f"HTTP://op:{password_of('op')}@") + "/api/v2/"
        source = RestRoots(url, deployment="d-in-the-url")
        assert source.ledger() is None
        origin = source.origin()
        assert (origin.kind, origin.fingerprint, origin.location) == ("rest", site.url, site.url)
        assert not origin.replica
        assert origin.read_at is None
        source.close()
        assert password_of("op") not in caplog.text + repr(source)

    def test_an_airflow_without_accounts_needs_none(self, site):
        address = site.run()
        blob_id = site.put(address)
        source = RestRoots(site.airflow.rest.url, deployment="none", token="")
        assert seen(source, [address]).ids == {blob_id}
        source.close()

    def test_a_token_refused_again_raises(self, site, proxy):
        proxy.change("variable", answering(401, {"detail": "Not authenticated"}), times=0)
        with site.roots(url=proxy.url) as source, pytest.raises(CoreStoreError, match="it has just given"):
            source.ledger()
        assert proxy.operations.count("login") == 2

    def test_what_is_not_airflow_is_a_matter_of_configuration(self, site, proxy):
        proxy.change("version", answering(200, {"name": "something else"}), times=0)
        with site.roots(url=proxy.url) as source, pytest.raises(ConfigError, match="no Airflow API"):
            source.origin()

    def test_an_airflow_before_3_3_is_refused(self, site, proxy):
        proxy.change("version", answering(200, {"version": "3.2.9"}), times=0)
        with site.roots(url=proxy.url) as source, pytest.raises(ConfigError, match=r"3\.2 has no state store"):
            list(source.roots([]))

    def test_nobody_there_raises_and_may_be_tried_again(self, proxy, site):
        with site.roots(url="http://127.0.0.1:9") as source, pytest.raises(CoreStoreError) as caught:
            source.origin()
        assert caught.value.retryable


class TestLedger:
    def test_it_survives_and_goes_forward_only(self, site):
        first, second = ledger(3), ledger(4)
        with site.roots(deployment="forward") as source:
            assert source.ledger() is None
            source.record(first)
            source.record(second)
            with pytest.raises(CoreStoreError, match="does not go back"):
                source.record(ledger(3))
        with site.roots(deployment="forward") as source:
            assert source.ledger() == second
        variable = site.airflow.rest.ask("GET", "/api/v2/variables/offload_collector_forward")
        assert "deployment forward: do not edit" in variable["description"]

    def test_each_deployment_has_its_own(self, site):
        one, other = ledger(1), ledger(9)
        with site.roots(deployment="one") as source, site.roots(deployment="other") as another:
            source.record(one)
            another.record(other)
            assert (source.ledger(), another.ledger()) == (one, other)

    @pytest.mark.parametrize("name", ["token-service", "SECRET", "my-api_key", "password1", "proxies"])
    def test_a_deployment_named_like_a_secret_is_not_masked(self, site, name):
        wanted = ledger(2)
        with site.roots(deployment=name) as source:
            source.record(wanted)
            assert source.ledger() == wanted
        assert name not in variable_key(name)

    def test_a_masked_value_raises_and_says_what_to_change(self, site, monkeypatch):
        monkeypatch.setattr("offload_backend.corestores.rest_ledger.variable_key", lambda name: f"secret_{name}")
        with site.roots(deployment="masked") as source, pytest.raises(CoreStoreError) as caught:
            source.record(ledger(1))
        assert "sensitive_var_conn_names" in caught.value.hint

    @pytest.mark.parametrize("text", ["", "{}", "[1]", "no JSON", '{"offload_collector": 2}', "{{", "null"])
    def test_a_variable_that_somebody_else_wrote_raises(self, site, text):
        with site.roots() as source:
            key = source._ledger.key
            site.airflow.rest.ask("POST", "/api/v2/variables", json={"key": key, "value": text})
            for act in (source.ledger, lambda: source.record(ledger(1)), lambda: list(source.roots([]))):
                with pytest.raises(CoreStoreError, match="does not hold"):
                    act()

    def test_a_write_whose_answer_is_lost_is_not_repeated_and_not_hidden(self, site, proxy):
        with site.roots(url=proxy.url) as source:
            source.ledger()
            proxy.change("variable", lambda *answer: answer)
            proxy.lose_answer("variable")
            with pytest.raises(CoreStoreError, match="no answer"):
                source.record(ledger(1))
            assert source.ledger().sequence == 1
        assert [request.method for request in proxy.requests].count("POST") == 2  # the login and the write

    def test_two_first_writers_do_not_both_believe_it(self, site, proxy):
        mine, others = ledger(1), ledger(1)
        with site.roots(url=proxy.url, deployment="shared") as source, site.roots(deployment="shared") as another:

            def meanwhile(status, headers, body):
                another.record(others)
                return status, headers, body

            proxy.change("variable", meanwhile)
            with pytest.raises(CoreStoreError, match="409"):
                source.record(mine)
            assert source.ledger() == others

    def test_a_writer_that_was_overtaken_is_told(self, site, proxy):
        with site.roots(url=proxy.url, deployment="raced") as source, site.roots(deployment="raced") as another:
            another.record(ledger(1))

            def meanwhile(status, headers, body):
                another.record(ledger(7))
                return status, headers, body

            proxy.change("variable", lambda *answer: answer)
            proxy.change("variable", meanwhile)
            with pytest.raises(CoreStoreError, match="not what was just written"):
                source.record(ledger(2))

    @pytest.mark.parametrize("account", ["viewer", "user", "nobody"])
    def test_a_missing_permission_is_named(self, site, account):
        with site.roots(account) as source:
            for act in (source.ledger, lambda: source.record(ledger(1))):
                with pytest.raises(CoreStoreError, match="may not use the Variable") as caught:
                    act()
                assert "Variables" in caught.value.hint

    def test_a_denied_write_is_named_as_well(self, site, proxy):
        with site.roots(url=proxy.url) as source:
            proxy.change("variable", lambda *answer: answer)
            proxy.change("variable", answering(403, {"detail": "Forbidden"}))
            with pytest.raises(CoreStoreError, match="may not use the Variable"):
                source.record(ledger(1))

    def test_a_not_found_that_is_not_airflows_is_not_a_first_run(self, site, proxy):
        proxy.change("variable", answering(404, {"detail": "Not Found"}), times=0)
        with site.roots(url=proxy.url) as source:
            with pytest.raises(CoreStoreError, match="404"):
                source.ledger()
            with pytest.raises(CoreStoreError, match="404"):
                list(source.roots([]))


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://Airflow.Example.com/", "https://airflow.example.com"),
        ("https://airflow.example.com:443", "https://airflow.example.com"),
        ("http://airflow.example.com:80/team/api/v2/", "http://airflow.example.com/team"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://me:p%40ss@airflow.example.com:8443/x", "https://airflow.example.com:8443/x"),
    ],
)
def test_one_api_has_one_address(given, normal):
    assert base_url(given)[0] == normal


@pytest.mark.parametrize("given", ["", "airflow.example.com", "ftp://x", "https://", "https://x?y", "http://x:bad"])
def test_an_address_that_is_none_is_a_matter_of_configuration(given):
    with pytest.raises(ConfigError):
        base_url(given)


def token_of(site, path):
    account = {"username": "op", "password": password_of("op")}
    answer = httpx.post(f"{site.url}{path}", json=account, trust_env=False)
    assert answer.status_code == HTTPStatus.CREATED
    return answer.json()["access_token"]


def expired_token(site):
    """A real token, once the server itself says that it has expired."""
    headers = {"Authorization": f"Bearer {token_of(site, '/auth/token/cli')}"}
    while True:
        answer = httpx.get(f"{site.url}/api/v2/assets", headers=headers, trust_env=False)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            assert answer.json()["detail"] == "Token Expired"
            return headers["Authorization"].removeprefix("Bearer ")
