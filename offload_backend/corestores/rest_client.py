"""Requests to Airflow's public REST API: log in, ask, ask again, and accept only Airflow's own answers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from offload_backend.errors import ConfigError, CoreStoreError

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "RestClient", "base_url"]

EXAMPLE = "for example airflow-rest+https://airflow.example.com"
PAUSES = (0.2, 1.0)
"""Seconds before the second and the third try of a read."""

_PASSING = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_QUOTED = re.compile(r"`([^`]*)`")
_SHOWN = 200


@dataclass(frozen=True)
class Answer:
    """A JSON answer: any 2xx, or a 4xx that Airflow itself gave."""

    status: int
    body: Any

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object that answers the request with success; empty for anything else."""
        return self.body if self.status == HTTPStatus.OK and isinstance(self.body, dict) else {}

    @property
    def detail(self) -> str:
        """The server's words."""
        detail = self.body.get("detail") if isinstance(self.body, dict) else None
        return detail if isinstance(detail, str) else ""

    @property
    def refuses_token(self) -> bool:
        """Whether the token, not the account, is at fault; Airflow says 403 of one that it cannot verify."""
        unverified = self.status == HTTPStatus.FORBIDDEN and self.detail == "Invalid JWT token"
        return self.status == HTTPStatus.UNAUTHORIZED or unverified

    def denies(self, *ids: str) -> bool:
        """Whether Airflow's own route says that just this does not exist.

        Its 404 quotes the ids that it looked for. A route that does not match, a proxy and an id that
        was changed on the way say something else. Airflow authorizes before it looks: whoever may not
        see gets 403.
        """
        return self.status == HTTPStatus.NOT_FOUND and _QUOTED.findall(self.detail) == list(ids)

    def __str__(self) -> str:
        meaning = "the account may not see it" if self.status == HTTPStatus.FORBIDDEN else self.detail
        return f"{self.status} {meaning[:_SHOWN]}".strip()


