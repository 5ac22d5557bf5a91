"""One site and one browser for all tests of this folder."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.ui.state import SECRET
from tests.ui.watching import watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.s3 import S3
    from tests.ui.site import Site
    from tests.ui.state import State

REQUIRED = "OFFLOAD_REQUIRE_CHROMIUM"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    from tests.s3 import S3, serve

    with serve() as recorder:
        server = S3(recorder.endpoint, "state")
        server.client.create_bucket(Bucket="state")
        recorder.servers["*"] = server
        yield server


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Site]:
    """A running API server; ``state`` fills it."""
    if find_spec("airflow.executors") is None:
        pytest.skip("apache-airflow is not installed here: run `make test`")
    from tests.ui.site import serve

    with serve(tmp_path_factory.mktemp("airflow"), s3) as served:
        yield served


@pytest.fixture(scope="session")
def state(site: Site) -> Iterator[State]:
    """What tests read; those that write use keys of their own."""
    from tests.ui.state import fill

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("UI_KEY", SECRET)
        yield fill(site)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of the system's; skips where there is none, unless CI says that there must be."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        assert not os.environ.get(REQUIRED), f"{REQUIRED} is set, and Chromium is missing: apt-get install chromium"
        pytest.skip("there is no Chromium here: install chromium, from Debian for instance")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, site: Site, state: State) -> Iterator[Page]:
    """A page of an admin's browser, watched."""
    with watched(browser, site) as context:
        yield context.new_page()
