"""Bytes over one connection, for no longer than somebody waits for them."""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from offload_backend.stores.patience import MOMENT, Patience

__all__ = ["Wire", "connected"]

_MOST_BUFFERS = 512
_SMALL = 16 * 1024
_SHORTEST = 0.001
_T = TypeVar("_T")


class Wire:
    """A connection during one request. Each wait is for ``timeout`` seconds at most, and all end with the patience.

    Both raise :class:`TimeoutError`. A socket's own time limit is not enough: it begins anew with every byte.
    """

    def __init__(self, connection: socket.socket, patience: Patience, timeout: float) -> None:
        self.connection = connection
        self._patience = patience
        self._timeout = timeout

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What comes in, as :class:`http.client.HTTPResponse` reads it."""
        return io.BufferedReader(_Incoming(self))

    def receive(self, memory: memoryview) -> int:
        """Bytes written to the start of the memory, none at the end."""
        connection = self.connection
        return self._waiting(lambda: connection.recv_into(memory))

    def send(self, message: Sequence[memoryview]) -> None:
        """Send everything. What was sent is noted as progress; nothing more is once the patience is cut short."""
        if isinstance(self.connection, ssl.SSLSocket):
            self._send_encrypted(message)
            return
        connection, total = self.connection, 0
        waiting = deque(view for view in message if len(view))
        while waiting:
            batch = [waiting[index] for index in range(min(len(waiting), _MOST_BUFFERS))]
            sent = self._sending(lambda batch=batch: connection.sendmsg(batch))  # type: ignore[misc]
            total += sent
            self._patience.moved(total)
            for view in batch:
                if sent < len(view):
                    waiting[0] = view[sent:]
                    break
                sent -= len(view)
                waiting.popleft()

    def _send_encrypted(self, message: Sequence[memoryview]) -> None:
        connection, total = self.connection, 0
        for piece in _joined(message):
            done = 0
            while done < len(piece):
                rest = piece[done:]
                done += self._sending(lambda rest=rest: connection.send(rest))  # type: ignore[misc]
                self._patience.moved(total + done)
            total += len(piece)

    def _sending(self, act: Callable[[], int]) -> int:
        if self._patience.is_cut:
            raise TimeoutError
        return self._waiting(act)

    def _waiting(self, act: Callable[[], _T]) -> _T:
        until = time.monotonic() + self._timeout
        while True:
            left = min(until - time.monotonic(), self._patience.left)
            if left <= 0:  # even if bytes are there: they may come one by one
                raise TimeoutError
            self.connection.settimeout(max(min(left, MOMENT), _SHORTEST))
            try:
                return act()
            except TimeoutError as error:
                if error.errno is not None or left <= MOMENT:
                    raise


class _Incoming(io.RawIOBase):
    """The reading end. Closing it leaves the connection open, which may serve another request."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, memory: memoryview) -> int:  # type: ignore[override]
        return self._wire.receive(memory)


def connected(name: str, port: int, timeout: float, patience: Patience) -> socket.socket:
    """A connection to the host, at the first of its addresses where there is one.

    Each is tried for ``timeout`` seconds at most, and all of them as long as the patience lasts. Raises
    :class:`OSError`.
    """
    failure: OSError = TimeoutError()
    for *_, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        seconds = min(timeout, patience.left)
        if seconds <= 0 or patience.is_cut:
            break
        try:
            return socket.create_connection((str(address[0]), port), seconds)
        except OSError as error:
            failure = error
    raise failure


def _joined(message: Iterable[memoryview]) -> Iterator[memoryview]:
    """The same bytes, small buffers put together: each piece becomes a TLS record of its own."""
    small = bytearray()
    for view in message:
        if len(small) + len(view) <= _SMALL:
            small += view
            continue
        if small:
            yield memoryview(small)
            small = bytearray()
        if len(view) <= _SMALL:
            small += view
        else:
            yield view
    if small:
        yield memoryview(small)
