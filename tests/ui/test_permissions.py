"""Who gets what: Airflow's own rights decide, for every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.airflow.lib.narrow_auth_manager import HIDDEN_ASSET, HIDDEN_DAG

if TYPE_CHECKING:
    from tests.ui.site import Site
    from tests.ui.state import State


def questions(site: Site) -> list[str]:
    """Every answer there is, with what it takes to get one."""
    own = {"key": "checkpoint", "dag_id": "train_forecast"}
    task = f"dag_id={own['dag_id']}&id={site.id_of(own['key'])}"
    asset, key = site.asset_id("orders"), "key=watermark"
    return [
        *("tasks", "assets", "tasks/totals", "assets/totals", "about"),
        *(f"tasks/{what}?{task}" for what in ("value", "check", "download")),
        *(f"assets/{asset}/{what}?{key}" for what in ("value", "check", "download")),
    ]


def test_the_questions_are_all_that_there_are(site: Site, state: State) -> None:
    from offload_backend.airflow.ui.app import create_app

    known = {question.partition("?")[0] for question in questions(site)}
    routes = {route.path for route in create_app().routes if hasattr(route, "methods")}
    asked = {f"/api/{name.replace(str(site.asset_id('orders')), '{asset_id}')}" for name in known}
    assert routes == asked | {"/"}


def test_without_login_nobody_gets_anything(site: Site, state: State) -> None:
    with site.client(None) as client:
        for question in questions(site):
            answer = client.get(f"/offload/api/{question}")
            assert answer.status_code == 401, question
            assert answer.json() == {"detail": "Not authenticated"}


def test_without_login_the_page_leads_to_the_login_and_back(site: Site) -> None:
    with site.client(None) as client:
        answer = client.get("/offload/?dag_id=train_forecast")
    assert answer.status_code == 303
    place = urlsplit(str(answer.next_request.url))
    assert place.path == "/team-a/api/v2/auth/login"
    assert parse_qs(place.query) == {"next": ["/team-a/offload/?dag_id=train_forecast"]}


def test_a_false_token_is_refused(site: Site, state: State) -> None:
    with site.client(None, headers={"Authorization": "Bearer x.y.z"}) as client:
        assert {client.get(f"/offload/api/{question}").status_code for question in questions(site)} == {403}


def test_who_has_no_rights_gets_nothing(site: Site, state: State) -> None:
    with site.client("nobody") as client:
        assert {client.get(f"/offload/api/{question}").status_code for question in questions(site)} == {403}


@pytest.mark.parametrize("account", ["viewer", "admin"])
def test_who_may_read_all_gets_all(site: Site, state: State, account: str) -> None:
    with site.client(account) as client:
        for question in questions(site):
            answer = client.get(f"/offload/api/{question}")
            assert answer.status_code == 200, (question, answer.text)
        assert HIDDEN_DAG in client.get("/offload/api/tasks").text
        assert HIDDEN_ASSET in client.get("/offload/api/assets").text


def test_what_one_may_not_see_is_in_no_list_and_no_sum(site: Site, state: State) -> None:
    with site.client("narrow") as narrow, site.client("admin") as admin:
        for name, hidden in (("tasks", HIDDEN_DAG), ("assets", HIDDEN_ASSET)):
            seen, all_of_it = (client.get(f"/offload/api/{name}?kept=all").json() for client in (narrow, admin))
            assert hidden not in {row.get("dag_id", row.get("name")) for row in seen["rows"]}
            assert seen["count"] == all_of_it["count"] - 1
            sums, totals = (client.get(f"/offload/api/{name}/totals").json() for client in (narrow, admin))
            assert hidden not in str(sums)
            assert hidden in str(totals)
            assert (sums["rows"], sums["offloaded"]) == (totals["rows"] - 1, totals["offloaded"] - 1)
            assert 0 < sums["stored"] < totals["stored"]


def test_asking_for_it_by_name_does_not_help(site: Site, state: State) -> None:
    row, asset = site.id_of("payroll"), site.asset_id(HIDDEN_ASSET)
    with site.client("narrow") as client:
        for question in ("tasks", "tasks/totals", "about"):
            assert client.get(f"/offload/api/{question}?dag_id={HIDDEN_DAG}").status_code == 403
        assert client.get(f"/offload/api/assets?asset_id={asset}&kept=all").json()["count"] == 0
        for what in ("value", "check", "download"):
            asked = client.get(f"/offload/api/tasks/{what}?dag_id={HIDDEN_DAG}&id={row}")
            assert asked.status_code == 403
            assert client.get(f"/offload/api/assets/{asset}/{what}?key=secret-of-b").status_code == 403


def test_a_row_is_not_had_under_the_name_of_another_dag(site: Site, state: State) -> None:
    row = site.id_of("payroll")
    with site.client("narrow") as client:
        for dag_id in ("train_forecast", "~", ""):
            answer = client.get("/offload/api/tasks/value", params={"dag_id": dag_id, "id": row})
            assert answer.status_code == 404, dag_id
        both = client.get(f"/offload/api/tasks/value?dag_id={HIDDEN_DAG}&dag_id=train_forecast&id={row}")
        assert both.status_code == 404
        both = client.get(f"/offload/api/tasks/value?dag_id=train_forecast&dag_id={HIDDEN_DAG}&id={row}")
        assert both.status_code == 403


@pytest.mark.parametrize("spelling", ["+{}", "0{}", "{}.0", " {}", "{}_0", "-0"])
def test_the_id_of_an_asset_is_spelt_in_one_way(site: Site, state: State, spelling: str) -> None:
    asset = quote(spelling.format(site.asset_id(HIDDEN_ASSET)), safe="+")
    with site.client("narrow") as client:
        for what in ("value", "check", "download"):
            answer = client.get(f"/offload/api/assets/{asset}/{what}?key=secret-of-b")
            assert (answer.status_code, answer.json()) == (404, {"detail": "there is no such asset"})


def test_nothing_but_reading_is_answered(site: Site, state: State) -> None:
    with site.client("admin") as client:
        for question in questions(site):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert client.request(method, f"/offload/api/{question}").status_code == 405
