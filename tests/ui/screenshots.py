"""``python -m tests.ui.screenshots``: take the pictures of the page that the documents show."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright

from tests.s3 import S3
from tests.s3 import serve as serve_s3
from tests.ui.conftest import CHROMIUM, QUIET
from tests.ui.site import Site, serve
from tests.ui.state import SECRET, fill

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.ui.state import State

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = {"width": 1360, "height": 900}
TRICKS = ("<img%", "pickled", "copied", "other-backend", "gone", "damaged")
"""Rows that only tests want."""


def main() -> None:
    os.environ["UI_KEY"] = SECRET
    program = next(filter(None, map(shutil.which, CHROMIUM)))
    with tempfile.TemporaryDirectory() as home, serve_s3() as recorder, sync_playwright() as playwright:
        s3 = recorder.servers["*"] = S3(recorder.endpoint, "state")
        s3.client.create_bucket(Bucket="state")
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        with serve(Path(home), s3) as site:
            take(browser, site, fill(site))
        browser.close()


def take(browser: Browser, site: Site, state: State) -> None:
    for trick in TRICKS[:4]:
        site.database.sql("DELETE FROM task_state_store WHERE key LIKE :trick", trick=trick)
    IMAGES.mkdir(exist_ok=True)
    light, dark = (opened(browser, site, theme) for theme in ("light", "dark"))
    light.goto(f"{site.url}/plugin/offloaded-state")
    frame = light.frame_locator("iframe")
    frame.get_by_role("button", name="Look for blobs").click()
    expect(frame.locator("tbody .seen .badge")).to_have_count(10)
    light.mouse.move(0, 0)
    light.frames[-1].evaluate("scrollTo(0, 0)")
    light.screenshot(path=IMAGES / "ui-light.png")
    for trick in TRICKS[4:]:
        site.database.sql("DELETE FROM task_state_store WHERE key = :trick", trick=trick)
    dark.set_viewport_size({**SIZE, "height": 960})
    dark.goto(f"{site.url}/dags/{state.fit.dag_id}/runs/{state.fit.run_id}/tasks/{state.fit.task_id}")
    dark.get_by_role("link", name="Offloaded state").click()
    frame = dark.frame_locator("iframe")
    frame.get_by_role("button", name="checkpoint").click()
    frame.get_by_role("button", name="Outline").click()
    expect(frame.locator("pre")).to_contain_text("encoder")
    dark.screenshot(path=IMAGES / "ui-dark.png")


def opened(browser: Browser, site: Site, theme: str) -> Page:
    """A page of an admin who has chosen a theme in Airflow's UI."""
    context = browser.new_context(viewport=SIZE)
    context.add_cookies([{"name": "_token", "value": site.token("admin"), "url": site.url}])
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    return context.new_page()


if __name__ == "__main__":
    main()
