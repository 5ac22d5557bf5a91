"""An HTTP proxy in front of an S3 server: it keeps a list of the operations and makes some of them fail."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Request:
    operation: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class _Rule:
    operation: str
    times: int
    act: Callable[[_Handler], None]


class FaultProxy:
    """``url`` is what to give to a client. Rules are used in the order in which they were made.

    It keeps connections open, as S3 does and moto does not; with ``certificate``, a file and its key's, over TLS.
    """

    def __init__(self, target: str, certificate: tuple[Path, Path] | None = None) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname, parts.port)
        self.requests: list[Request] = []
        self.acts: dict[str, Callable[[_Handler], None]] = {}
        """What to do with a request whose header ``x-fault`` has one of these names; it goes no further."""
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The handshake is left to the first read, in the thread of the connection.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.requests]

    def refuse(self, operation: str, status: int, code: str, times: int = 1, **headers: str) -> None:
        """Answer with an S3 error instead of asking the server; ``times=0``: always."""
        message = f"<Error><Code>{code}</Code><Message>told to</Message></Error>"
        self.answer(operation, status, message, times, **headers)

    def answer(self, operation: str, status: int, body: str, times: int = 1, **headers: str) -> None:
        """Answer with this instead of asking the server; a header's ``_`` means ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._add(operation, times, lambda handler: handler.send(status, named, body.encode()))

    def lose_answer(self, operation: str, times: int = 1) -> None:
        """Let the server do it, then close the connection without an answer."""

        def act(handler: _Handler) -> None:
            handler.forward()
            handler.close_connection = True

        self._add(operation, times, act)

    def cut_body(self, operation: str, after: int, times: int = 1) -> None:
        """Close the connection after that many bytes of the answer's body."""

        def act(handler: _Handler) -> None:
            status, headers, body = handler.forward()
            handler.send(status, {**headers, "Content-Length": str(len(body))}, body[:after])
            handler.close_connection = True

        self._add(operation, times, act)

    def hang_up_after(self, operation: str, times: int = 1) -> None:
        """Answer as if the connection stayed open, then close it, as servers do with those that idle."""

        def act(handler: _Handler) -> None:
            handler.send(*handler.forward())
            handler.close_connection = True

        self._add(operation, times, act)

    def damage(self, operation: str, times: int = 1) -> None:
        """Flip a bit of the request's body on its way."""

        def act(handler: _Handler) -> None:
            handler.body = bytes([handler.body[0] ^ 1]) + handler.body[1:]
            handler.send(*handler.forward())

        self._add(operation, times, act)

    def change(self, operation: str, edit: Callable[[int, dict, bytes], tuple[int, dict, bytes]], times: int = 1):
        """Edit the server's answer."""
        self._add(operation, times, lambda handler: handler.send(*edit(*handler.forward())))

    def hold(self, operation: str, until: threading.Event, times: int = 0) -> None:
        """Ask the server only once the event is set."""

        def act(handler: _Handler) -> None:
            until.wait(30)
            handler.send(*handler.forward())

        self._add(operation, times, act)

    def _add(self, operation: str, times: int, act: Callable[[_Handler], None]) -> None:
        self._rules.append(_Rule(operation, times, act))

    def rule_for(self, request: Request) -> _Rule | None:
        with self._lock:
            self.requests.append(request)
            rule = next((rule for rule in self._rules if rule.operation == request.operation), None)
            if rule is not None and rule.times:
                rule.times -= 1
                if not rule.times:
                    self._rules.remove(rule)
            return rule


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultProxy

    def handle_error(self, request, client_address):
        """Clients that hang up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        operation = operation_of(self.command, self.path)
        if "x-amz-copy-source" in headers:
            operation = f"{operation}Copy"
        request = Request(operation, self.command, self.path, headers)
        rule = self.server.proxy.rule_for(request)
        act = self.server.proxy.acts.get(headers.get(ORDER, ""))
        if act is not None:
            act(self)
        elif rule is not None:
            rule.act(self)
        else:
            self.send(*self.forward())

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = handle_request  # noqa: N815 - the base class asks for these names

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(*self.server.proxy.target, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", ORDER)}
        connection.request(self.command, self.path, self.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        if self.command == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        return answer.status, kept, body

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


ORDER = "x-fault"
_HOP = {"content-length", "transfer-encoding", "connection", "date", "server"}


def operation_of(method: str, path: str) -> str:
    """S3's name of a request to a path-style URL."""
    parts = urlsplit(path)
    query = parse_qs(parts.query, keep_blank_values=True)
    _, _, key = parts.path.strip("/").partition("/")
    by_query = {
        ("PUT", "partNumber"): "UploadPart",  # or UploadPartCopy, which its headers tell
        ("POST", "uploads"): "CreateMultipartUpload",
        ("POST", "uploadId"): "CompleteMultipartUpload",
        ("DELETE", "uploadId"): "AbortMultipartUpload",
        ("POST", "delete"): "DeleteObjects",
    }
    for (verb, parameter), operation in by_query.items():
        if method == verb and parameter in query:
            return operation
    if not key:
        return {"GET": "ListObjectsV2", "PUT": "CreateBucket", "HEAD": "HeadBucket"}.get(method, method)
    return {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]
