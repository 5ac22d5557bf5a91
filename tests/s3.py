"""moto's S3 over real HTTP, behind one WSGI layer that records every request and can refuse some."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY, SECRET = "testing", "testing-secret"
_DELETED = "DeleteObjects"


@dataclass(frozen=True)
class Request:
    """One request as S3 names it, with the access key it was signed by."""

    operation: str
    path: str
    signed_by: str


@dataclass
class Fault:
    """Answer ``operation`` (``*``: any) with an S3 error, ``times`` times."""

    operation: str
    status: int
    code: str
    times: int = 10**9


@dataclass
class S3:
    """The server, one fresh bucket, what was asked of it, and what it shall refuse."""

    endpoint: str
    bucket: str
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def client(self) -> Any:
        """A second client, whose requests are recorded as well."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def connection(self, **extra: Any) -> dict[str, Any]:
        """An Airflow connection to it, for ``AIRFLOW_CONN_…`` as JSON."""
        options = {"endpoint_url": self.endpoint, "region_name": "us-east-1", **extra}
        return {"conn_type": "aws", "login": KEY, "password": SECRET, "extra": options}

    def fail(self, operation: str, status: int, code: str, times: int = 10**9) -> None:
        self.faults.append(Fault(operation, status, code, times))

    def names(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", ())]

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """The operations asked for within the block."""
        start, found = len(self.requests), list[str]()
        yield found
        found.extend(request.operation for request in self.requests[start:])


class _Recorder:
    """The WSGI layer. Buckets of concurrent tests do not see each other's requests."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.servers: dict[str, S3] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(_operation(environ), environ["PATH_INFO"], _signer(environ))
        server = self.servers.get(request.path.strip("/").split("/")[0]) or self.servers.get("*")
        if server is None:
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        server.requests.append(request)
        for fault in server.faults:
            if fault.times > 0 and fault.operation in ("*", request.operation):
                fault.times -= 1
                return _refuse(environ, start_response, fault)
        return self.app(environ, start_response)  # type: ignore[no-any-return]


def _refuse(environ: dict[str, Any], start_response: Any, fault: Fault) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if fault.status == 200 and fault.operation == _DELETED:
        answer = _every_key_denied(body, fault.code)
    else:
        answer = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
    start_response(f"{fault.status} injected", [("Content-Type", "application/xml")])
    return [answer]


def _every_key_denied(body: bytes, code: str) -> bytes:
    """The 200 that S3 gives a batch delete none of whose keys may be deleted."""
    keys = [part.split(b"</Key>")[0] for part in body.split(b"<Key>")[1:]]
    errors = b"".join(b"<Error><Key>" + key + b"</Key><Code>" + code.encode() + b"</Code></Error>" for key in keys)
    return b"<DeleteResult>" + errors + b"</DeleteResult>"


def _operation(environ: dict[str, Any]) -> str:
    method, query = environ["REQUEST_METHOD"], parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if "/" not in environ["PATH_INFO"].strip("/"):
        if method == "POST" and "delete" in query:
            return _DELETED
        return {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket"}.get(method, method)
    if "uploadId" in query or "uploads" in query:
        named = {"PUT": "UploadPart", "DELETE": "AbortMultipartUpload"}
        post = "CompleteMultipartUpload" if "uploadId" in query else "CreateMultipartUpload"
        return named.get(method, post)
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]


def _signer(environ: dict[str, Any]) -> str:
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    return authorization.partition("Credential=")[2].partition("/")[0] or "anonymous"


@contextmanager
def serve() -> Iterator[_Recorder]:
    """The server on a free port, until the block ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    recorder = _Recorder()
    server = make_server("127.0.0.1", 0, recorder, threaded=True)
    recorder.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
