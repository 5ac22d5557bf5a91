"""S3 servers to measure against: s3bench, built from source here, or moto where there is no Go."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["SHAPED", "Server", "counted", "find_go", "moto", "s3bench"]

ROOT = Path(__file__).parents[1]
SHAPED = ("-latency", "20ms", "-rate", "90000000")
_SOURCE = Path(__file__).parent / "s3bench"
_GO = ROOT / ".venv-go"
_CREDENTIALS = {"aws_access_key_id": "benchmark", "aws_secret_access_key": "benchmark-secret"}


@dataclass(frozen=True)
class Server:
    """A running server; :func:`counted` reads its counters."""

    endpoint: str

    def make_bucket(self, name: str) -> None:
        self._client.create_bucket(Bucket=name)

    def drop_bucket(self, name: str) -> None:
        """Remove the bucket and what is in it."""
        client = self._client
        while found := client.list_objects_v2(Bucket=name).get("Contents", ()):
            client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": each["Key"]} for each in found]})
        client.delete_bucket(Bucket=name)

    def sizes(self, bucket: str) -> dict[str, int]:
        """Stored bytes of everything in the bucket, by key."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {each["Key"]: int(each["Size"]) for page in pages for each in page.get("Contents", ())}

    def size(self, bucket: str, url: str) -> int:
        """Stored bytes of the object with this URL."""
        key = url.partition(f"{bucket}/")[2]
        return int(self._client.head_object(Bucket=bucket, Key=key)["ContentLength"])

    @property
    def _client(self) -> Any:
        from boto3.session import Session

        session = Session(**_CREDENTIALS, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint)


def counted(endpoint: str, what: str = "") -> Counter[str]:
    """Requests that the server was asked so far, by S3's names; of ``received``, the bytes of their bodies."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
    try:
        connection.request("GET", f"/_stats/{what}".rstrip("/"))
        return Counter(json.load(connection.getresponse()))
    finally:
        connection.close()


def find_go() -> str | None:
    """The Go compiler that ``make bench`` installed, or another one on the PATH."""
    own = _GO / "bin" / "go"
    return str(own) if own.exists() else shutil.which("go")


@contextmanager
def s3bench(go: str, folder: Path, *options: str) -> Iterator[Server]:
    """s3bench on a free port until the block ends, built in ``folder`` if it is not yet there."""
    binary = folder / "s3bench"
    if not binary.exists():
        settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "-trimpath", "GOCACHE": str(folder / "go-cache")}
        command = [go, "build", "-o", str(binary), "."]
        subprocess.run(command, cwd=_SOURCE, env={**os.environ, **settings}, check=True)
    # Of what it has forgotten, Go keeps as much again: with 4 GB in it, two servers would fill the machine.
    frugal = {**os.environ, "GOMEMLIMIT": "6GiB"}
    process = subprocess.Popen(
        [binary, "-leash", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=frugal
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def moto() -> Iterator[Server]:
    """moto in this process. It computes and copies so much that times against it mean nothing."""
    from tests import s3

    recorder: Any
    with s3.serve() as recorder:
        everything = s3.S3(recorder.endpoint, "*")
        recorder.servers["*"] = everything
        recorder.app = _Statistics(everything, recorder.app)
        yield Server(recorder.endpoint)


class _Statistics:
    """WSGI: answers ``/_stats`` from what was recorded and weighed, and passes on all else."""

    def __init__(self, recorded: Any, app: Any) -> None:
        self._recorded = recorded
        self._app = app
        self._received: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith("/_stats"):
            self._received[_operation(environ)] += int(environ.get("CONTENT_LENGTH") or 0)
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        asked = Counter(each.operation for each in self._recorded.requests if not each.path.startswith("/_stats"))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self._received if path.endswith("/received") else asked).encode()]


def _operation(environ: dict[str, Any]) -> str:
    from tests import s3

    return s3._operation(environ)  # noqa: SLF001 - the name under which the request was recorded
