"""The steps of a process: each request to the store, each statement and each commit. At one it ends or stops.

The process does it to itself, so that it happens exactly between two steps: ``before`` the server has heard of a
step, or ``after`` it has carried the step out and before anybody here knows. ``late`` is a request that was on its
way when its sender was killed: it is kept in a file, for whoever lets it arrive.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.httpsession import URLLib3Session
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from offload_backend.stores.s3_http import Connections
from tests.fault_proxy import operation_of

NEVER = 0


@dataclass
class Steps:
    """At step ``at``, counted from 1 among those that ``on`` matches, the process sends itself ``with_signal``."""

    at: int = NEVER
    on: str = ""
    when: str = "before"
    with_signal: int = signal.SIGKILL
    late: str = ""
    labels: list[str] = field(default_factory=list)
    _matched: int = 0

    def begin(self, label: str) -> None:
        """A step is about to happen."""
        self.labels.append(label)
        self._matched += bool(re.search(self.on, label))
        self._act("before")

    def done(self) -> None:
        """It has happened."""
        self._act("after")

    def request(self, prepared: Any, send: Any) -> Any:
        """A request to the store."""
        self.begin(_label(prepared))
        if self._is_due("late"):
            _keep(prepared, Path(self.late))
        self._act("late")
        answer = send(prepared)
        self.done()
        return answer

    def _act(self, when: str) -> None:
        if self._is_due(when):
            # To this thread, which so does nothing more: of a signal to the process another one may hear first.
            signal.pthread_kill(threading.get_ident(), self.with_signal)

    def _is_due(self, when: str) -> bool:
        return when == self.when and self._matched == self.at and bool(re.search(self.on, self.labels[-1]))


def watch(steps: Steps) -> None:
    """Count everything that this process asks of S3 and of its database from now on."""
    send, ask, commit = URLLib3Session.send, Connections.ask, DefaultDialect.do_commit

    def counted_commit(dialect: Any, connection: Any) -> None:
        steps.begin("COMMIT")
        commit(dialect, connection)
        steps.done()

    URLLib3Session.send = lambda session, prepared: steps.request(prepared, lambda it: send(session, it))
    Connections.ask = lambda pool, *request: steps.request(_Direct(*request), lambda _: ask(pool, *request))
    DefaultDialect.do_commit = counted_commit
    event.listen(Engine, "before_cursor_execute", lambda _c, _u, sql, *_: steps.begin(" ".join(sql.split())))
    event.listen(Engine, "after_cursor_execute", lambda *_: steps.done())


class _Direct:
    """A request of the direct transport, as botocore would prepare it."""

    def __init__(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Sequence[bytes] = (),
        _patience: object = None,
    ) -> None:
        self.method = method
        self.url = f"http://{headers['host']}{target}"
        self.headers = headers
        self.body = b"".join(body)

    def reset_stream(self) -> None:
        """It is no stream."""


def _label(prepared: Any) -> str:
    url = urlsplit(prepared.url)
    prefix = parse_qs(url.query).get("prefix", [""])[0]
    return f"{operation_of(prepared.method, prepared.url)} {url.path}{prefix and ' ' + prefix}"


def _keep(prepared: Any, where: Path) -> None:
    prepared.reset_stream()
    body = prepared.body or b""
    data = body if isinstance(body, (bytes, bytearray)) else body.read()
    headers = {name: _text(value) for name, value in prepared.headers.items()}
    kept = {"method": prepared.method, "url": prepared.url, "headers": headers, "body": bytes(data).hex()}
    where.write_text(json.dumps(kept))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
