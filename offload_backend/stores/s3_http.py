"""Requests over kept-alive connections: the standard library's sockets, TLS and HTTP answers, and nothing else.

Buffers go from the caller's memory to the socket, and answers from the socket to the caller's memory, without
a copy in between. Nothing here holds a lock, so that a fork at any moment leaves both processes able to go on.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple

from offload_backend.blobstore import Buffer
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_errors import NoAnswerError
from offload_backend.stores.s3_wire import Wire, connected

__all__ = ["Answer", "Connections", "Host"]

_IDLE_SECONDS = 20.0
_CLOSED = (BrokenPipeError, ConnectionAbortedError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Host(NamedTuple):
    """Where to connect; ``tls`` makes the context of an encrypted connection, ``None``: a plain one."""

    name: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None


class Connections:
    """The connections of a store to one host; ``spare`` of them are kept when idle.

    Threads may share it. A process that was forked begins with none, and leaves its parent's alone.
    """

    def __init__(self, host: Host, *, spare: int, connect_timeout: float, read_timeout: float) -> None:
        self._host = host
        self._spare = spare
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._context: ssl.SSLContext | None = None
        self._idle: deque[tuple[float, socket.socket]] = deque()
        self._owner = os.getpid()

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: Sequence[Buffer], patience: Patience
    ) -> Answer:
        """Send one request, and return its answer once status and headers are there.

        Raises :class:`NoAnswerError`, also when the patience ends, whatever the server does until then. A kept
        connection that the server has closed meanwhile is replaced by another, and the request sent again.
        """
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        message = [memoryview("\r\n".join(lines).encode("latin-1")), *(memoryview(buffer) for buffer in body)]
        repeated = False
        while True:
            connection = self._kept()
            fresh = connection is None
            if connection is None:
                connection = self._connect(patience)
            wire = Wire(connection, patience, self._read_timeout)
            try:
                response = _exchange(wire, method, message)
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError | HTTPException):
                    raise
                if fresh or not isinstance(error, _CLOSED):
                    raise NoAnswerError(_kind(error)) from error
                repeated = True
            else:
                return Answer(response, wire, self._keep, repeated)

    def _kept(self) -> socket.socket | None:
        """An idle connection that still looks open."""
        if self._owner != os.getpid():
            # Closing the child's descriptors sends nothing: the parent's connections and TLS sessions live on.
            inherited, self._idle, self._owner = self._idle, deque(), os.getpid()
            for _, connection in inherited:
                connection.close()
        while True:
            try:
                since, connection = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _IDLE_SECONDS and not _has_something_to_read(connection):
                return connection
            connection.close()

    def _keep(self, connection: socket.socket, owner: int) -> None:
        if owner != self._owner or len(self._idle) >= self._spare:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))

    def _connect(self, patience: Patience) -> socket.socket:
        host = self._host
        try:
            connection = connected(host.name, host.port, self._connect_timeout, patience)
        except TimeoutError as error:
            raise NoAnswerError("ConnectTimeoutError") from error
        except (OSError, UnicodeError) as error:
            raise NoAnswerError("EndpointConnectionError") from error
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if host.tls is not None:
                self._context = self._context or host.tls()
                connection = self._context.wrap_socket(connection, server_hostname=host.name)
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise NoAnswerError("ConnectTimeoutError") from error
            if isinstance(error, ssl.SSLError):
                raise NoAnswerError("SSLError", final=isinstance(error, ssl.SSLCertVerificationError)) from error
            if isinstance(error, OSError):
                raise NoAnswerError("EndpointConnectionError") from error
            raise
        return connection


class Answer:
    """An answer whose body is still to be read; once it was read to its end, its connection serves others.

    ``repeated``: the request had been sent before, on a connection that then turned out to be closed.
    """

    def __init__(
        self,
        response: HTTPResponse,
        wire: Wire,
        keep: Callable[[socket.socket, int], None],
        repeated: bool,
    ) -> None:
        self._response = response
        self._connection = wire.connection
        self._keep = keep
        self._owner = os.getpid()
        self._left = response.length
        self._finished = False
        self.status = response.status
        self.length = response.length
        self.repeated = repeated
        if not response.length:
            self._count(0)

    def header(self, name: str) -> str:
        """The header's value, or empty."""
        return self._response.getheader(name) or ""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none only at the end. Raises :class:`NoAnswerError`."""
        with self._reading():
            data = self._response.read(size)
            self._count(len(data))
            return data

    def readinto(self, buffer: memoryview) -> int:
        """Bytes written to the start of the buffer, 0 only at the end. Raises :class:`NoAnswerError`."""
        with self._reading():
            size = self._response.readinto(buffer)
            self._count(size)
            return size

    def close(self) -> None:
        """Give up what was not read, and the connection with it."""
        self._response.close()
        if self._connection.fileno() >= 0 and not self._finished:
            self._connection.close()

    @property
    def etag(self) -> str:
        """The object's ETag, or empty."""
        return self.header("etag")

    @property
    def content_range(self) -> str:
        """What part of the object this is, as HTTP says it, or empty."""
        return self.header("content-range")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever interrupts reading closes the connection: what is left must not be taken for another answer."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | HTTPException):
                raise NoAnswerError(_kind(error)) from error
            raise

    def _count(self, size: int) -> None:
        """Note what was read; the end of an answer of known length is known without reading further."""
        if self._left is not None:
            self._left -= size
            if size == 0 and self._left:
                raise NoAnswerError("IncompleteReadError")
        if self._left == 0 or (self._left is None and self._response.isclosed()):
            self._finish()

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        stays_open = not self._response.will_close
        self._response.close()
        if stays_open:
            self._keep(self._connection, self._owner)
        else:
            self._connection.close()


def _exchange(wire: Wire, method: str, message: Sequence[memoryview]) -> HTTPResponse:
    response = HTTPResponse(wire, method=method)  # type: ignore[arg-type]  # of a socket, it asks for makefile alone
    try:
        try:
            wire.send(message)
        except _CLOSED as error:
            # A server that refuses a large body may say so and hang up before it has read the body.
            try:
                _begin(response)
            except (OSError, HTTPException):
                raise error from None
            response.will_close = True
        else:
            _begin(response)
    except BaseException:
        response.close()
        raise
    return response


def _begin(response: HTTPResponse) -> None:
    """Read status and headers. An interim answer is none: what follows must not be taken for the next one's."""
    response.begin()
    if response.status < HTTPStatus.OK:
        raise HTTPException("an interim answer")


def _has_something_to_read(connection: socket.socket) -> bool:
    """What an idle connection has to say is that it was closed."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _kind(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "ReadTimeoutError"
    if isinstance(error, OSError):
        return "ConnectionClosedError"
    return "IncompleteReadError" if type(error).__name__ == "IncompleteRead" else "HTTPClientError"
