"""Signed requests to one bucket, repeated while that may help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from offload_backend.blobstore import Buffer
from offload_backend.settings import Settings
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_endpoint import Endpoint
from offload_backend.stores.s3_errors import RefusalError, seconds_asked
from offload_backend.stores.s3_http import Answer, Connections
from offload_backend.stores.s3_objects import Target
from offload_backend.stores.s3_retries import repeated
from offload_backend.stores.s3_signing import Credentials, encoded_query, signed
from offload_backend.stores.s3_xml import Document, parsed

__all__ = ["Reply", "Request", "Requests"]

_LONGEST_DOCUMENT = 1024 * 1024
_SUCCESS = range(200, 300)
_ELSEWHERE = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.BAD_REQUEST)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Request:
    """One request. ``operation`` is S3's name for it; ``result`` the root of its answer, if it has a document."""

    operation: str
    method: str
    target: Target
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Sequence[Buffer] = ()
    result: str = ""


class Reply(NamedTuple):
    """A whole answer: the ETag among its headers, and the texts of its document."""

    etag: str
    texts: Mapping[str, str]


class Requests:
    """Sends requests, each as often as its patience lasts.

    ``credentials`` is asked before every try, so that they may renew themselves.
    """

    def __init__(self, endpoint: Endpoint, credentials: Callable[[], Credentials], settings: Settings) -> None:
        self._credentials = credentials
        self._settings = settings
        self._route = endpoint, self._connections_to(endpoint)

    def send(self, request: Request, patience: Patience) -> Reply:
        """The whole answer, which says that the request was carried out."""
        return self._repeated(request, patience, lambda answer: _reply(request, answer))

    def open(self, request: Request, patience: Patience) -> Answer:
        """The answer to a GetObject, its body still to be read."""
        return self._repeated(request, patience, lambda answer: answer)

    def _repeated(self, request: Request, patience: Patience, finish: Callable[[Answer], _T]) -> _T:
        """What ``finish`` makes of the first answer that is no refusal."""

        def attempt() -> _T:
            answer = self._exchange(request, patience)
            try:
                if answer.status in _SUCCESS:
                    return finish(answer)
                raise self._refusal(answer)
            except RefusalError as error:
                error.repeated = answer.repeated
                raise

        return repeated(request.operation, request.target.location, patience, attempt)

    def _exchange(self, request: Request, patience: Patience) -> Answer:
        """One try; a second one at once when S3 names another region as the bucket's."""
        endpoint, connections = self._route  # which another thread may change while this one waits
        answer = self._ask(request, patience, endpoint, connections)
        region = answer.header("x-amz-bucket-region")
        moved = endpoint.in_region(region) if answer.status in _ELSEWHERE and region else None
        if moved is None or moved == endpoint:
            return answer
        answer.close()
        if self._route[0] != moved:
            self._route = moved, self._connections_to(moved)
        return self._ask(request, patience, *self._route)

    def _ask(self, request: Request, patience: Patience, endpoint: Endpoint, connections: Connections) -> Answer:
        path, query = endpoint.path(request.target.key), encoded_query(request.query)
        headers = signed(
            request.method,
            path,
            query,
            {"host": endpoint.netloc, **request.headers},
            credentials=self._credentials(),
            region=endpoint.region,
            now=datetime.now(tz=timezone.utc),
        )
        headers |= {"accept-encoding": "identity", "user-agent": "offload-backend"}
        if request.method != "GET":
            headers["content-length"] = str(sum(map(len, request.body)))
        target = f"{path}?{query}" if query else path
        return connections.ask(request.method, target, headers, request.body, patience)

    def _connections_to(self, endpoint: Endpoint) -> Connections:
        settings = self._settings
        return Connections(
            endpoint.host,
            spare=settings.concurrency,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
        )

    @staticmethod
    def _refusal(answer: Answer) -> RefusalError:
        document = _document(answer)
        code = document.texts.get("Code", "") if document.root == "Error" else ""
        return RefusalError(code, answer.status, retry_after=seconds_asked(answer.header("retry-after")))


def _reply(request: Request, answer: Answer) -> Reply:
    document = _document(answer)
    if request.result and document.root != request.result:
        # S3 may begin with 200 and find out later that it cannot; and a proxy's page is no answer of S3.
        raise RefusalError(document.texts.get("Code", ""), HTTPStatus.INTERNAL_SERVER_ERROR)
    return Reply(answer.etag, document.texts)


def _document(answer: Answer) -> Document:
    data = bytearray()
    while piece := answer.read(_LONGEST_DOCUMENT):
        data += piece
        if len(data) > _LONGEST_DOCUMENT:
            answer.close()
            return Document("", {})
    return parsed(bytes(data))
