"""The page inside Airflow's real UI, which puts it into a frame: from its menu, and as a tab of its pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed here: run `make test`")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.ui.site import Site
    from tests.ui.state import State


def test_from_the_menu_of_airflow_to_a_value(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Offloaded state").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Offloaded state")).to_be_visible()
    expect(frame.get_by_role("row")).to_have_count(15)
    expect(frame.get_by_text("Deployment team-a · blobs below s3://state/state")).to_be_visible()
    expect(frame.get_by_text("run 7")).to_be_visible()
    row = frame.get_by_role("row").filter(has_text="customers")
    expect(row).to_contain_text("list[20000]")
    expect(row).to_contain_text("of 717.8 kB")
    expect(row).to_contain_text("3 hours ago")
    expect(row).to_contain_text("2 hours ago")
    frame.get_by_role("button", name="history").click()
    dialog = frame.get_by_role("dialog")
    expect(dialog).to_contain_text("signed")
    dialog.get_by_role("button", name="View").click()
    expect(dialog.locator("pre")).to_contain_text(f'"step": {2**53 + 1}')
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_tab_of_a_task_instance_has_its_state_alone(page: Page, site: Site, state: State) -> None:
    page.goto(f"{site.url}/dags/{state.load.dag_id}/runs/{state.load.run_id}/tasks/load")
    page.get_by_role("link", name="Offloaded state").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("row")).to_have_count(4)
    expect(frame.get_by_role("button", name="customers")).to_be_visible()
    expect(frame.get_by_role("columnheader", name="Task")).to_have_count(0)


RUN = "dags/train_forecast/runs/manual__2026-11-25T06:00:00+00:00"


@pytest.mark.parametrize(
    ("place", "there", "not_there"),
    [
        ("dags/train_forecast", "checkpoint/previous", "customers"),
        ("dags/train_forecast/tasks/fit", "checkpoint/previous", "scores"),
        (RUN, "scores", "checkpoint/previous"),
        (f"{RUN}/tasks/evaluate/mapped/1", "scores", "history"),
    ],
)
def test_dags_tasks_runs_and_mapped_instances_have_a_tab(
    page: Page, site: Site, place: str, there: str, not_there: str
) -> None:
    page.goto(f"{site.url}/{place}")
    page.get_by_role("link", name="Offloaded state").click()
    rows = page.frame_locator("iframe").get_by_role("row")
    expect(rows.filter(has_text=there)).to_have_count(1)
    expect(rows.filter(has_text=not_there)).to_have_count(0)


def test_links_lead_back_into_airflow(page: Page, site: Site, state: State) -> None:
    page.goto(f"{site.url}/plugin/offloaded-state")
    frame = page.frame_locator("iframe")
    row = frame.get_by_role("row").filter(has_text="customers")
    link = row.get_by_role("link", name="load")
    assert link.evaluate("link => link.href") == f"{site.url}/dags/ingest_orders/runs/nightly-2026-11-26/tasks/load"
    link.click()
    page.wait_for_url(re.compile(r"/dags/ingest_orders/runs/nightly-2026-11-26/tasks/load$"))
    expect(page.get_by_role("heading", name="load")).to_be_visible()
    page.go_back()
    expect(page.frame_locator("iframe").get_by_role("button", name="customers")).to_be_visible()


def test_light_and_dark_follow_airflow(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/plugin/offloaded-state")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("button", name="customers")).to_be_visible()
    for theme in ("dark", "light"):
        page.evaluate("theme => document.documentElement.className = theme", theme)
        expect(frame.locator("html")).to_have_class(theme if theme == "dark" else "")
        colours = [
            place.evaluate("element => getComputedStyle(element).backgroundColor")
            for place in (frame.locator("body"), page.locator("html"))
        ]
        assert colours[0] == colours[1] != "rgba(0, 0, 0, 0)"


def test_assets_have_a_tab_where_airflow_has_one(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/assets/{site.asset_id('orders')}")
    expect(page.get_by_role("heading", name="Asset Event").first).to_be_visible()
    tab = page.get_by_role("link", name="Offloaded state")
    if not site.database.has_regions:  # before Airflow 3.4
        expect(tab).to_have_count(0)
        return
    tab.click()
    rows = page.frame_locator("iframe").locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("watermark")
