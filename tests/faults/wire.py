"""Steps of S3: each request, of either client. Its fault is one of real HTTP, which the proxy makes."""

from __future__ import annotations

import copy
import os
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from botocore.httpsession import URLLib3Session

from offload_backend.stores import s3_client
from offload_backend.stores.patience import Patience, within
from offload_backend.stores.s3_http import Connections, Host
from tests.fault_proxy import ORDER, FaultProxy, operation_of
from tests.faults.kinds import Fault
from tests.faults.steps import PATIENCE, SHORT, Aim, Steps

_ERRORS = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied", "507": "StorageFull"}
_CHECKS = ("x-amz-checksum-crc32", "content-md5")
_TRICKLED = 40
_patience: ContextVar[Patience | None] = ContextVar("_patience", default=None)
_SILENT = ("time-out", "SIGSTOP")
"""Whoever sends such a request waits for its answer no longer than :data:`SHORT`."""


class Wire:
    """The requests of this process to the server behind the proxy, and of those that are forked from it."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._healed = threading.Event()
        self._late = 0
        self._turn = threading.Condition()
        self._refusing = socket.socket()
        self._refusing.bind(("127.0.0.1", 0))  # and nobody listens
        proxy.acts |= {
            "reset": self._reset,
            "time-out": self._hold,
            "trickle": self._trickle,
            "trickle for ever": self._drip,
            "answer lost": self._lose,
            "cut short": self._cut,
            "bit flipped": self._flip,
            "wrong length": self._shorten,
            "404": self._miss,
            "SIGSTOP": self._stop,
            "full": lambda handler: self._refuse(handler, "507"),
        }
        for status in ("500", "503", "403"):
            proxy.acts[status] = lambda handler, status=status: self._refuse(handler, status)

    @contextmanager
    def watched(self, steps: Steps) -> Iterator[None]:
        """Steps are taken and struck; when this ends, what was held has arrived."""
        self._healed.clear()
        send, ask = URLLib3Session.send, Connections.ask

        def sent(session: Any, prepared: Any) -> Any:
            fault = steps.take("s3", _label(prepared.method, prepared.url, prepared.headers))
            if fault is not None and fault.name == "refused":
                prepared.url = urlunsplit(urlsplit(prepared.url)._replace(netloc=self._nobody()))
            if fault is not None and fault.name in _SILENT:
                session = URLLib3Session(timeout=(PATIENCE, SHORT))
            do = lambda: send(session, prepared)  # noqa: E731
            return self._struck(steps, fault, prepared.headers, do, _patience.get())

        def asked(pool: Any, method: str, target: str, given: Any, *rest: Any) -> Any:
            headers, patience = dict(given), rest[-1]
            fault = steps.take("s3", _label(method, target, headers))
            if fault is not None and fault.name in ("refused", *_SILENT):
                pool = copy.copy(pool)
                pool._idle = deque()
                if fault.name == "refused":
                    pool._host = Host("127.0.0.1", self._refusing.getsockname()[1], None)
                else:
                    pool._read_timeout = SHORT
            do = lambda: ask(pool, method, target, headers, *rest)  # noqa: E731
            return self._struck(steps, fault, headers, do, patience)

        def waited(patience: Patience, *rest: Any) -> Any:
            _patience.set(patience)
            return within(patience, *rest)

        URLLib3Session.send, Connections.ask, s3_client.within = sent, asked, waited
        try:
            yield
        finally:
            URLLib3Session.send, Connections.ask, s3_client.within = send, ask, within
            self.heal()

    def heal(self) -> None:
        """What was held arrives."""
        self._healed.set()
        with self._turn:
            assert self._turn.wait_for(lambda: not self._late, PATIENCE)

    def close(self) -> None:
        self._refusing.close()

    def _nobody(self) -> str:
        return f"127.0.0.1:{self._refusing.getsockname()[1]}"

    @staticmethod
    def _struck(
        steps: Steps, fault: Fault | None, headers: Any, do: Callable[[], Any], patience: Patience | None
    ) -> Any:
        if fault is None:
            return do()
        if steps.aim is not None and steps.aim.variant == "for ever" and fault.name == "trickle" and patience:
            headers[ORDER], patience.seconds, patience.left = "trickle for ever", SHORT, SHORT
            return do()
        in_flight = fault.name == "SIGSTOP" and steps.aim is not None and steps.aim.variant == "after"
        if fault.of_process and not in_flight:
            return steps.around(fault, do)
        if fault.name != "refused":
            headers[ORDER] = f"{fault.name}"
        if in_flight:
            headers["x-fault-process"] = str(os.getpid())
        return do()

    # What the proxy does.

    def _refuse(self, handler: Any, status: str, code: str = "") -> None:
        text = f"<Error><Code>{code or _ERRORS[status]}</Code><Message>told to</Message></Error>"
        handler.send(int(status), {}, text.encode())

    def _miss(self, handler: Any) -> None:
        operation = operation_of(handler.command, handler.path)
        is_upload = operation in ("UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload")
        is_object = operation == "GetObject" or "x-amz-copy-source" in handler.headers
        self._refuse(handler, "404", "NoSuchKey" if is_object else "NoSuchUpload" if is_upload else "NoSuchBucket")

    def _reset(self, handler: Any) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True

    def _hold(self, handler: Any) -> None:
        """It arrives once everybody has given up."""
        with self._turn:
            self._late += 1
        try:
            self._healed.wait(PATIENCE)
            handler.forward()
        finally:
            with self._turn:
                self._late -= 1
                self._turn.notify_all()
        handler.close_connection = True

    def _trickle(self, handler: Any) -> None:
        status, headers, body = handler.forward()
        handler.send(status, {**headers, "Content-Length": str(len(body))}, b"")
        for place in range(min(len(body), _TRICKLED)):
            handler.wfile.write(body[place : place + 1])
            time.sleep(0.002)
        handler.wfile.write(body[_TRICKLED:])

    def _drip(self, handler: Any) -> None:
        """A line that never ends."""
        with suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
            while not self._healed.wait(0.02):
                handler.wfile.write(b"x")
        handler.close_connection = True

    def _lose(self, handler: Any) -> None:
        handler.forward()
        handler.close_connection = True

    def _cut(self, handler: Any) -> None:
        status, headers, body = handler.forward()
        handler.send(status, {**headers, "Content-Length": str(len(body))}, body[: len(body) // 2])
        handler.close_connection = True

    def _flip(self, handler: Any) -> None:
        """On its way there, if it has a body; a store refuses what does not have the checksum that came with it."""
        if not handler.body:
            status, headers, body = handler.forward()
            handler.send(status, headers, _flipped(body))
        elif any(handler.headers.get(name) for name in _CHECKS):
            self._refuse(handler, "400", "BadDigest")
        else:
            handler.body = _flipped(handler.body)
            handler.send(*handler.forward())

    def _shorten(self, handler: Any) -> None:
        """One byte fewer than there are, and no word about it."""
        status, headers, body = handler.forward()
        handler.send(status, {**headers, "Content-Length": str(max(0, len(body) - 1))}, body[:-1])

    def _stop(self, handler: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(int(handler.headers["x-fault-process"]), signal.SIGSTOP)
        handler.send(*handler.forward())
        handler.close_connection = True


def reason_for_none(aim: Aim) -> str:
    """Why there is no such thing, or empty."""
    answered = ("GetObject", "ListObjectsV2", "CreateMultipartUpload", "CompleteMultipartUpload", "DeleteObjects")
    if aim.fault in ("cut short", "wrong length") and aim.step.label not in (*answered, "UploadPartCopy"):
        return "no body in the answer"
    return ""


def _flipped(body: bytes) -> bytes:
    place = len(body) // 2
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def _label(method: str, url: str, headers: Any) -> str:
    copied = any(name.lower() == "x-amz-copy-source" for name in headers)
    return operation_of(method, url) + ("Copy" if copied else "")