class RestClient:
    """Asks one Airflow, from many threads, over one pool of connections.

    Logs in with ``username`` and ``password`` at ``POST /auth/token``, again once when the token has
    expired; or uses the given ``token``; or, with neither, asks for the token that an Airflow without
    accounts gives to everybody. ``timeout`` is in seconds, for each wait. Every method raises
    :class:`~offload_backend.errors.CoreStoreError` when no answer of Airflow's comes: unreachable, not
    logged in, 5xx, a redirect, or something that is not JSON.
    """

    def __init__(
        self, url: str, token: str | None, username: str | None, password: str | None, timeout: float
    ) -> None:
        self.url, own_username, own_password = base_url(url)
        self._token = token or None
        self._given_token = self._token is not None
        self._username = username if username is not None else own_username
        self._password = password if password is not None else own_password
        self._timeout = timeout
        self._http: httpx.Client | None = None
        self._lock = threading.Lock()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """Read; asked at most three times while the trouble may pass by itself."""
        return _patiently(lambda: self._with_token("GET", path, params, None))

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Answer:
        """Write; asked once, since a write whose answer is lost may have been carried out."""
        return self._with_token(method, path, None, body)

    def version(self) -> tuple[int, int]:
        """Airflow's version; :class:`~offload_backend.errors.ConfigError` for a server that is not Airflow 3."""
        answer = _patiently(lambda: self._exchange("GET", "/api/v2/version", None, None, None))
        text = answer.object.get("version")
        match = re.match(r"([0-9]+)\.([0-9]+)", text) if isinstance(text, str) else None
        if match is None:
            raise ConfigError("there is no Airflow API", hint=f"correct --core-store, {EXAMPLE}", location=self.url)
        return int(match[1]), int(match[2])

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            if self._http is not None:
                self._http.close()
            self._http = None

    def _with_token(
        self, method: str, path: str, params: Mapping[str, str | int] | None, body: Mapping[str, Any] | None
    ) -> Answer:
        token = self._token or self._new_token(None)
        answer = self._exchange(method, path, params, body, token)
        if answer.refuses_token:
            answer = self._exchange(method, path, params, body, self._new_token(token))
        if answer.refuses_token:
            raise self._trouble("the API does not accept the token it has just given", "look at the server's log")
        return answer

    def _new_token(self, refused: str | None) -> str:
        with self._lock:
            if self._token is not None and self._token != refused:
                return self._token  # another thread has logged in meanwhile
            if self._given_token:
                raise self._trouble(
                    "the API refuses the token: it has expired or belongs to another Airflow",
                    "give a fresh token, or a username and a password",
                )
            self._token = self._log_in()
            return self._token

    def _log_in(self) -> str:
        if self._username is None:
            answer = self._exchange("GET", "/auth/token", None, None, None, locked=True)
        else:
            account = {"username": self._username, "password": self._password or ""}
            answer = self._exchange("POST", "/auth/token", None, account, None, locked=True)
        token = answer.body.get("access_token") if isinstance(answer.body, dict) else None
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED) or not isinstance(token, str) or not token:
            raise self._trouble(
                f"the API does not log in {self._username or 'without an account'} ({answer.status})",
                "give a username and a password that Airflow's auth manager knows, or a token",
            )
        return token

    def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        body: Mapping[str, Any] | None,
        token: str | None,
        *,
        locked: bool = False,
    ) -> Answer:
        client = self._client() if locked else self._client_from_any_thread()
        import httpx

        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            response = client.request(method, self.url + path, params=params, json=body, headers=headers)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            # Its text may quote the URL of a proxy, with the proxy's password.
            what = f"no answer from the API ({type(error).__name__})"
            raise self._trouble(what, "see that the API server runs and can be reached", retryable=True) from None
        return self._read(response)

    def _read(self, response: httpx.Response) -> Answer:
        status = response.status_code
        if status in _PASSING or response.is_server_error:
            raise self._trouble(
                f"the API failed ({status})", "look at the API server's log", retryable=status in _PASSING
            )
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        if kind == "application/json":
            try:
                return Answer(status, response.json())
            except (ValueError, RecursionError):
                kind = "damaged JSON"
        hint = f"name the API itself, not a page that asks people to log in, {EXAMPLE}"
        raise self._trouble(f"the answer is not Airflow's ({status} {kind[:40]})", hint)

    def _client_from_any_thread(self) -> httpx.Client:
        with self._lock:
            return self._client()

    def _client(self) -> httpx.Client:
        if self._http is None:
            try:
                import httpx
            except ImportError as error:
                raise ConfigError(
                    "reading the roots through Airflow's API needs httpx",
                    hint='install it: pip install "offload-backend[rest]"',
                ) from error
            # Without TLS there is nothing to verify, and reading the certificates takes a while.
            with_tls = self.url.startswith("https:")
            self._http = httpx.Client(timeout=self._timeout, verify=with_tls, follow_redirects=False)
        return self._http

    def _trouble(self, what: str, hint: str, *, retryable: bool = False) -> CoreStoreError:
        return CoreStoreError(what, hint=hint, location=self.url, retryable=retryable)


def _patiently(ask: Callable[[], Answer]) -> Answer:
    for pause in PAUSES:
        try:
            return ask()
        except CoreStoreError as error:
            if not error.retryable:
                raise
        time.sleep(pause)
    return ask()


def base_url(url: str) -> tuple[str, str | None, str | None]:
    """The API's base URL in one spelling, and the username and password that stood in it, if any."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError("the API's address is not an http or https URL", hint=f"correct --core-store, {EXAMPLE}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    path = parts.path.rstrip("/").removesuffix("/api/v2").rstrip("/")
    user, password = (unquote(part) if part is not None else None for part in (parts.username, parts.password))
    return f"{parts.scheme}://{place}{path}", user, password
