"""Signed requests to one bucket, repeated while that may help."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from itertools import count
from typing import NamedTuple, TypeVar

from offload_backend.blobstore import Buffer
from offload_backend.settings import Settings
from offload_backend.stores.s3_endpoint import Endpoint
from offload_backend.stores.s3_errors import NoAnswerError, RefusalError, is_passing, s3_error
from offload_backend.stores.s3_http import Answer, Connections
from offload_backend.stores.s3_objects import Target
from offload_backend.stores.s3_signing import Credentials, encoded_query, signed
from offload_backend.stores.s3_xml import Document, parsed

__all__ = ["Reply", "Request", "Requests"]

_PAUSE = 1.0
_LONGEST_PAUSE = 20.0
_LONGEST_DOCUMENT = 1024 * 1024
_SUCCESS = range(200, 300)
_ELSEWHERE = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.BAD_REQUEST)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


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
    """Sends requests, at most ``max_attempts`` times each, with exponential pauses and full jitter.

    ``credentials`` is asked before every try, so that they may renew themselves.
    """

    def __init__(self, endpoint: Endpoint, credentials: Callable[[], Credentials], settings: Settings) -> None:
        self._credentials = credentials
        self._settings = settings
        self._route = endpoint, self._connections_to(endpoint)

    def send(self, request: Request) -> Reply:
        """The whole answer, which says that the request was carried out."""
        return self._repeated(request, _reply)

    def open(self, request: Request) -> Answer:
        """The answer to a GetObject, its body still to be read."""
        return self._repeated(request, lambda _, answer: answer)

    def _repeated(self, request: Request, finish: Callable[[Request, Answer], _T]) -> _T:
        """What ``finish`` makes of the first answer that is no refusal."""
        repeated = False
        for attempt in count(1):
            failure: RefusalError | NoAnswerError
            try:
                answer = self._exchange(request)
                repeated = repeated or answer.repeated
                if answer.status in _SUCCESS:
                    return finish(request, answer)
                raise self._refusal(answer)
            except RefusalError as error:
                error.repeated = repeated
                failure, passing = error, is_passing(error.code, error.status)
            except NoAnswerError as error:
                failure, passing = error, not error.final
            if not passing or attempt >= self._settings.max_attempts:
                raise s3_error(failure, request.operation, request.target.location) from failure
            repeated = True
            pause = random.random() * min(_LONGEST_PAUSE, _PAUSE * 2.0 ** (attempt - 1))  # noqa: S311 - jitter, not a secret
            _log.info("%s: %s, trying again in %.1f s", request.operation, failure, pause)
            time.sleep(pause)
        raise AssertionError  # pragma: no cover - the loop has no end

    def _exchange(self, request: Request) -> Answer:
        """One try; a second one at once when S3 names another region as the bucket's."""
        endpoint, connections = self._route  # which another thread may change while this one waits
        answer = self._ask(request, endpoint, connections)
        region = answer.header("x-amz-bucket-region")
        moved = endpoint.in_region(region) if answer.status in _ELSEWHERE and region else None
        if moved is None or moved == endpoint:
            return answer
        answer.close()
        if self._route[0] != moved:
            self._route = moved, self._connections_to(moved)
        return self._ask(request, *self._route)

    def _ask(self, request: Request, endpoint: Endpoint, connections: Connections) -> Answer:
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
        return connections.ask(request.method, f"{path}?{query}" if query else path, headers, request.body)

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
        return RefusalError(document.texts.get("Code", "") if document.root == "Error" else "", answer.status)


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
