"""gcp-storage-emulator over HTTP, with what it lacks: refusals on demand, and the end of uploads given up."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from http.server import HTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

_GIVEN_UP = 499
"""Google's answer to a DELETE of an upload that is not complete; the emulator knows no such request."""
_SILENT = 10**9


@dataclass
class GcsServer:
    """The server's memory, what was asked of it, and what it shall refuse."""

    storage: Any
    url: str = ""
    operations: list[str] = field(default_factory=list)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)

    def new_bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex}"
        create_bucket(name, self.storage)
        return name

    def open(self, bucket: str, **settings: Any) -> Any:
        """A store of the bucket, opened as a worker opens it."""
        options = {"endpoint_url": self.url, "token": "anon"}
        return open_store(f"gs://{bucket}/state", Settings(storage_options=options, **settings))

    def refuse(self, operation: str, status: int, message: str = "told to") -> None:
        """Answer every such request so from now on."""
        self.refusals[operation] = status, message


class RawGcs:
    """A bucket without a client of Google's or of fsspec's: reads by HTTP, and writes into the server's memory."""

    def __init__(self, server: GcsServer, bucket: str) -> None:
        self.server = server
        self.bucket = bucket

    def put(self, name: str, data: bytes) -> None:
        about = _make_object_resource(self.server.url, self.bucket, f"state/{name}", None, str(len(data)))
        self.server.storage.create_file(self.bucket, f"state/{name}", data, _checksums(data, about))

    def get(self, name: str) -> bytes:
        return self._get(f"/storage/v1/b/{self.bucket}/o/{quote(f'state/{name}', safe='')}?alt=media")

    def names(self) -> set[str]:
        found = json.loads(self._get(f"/storage/v1/b/{self.bucket}/o"))
        assert "nextPageToken" not in found
        return {item["name"].removeprefix("state/") for item in found["items"]}

    def unfinished(self) -> list[str]:
        return [each["name"] for each in self.server.storage.resumable.values() if each["bucket"] == self.bucket]

    def _get(self, path: str) -> bytes:
        connection = HTTPConnection(self.server.url.partition("//")[2], timeout=120)
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        assert answer.status == 200, data
        return data


class _Handler(RequestHandler):
    def __init__(self, server: GcsServer, *args: Any) -> None:
        self.gcs = server
        super().__init__(server.storage, *args)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.path = self.path.replace(";", "%3B")  # the emulator would take it for the end of the path
        operation = _operation(self.command, self.path)
        self.gcs.operations.append(operation)
        if operation in self.gcs.refusals:
            self._answer(*self.gcs.refusals[operation])
            return False
        if operation == "give up":
            del self.gcs.storage.resumable[parse_qs(urlsplit(self.path).query)["upload_id"][0]]
            self._answer(_GIVEN_UP, "")
            return False
        return True

    def _answer(self, status: int, message: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"error": {"code": status, "message": message}}).encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _operation(method: str, path: str) -> str:
    parts = urlsplit(path)
    query = parse_qs(parts.query)
    if "upload_id" in query:
        return {"DELETE": "give up"}.get(method, "send")
    if "uploadType" in query:
        return {"resumable": "begin"}.get(query["uploadType"][0], "put")
    if parts.path.endswith("/o"):
        return "list"
    return {"GET": "get", "DELETE": "delete"}.get(method, method)


@contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """The server on a free port, until the block ends; it answers one request after the other."""
    logging.getLogger("api.object").setLevel(_SILENT)
    storage = Storage(use_memory_fs=True)
    storage._write_config_to_file = lambda: None  # or it would write down all that it has with every change
    server = GcsServer(storage)
    http = HTTPServer(("127.0.0.1", 0), partial(_Handler, server))
    http.socket.listen(128)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
