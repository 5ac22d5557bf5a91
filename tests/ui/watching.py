"""A browser that tells on its pages: whom they asked, and what they complained about."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext

    from tests.ui.site import Site

SANDBOX = "An iframe which has both allow-scripts and allow-same-origin"
"""What Chromium says of every frame that Airflow's UI makes for a plugin."""


@contextmanager
def watched(browser: Browser, site: Site, account: str = "admin", **options: Any) -> Iterator[BrowserContext]:
    """A browser of somebody. At the end: nothing was asked of others, and nothing complained."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    context.add_cookies([{"name": "_token", "value": site.token(account), "url": site.url}])
    asked, said = [], []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda each: said.append(each.text) if each.type in ("error", "warning") else None)
    context.on("weberror", lambda each: said.append(str(each.error)))
    try:
        yield context
    finally:
        context.close()
    origin = urlsplit(site.url).netloc
    places = [urlsplit(url) for url in asked]
    assert [place for place in places if place.scheme not in ("data", "blob") and place.netloc != origin] == []
    assert [text for text in said if not text.startswith(SANDBOX)] == []
