"""Bytes as such: what common-io's transport alone makes of them, and what the machine's TCP allows.

common-io refuses ``bytes`` with a ``TypeError``, since JSON has none. Its line is therefore the middle of its
own ``set`` and ``get``, word for word, without ``json.dumps`` and ``json.loads`` around it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import shapes
from benchmarks.cases import KEY, Case, timed, warm_worker

__all__ = ["fetch", "send", "tcp"]

_CHUNK = 8_000_000
_RECEIVED = 1_048_576


def send(case: Case) -> dict[str, Any]:
    """The value to the place of the peer's own blob for the key, as ``_write_to_object_storage`` writes."""
    warm_worker(case)
    path, value = _path(), shapes.make(case.shape, case.megabytes)

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode="wb", compression=None) as file:
            file.write(value)

    _, figures = timed(write, case.endpoint)
    return {**figures, "rows": {("task", KEY): json.dumps({"__airflow_state_ref__": str(path)})}}


def fetch(case: Case) -> dict[str, Any]:
    """And back, as ``_read_from_object_storage`` reads."""
    warm_worker(case)
    path = _path()

    def read() -> Any:
        with path.open(mode="rb", compression="infer") as file:
            return file.read()

    value, figures = timed(read, case.endpoint)
    return {**figures, "json": shapes.compare(value, case.shape)}


def tcp(case: Case) -> dict[str, Any]:
    """Seconds of so many bytes through one loopback connection, to and from another process, and nothing else.

    Sent from memory in use and received into a buffer in use, so that no page is touched for the first time.
    """
    size = round(case.megabytes * 1e6)
    return {"set": {"seconds": _put(size)}, "get": {"seconds": _get(size)}}


def _path() -> Any:
    from airflow.providers.common.io.state_store import backend as peer

    return peer._get_base_path() / "bulk" / KEY  # noqa: SLF001 - the peer's own path, credentials and all


def _put(size: int) -> float:
    def sink(connection: socket.socket) -> None:
        buffer, left = bytearray(_RECEIVED), size
        while left:
            left -= connection.recv_into(buffer, min(left, len(buffer)))
        connection.sendall(b"k")

    with _other_end(sink) as connection:
        data = memoryview(os.urandom(_CHUNK))
        start = time.perf_counter()
        for done in range(0, size, _CHUNK):
            connection.sendall(data[: size - done])
        connection.recv(1)
        return time.perf_counter() - start


def _get(size: int) -> float:
    def source(connection: socket.socket) -> None:
        data = memoryview(os.urandom(_CHUNK))
        connection.recv(1)
        for done in range(0, size, _CHUNK):
            connection.sendall(data[: size - done])

    with _other_end(source) as connection:
        buffer, done = memoryview(bytearray(size)), 0
        start = time.perf_counter()
        connection.sendall(b"g")
        while done < size:
            done += connection.recv_into(buffer[done:])
        return time.perf_counter() - start


@contextmanager
def _other_end(act: Any) -> Iterator[socket.socket]:
    """A connection to a child process that acts upon its end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = os.fork()
        if not child:
            accepted, _ = listener.accept()
            act(accepted)
            os._exit(0)
        with socket.create_connection(listener.getsockname()) as connection:
            yield connection
        os.waitpid(child, 0)
