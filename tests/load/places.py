"""Where the load goes: an S3 server that fails now and then, and PostgreSQL."""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.session import Session
from botocore.config import Config

from benchmarks.servers import ROOT, counted, find_go, s3bench
from tests.fault_proxy import FaultProxy, Request, _Handler, _Rule

BUCKET, PREFIX = "load", "state"
CREDENTIALS = {"aws_access_key_id": "test-key", "aws_secret_access_key": "test-secret", "region_name": "us-east-1"}


@dataclass(frozen=True)
class Storage:
    """An S3 server with one bucket; ``go_wrong`` tells what went wrong so far, and how often."""

    endpoint: str
    name: str
    weather: Weather | None = None

    def go_wrong(self) -> Counter[str]:
        return self.weather.happened if self.weather else counted(self.endpoint, "faults")

    def requests(self) -> Counter[str]:
        if self.weather:
            return Counter(self.weather.operations)
        return counted(self.endpoint)

    @property
    def client(self) -> Any:
        patient = Config(retries={"total_max_attempts": 20, "mode": "standard"}, proxies={})
        return Session(**CREDENTIALS).client("s3", endpoint_url=self.endpoint, config=patient)

    def names(self) -> list[str]:
        """Of everything below the path."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def unfinished_uploads(self) -> int:
        return len(self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))


@contextmanager
def storage(faults: float, *, slow: bool = False) -> Iterator[Storage]:
    """s3bench, where Go is installed; moto otherwise, or where ``slow`` will do."""
    go = None if slow else find_go()
    if go is None:
        with _moto() as target, Weather(target, faults) as weather:
            yield _with_bucket(Storage(weather.url, "moto", weather))
    else:
        with s3bench(go, _built_in(), "-verify", "-faults", str(faults)) as server:
            yield _with_bucket(Storage(server.endpoint, "s3bench"))


def _built_in() -> Path:
    """Where this version of s3bench is built, and stays: building it takes half a minute."""
    sources = sorted((ROOT / "benchmarks" / "s3bench").glob("*.go"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = ROOT / ".venv-go" / f"s3bench-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _with_bucket(found: Storage) -> Storage:
    found.client.create_bucket(Bucket=BUCKET)
    return found


@contextmanager
def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Weather(FaultProxy):
    """Lets a share of all requests go wrong, as s3bench does with ``-faults``."""

    def __init__(self, target: str, share: float) -> None:
        super().__init__(target)
        self.share, self.happened = share, Counter[str]()

    def rule_for(self, request: Request) -> _Rule | None:
        super().rule_for(request)
        if random.random() >= self.share:
            return None
        what = random.choice(list(_FAULTS))
        self.happened[what] += 1
        return _Rule(request.operation, 0, _FAULTS[what])


def _refuse(handler: _Handler, status: int, code: str) -> None:
    handler.send(status, {}, f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode())


def _ignore(handler: _Handler) -> None:
    handler.close_connection = True


def _do_and_hang_up(handler: _Handler) -> None:
    status, headers, body = handler.forward()
    if handler.command == "GET":
        handler.send(status, {**headers, "Content-Length": str(len(body))}, body[: len(body) // 2])
    handler.close_connection = True


_FAULTS = {
    "500": lambda handler: _refuse(handler, 500, "InternalError"),
    "503": lambda handler: _refuse(handler, 503, "SlowDown"),
    "cut off before it was read": _ignore,
    "done, not answered": _do_and_hang_up,
}
