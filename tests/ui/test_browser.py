"""The page in a real browser: what people see and do, and what they must never get."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.airflow.rest_site import password_of
from tests.ui.state import HOSTILE
from tests.ui.watching import watched

pytest.importorskip("playwright.sync_api", reason="playwright is not installed here: run `make test`")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.ui.site import Site
    from tests.ui.state import State


def test_filter_order_and_what_is_shown_stay_in_the_address(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/offload/")
    rows = page.locator("tbody tr")
    page.get_by_role("searchbox").fill("checkpoint")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Key").click()
    expect(page.get_by_role("columnheader", name="Key")).to_have_attribute("aria-sort", "ascending")
    expect(rows.first).to_contain_text("dict[5]")
    page.get_by_role("button", name="Key").click()
    expect(rows.first).to_contain_text("checkpoint/previous")
    page.reload()
    expect(rows.first).to_contain_text("checkpoint/previous")
    expect(page.get_by_role("searchbox")).to_have_value("checkpoint")
    page.get_by_role("searchbox").fill("nothing has this name")
    expect(page.get_by_text("No row matches the filter.")).to_be_visible()
    page.get_by_role("searchbox").fill("settings")
    page.get_by_label("Show").select_option("all")
    expect(rows).to_contain_text(["in the row"])


def test_alone_the_page_is_as_was_chosen_in_airflow(page: Page, site: Site) -> None:
    page.add_init_script("localStorage.setItem('theme', 'dark')")
    page.goto(f"{site.url}/offload/")
    expect(page.locator("html")).to_have_class("dark")


def test_a_download_is_saved_under_its_key(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/plugin/offloaded-state")
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="customers").click()
    with page.expect_download() as saved:
        frame.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "customers.json"
    assert len(json.loads(Path(saved.value.path()).read_text())) == 20_000


def test_dangling_and_damaged_are_found_when_asked_for(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/offload/")
    page.get_by_role("button", name="Look for blobs").click()
    rows = page.locator("tbody tr")
    expect(rows.filter(has_text="customers").locator(".seen")).to_have_text("there")
    expect(rows.filter(has_text="list[40000]").locator(".seen")).to_have_text("gone")
    expect(rows.filter(has_text="list[50000]").locator(".seen")).to_have_text("damaged")
    expect(rows.filter(has_text="copied").locator(".seen")).to_have_text("not read")
    expect(rows.filter(has_text="other-backend").locator(".seen")).to_have_text("")
    rows.filter(has_text="list[40000]").get_by_role("button").first.click()
    page.get_by_role("button", name="Look for the blob").click()
    expect(page.get_by_role("alert")).to_contain_text("lifecycle rule")


def test_hostile_names_and_values_are_text(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/offload/")
    page.get_by_role("button", name=HOSTILE).click()
    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    page.get_by_role("button", name="View").click()
    expect(page.locator("pre")).to_contain_text(HOSTILE.replace('"', '\\"'))
    assert page.locator("img").count() == 0
    assert page.title() == "Offloaded state"


def test_by_keyboard_alone(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/offload/?text=history")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("searchbox").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "history":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "history"


def test_assets_and_who_wrote_them(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/offload/")
    page.get_by_role("button", name="Assets").click()
    row = page.get_by_role("row").filter(has_text="watermark")
    expect(row).to_contain_text("ingest_orders / load")
    expect(row.get_by_role("link", name="orders", exact=True)).to_have_attribute(
        "href", f"{site.url}/assets/{site.asset_id('orders')}"
    )


def test_who_may_not_see_a_dag_does_not(browser: Browser, site: Site, state: State) -> None:
    with watched(browser, site, "narrow") as context:
        page = context.new_page()
        page.goto(f"{site.url}/offload/")
        expect(page.get_by_role("button", name="customers")).to_be_visible()
        expect(page.get_by_role("button", name="payroll")).to_have_count(0)


def test_who_has_no_rights_is_told_so(browser: Browser, site: Site, state: State) -> None:
    context = browser.new_context()
    context.add_cookies([{"name": "_token", "value": site.token("nobody"), "url": site.url}])
    page = context.new_page()
    page.goto(f"{site.url}/offload/")
    expect(page.get_by_role("alert")).to_contain_text("You may not see this.")
    expect(page.locator("tbody tr")).to_have_count(0)
    expect(page.locator(".card")).to_have_count(0)
    context.close()


def test_login_leads_to_the_page(browser: Browser, site: Site, state: State) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/offload/?text=history")
    page.get_by_label("Username").fill("viewer")
    page.locator("input[type=password]").fill(password_of("viewer"))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site.url}/offload/?**")
    expect(page.locator("tbody tr")).to_have_count(1)
    context.close()


def test_a_server_that_fails_is_an_error_one_can_try_again(browser: Browser, site: Site, state: State) -> None:
    context = browser.new_context()
    context.add_cookies([{"name": "_token", "value": site.token("admin"), "url": site.url}])
    page = context.new_page()
    page.route("**/api/tasks?*", lambda route: route.fulfill(status=500, body="no"))
    page.goto(f"{site.url}/offload/")
    expect(page.get_by_role("alert")).to_contain_text("Airflow's API server failed.")
    page.unroute("**/api/tasks?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="customers")).to_be_visible()
    context.close()


def test_a_server_that_has_too_much_open_is_said_and_nothing_of_the_value(
    browser: Browser, site: Site, state: State
) -> None:
    context = browser.new_context()
    context.add_cookies([{"name": "_token", "value": site.token("admin"), "url": site.url}])
    page = context.new_page()
    body = {"problem": "Too many are open.", "hint": "Try again in 5 seconds."}
    page.route("**/api/tasks/value?*", lambda route: route.fulfill(status=503, json=body))
    page.goto(f"{site.url}/offload/")
    page.get_by_role("button", name="customers").click()
    page.get_by_role("button", name="View").click()
    expect(page.get_by_role("alert")).to_contain_text("Too many are open.")
    expect(page.get_by_role("alert")).to_contain_text("Try again in 5 seconds.")
    expect(page.locator("tbody tr").filter(has_text="customers").locator(".seen")).to_have_text("\u2013")
    context.close()


def test_many_rows_have_pages(page: Page, site: Site, state: State) -> None:
    names = [name for (name,) in site.database.sql("SELECT name FROM pragma_table_info('task_state_store')")]
    copied = ", ".join(name for name in names if name not in ("id", "key"))
    source = f"SELECT :key, {copied} FROM task_state_store WHERE key = 'pages'"
    for number in range(60):
        site.database.sql(f"INSERT INTO task_state_store (key, {copied}) {source}", key=f"many-{number:02}")
    try:
        page.goto(f"{site.url}/offload/?text=many-&order=key&descending=false")
        rows, status = page.locator("tbody tr"), page.get_by_role("status").filter(has_text="rows")
        expect(status).to_have_text(re.compile(r"^1\W50 of 60 rows$"))
        expect(page.get_by_role("button", name="Previous")).to_be_disabled()
        page.get_by_role("button", name="Next").click()
        expect(status).to_have_text(re.compile(r"^51\W60 of 60 rows$"))
        expect(rows.first).to_contain_text("many-50")
        expect(page.get_by_role("button", name="Next")).to_be_disabled()
        page.get_by_role("button", name="Previous").click()
        expect(rows.first).to_contain_text("many-00")
    finally:
        site.database.sql("DELETE FROM task_state_store WHERE key LIKE 'many-%'")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"location": "", "collector": None}, "Set [offload_backend] path where the API server runs"),
        ({"location": "", "trouble": {"problem": "a setting is wrong", "hint": "correct it"}}, "correct it"),
    ],
)
def test_what_the_server_cannot_do_is_said(page: Page, site: Site, about: dict, words: str) -> None:
    page.route("**/api/about*", lambda route: route.fulfill(json=about))
    page.goto(f"{site.url}/offload/")
    expect(page.get_by_text(words)).to_be_visible()
    expect(page.get_by_role("button", name="customers")).to_be_visible()
