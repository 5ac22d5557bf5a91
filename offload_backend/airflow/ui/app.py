"""The application that the API server mounts: a page, its files, and the answers that the page asks for.

It only reads. Every answer about state asks Airflow's auth manager first, as Airflow's own API of state does; the
page itself and its files hold nothing of anybody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Request, status
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from offload_backend.airflow.ui import telling
from offload_backend.airflow.ui.access import signed_in
from offload_backend.airflow.ui.answers import router
from offload_backend.airflow.ui.turns import BusyError
from offload_backend.errors import OffloadError

__all__ = ["create_app"]

STATIC = Path(__file__).with_name("static")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer. The page runs its own script alone, asks its own server alone, and only that may frame it."""


def create_app() -> FastAPI:
    """A new application; connects to nothing."""
    app = FastAPI(title="Offloaded state", openapi_url=None, docs_url=None, redoc_url=None)
    app.middleware("http")(_with_headers)
    app.add_exception_handler(OffloadError, _told)
    app.add_exception_handler(BusyError, _put_off)
    app.add_exception_handler(HTTPException, _sent_to_login)
    app.add_exception_handler(Exception, _failed)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.get("/", dependencies=[signed_in])(_page)
    return app


def _page() -> FileResponse:
    return FileResponse(STATIC / "index.html", media_type="text/html")


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response


async def _told(_: Request, error: Any) -> JSONResponse:
    status, body = telling.problem(error)
    return JSONResponse(body, status)


async def _put_off(_: Request, error: Any) -> JSONResponse:
    return JSONResponse(
        telling.busy(error), status.HTTP_503_SERVICE_UNAVAILABLE, {"Retry-After": str(error.seconds)}
    )


async def _failed(_: Request, _error: Exception) -> JSONResponse:
    """Says nothing of what it was: that is in the server's log. Sent from outside of what adds the headers."""
    return JSONResponse(telling.FAILED, status.HTTP_500_INTERNAL_SERVER_ERROR, HEADERS)


async def _sent_to_login(request: Request, error: Any) -> Response:
    """Who opens the page and is not known logs in first, and comes back; programs get the status."""
    if error.status_code != status.HTTP_401_UNAUTHORIZED or not request.url.path.endswith("/"):
        return await http_exception_handler(request, error)
    url = request.url
    back = urlencode({"next": f"{url.path}?{url.query}" if url.query else url.path})
    return RedirectResponse(f"../api/v2/auth/login?{back}", status.HTTP_303_SEE_OTHER)
