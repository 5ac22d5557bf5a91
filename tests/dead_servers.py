"""S3 servers that are alive enough to be waited for, and no more; each in a thread, over real sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

__all__ = ["DEAD", "Outage", "dead_server", "store_threads"]

_SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"
_CREATED = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
_DROP = 0.05


def _silent(connection: socket.socket) -> None:
    """Takes everything and never answers."""
    while connection.recv(1 << 20):
        pass


def _deaf(connection: socket.socket) -> None:
    """Takes nothing at all."""
    _until_closed(connection)


def _answers(status: str, body: bytes) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        while _request(connection):
            connection.sendall(_head(status, len(body)) + body)

    return act


def _trickles_head(connection: socket.socket) -> None:
    """Every byte is a sign of life, and nothing more: a header that does not end."""
    _request(connection)
    _trickle(connection, b"HTTP/1.1 200 OK\r\nx-padding: ")


def _trickles_body(connection: socket.socket) -> None:
    _request(connection)
    connection.sendall(_head("200 OK", 1 << 20))
    _trickle(connection, b"")


def _takes_no_parts(connection: socket.socket) -> None:
    """An upload begins, and none of its parts is ever taken."""
    while line := _request(connection):
        if b"?uploads" not in line:
            _silent(connection)
            return
        connection.sendall(_head("200 OK", len(_CREATED)) + _CREATED)


DEAD: dict[str, Callable[[socket.socket], None] | None] = {
    "connection refused": None,
    "connection never made": None,
    "503 for ever": _answers("503 Slow Down", _SLOW_DOWN),
    "never answers": _silent,
    "never reads": _deaf,
    "an answer of one byte at a time": _trickles_head,
    "a body of one byte at a time": _trickles_body,
    "parts are never answered": _takes_no_parts,
}
"""What the servers do, by name."""


@contextmanager
def dead_server(kind: str) -> Iterator[str]:
    """The endpoint of a server that does that, until the block ends."""
    act, open_now = DEAD[kind], list[socket.socket]()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    if kind == "connection never made":
        listener.listen(0)
        open_now += _filled(listener.getsockname())
    elif act is not None:
        listener.listen(64)
        threading.Thread(target=_serve, args=(listener, act, open_now), daemon=True).start()
    else:
        listener.close()
    try:
        yield url
    finally:
        # shutdown ends an accept that is waited for, which close alone does not
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in list(open_now):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _serve(listener: socket.socket, act: Callable[[socket.socket], None], open_now: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        open_now.append(connection)
        threading.Thread(target=_until_error, args=(act, connection), daemon=True).start()


def _until_error(act: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        act(connection)
    connection.close()


def _filled(address: tuple[str, int]) -> list[socket.socket]:
    """Connections that fill the listener's queue: the kernel drops whatever comes after them."""
    waiting = []
    for _ in range(4):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(address)
        waiting.append(each)
    return waiting


def _request(connection: socket.socket) -> bytes:
    """The first line of a request, read with its body; nothing when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    if b"expect: 100-continue" in lines:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    left = length - len(body)
    while left > 0 and (piece := connection.recv(min(left, 1 << 20))):
        left -= len(piece)
    return head.split(b"\r\n")[0]


def _head(status: str, length: int) -> bytes:
    return f'HTTP/1.1 {status}\r\nETag: "e"\r\nContent-Length: {length}\r\n\r\n'.encode()


def _trickle(connection: socket.socket, beginning: bytes) -> None:
    connection.sendall(beginning)
    while True:
        time.sleep(_DROP)
        connection.sendall(b"x")


def _until_closed(connection: socket.socket) -> None:
    while connection.fileno() >= 0:
        time.sleep(_DROP)


class Outage:
    """A port of ``target``, through which nothing goes at first: ``refused`` connections are reset meanwhile."""

    def __init__(self, target: str, lasts: int) -> None:
        parts = urlsplit(target)
        self.refused = 0
        self._target = (str(parts.hostname), parts.port)
        self._lasts = lasts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def heal(self) -> None:
        """Let everything through from now on."""
        self._lasts = self.refused

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refused < self._lasts:
                self.refused += 1
                # lingering for no time resets the connection
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            server = socket.create_connection(self._target)
            for ends in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def store_threads() -> list[threading.Thread]:
    """Threads that this package has started and that still live."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("offload-")]
