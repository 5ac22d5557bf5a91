"""Azurite, the emulator of Azure's blob storage, which `make` installs from npm where there is Node."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

__all__ = ["AzureServer", "RawAzure", "azure_server", "find_azurite"]

ACCOUNT = "testaccount"
KEY = base64.b64encode(b"a key that only this server takes").decode()
# Beside the environment that runs the tests, which also runs those of copies of this repository.
_MAIN = Path(sys.executable).parents[2] / ".venv-azurite/node_modules/azurite/dist/src/blob/main.js"
_VERSION = "2021-12-02"


@dataclass(frozen=True)
class AzureServer:
    """Its address, and requests to it without any client of Azure's."""

    port: int

    def new_container(self) -> str:
        name = f"container-{uuid.uuid4().hex}"
        self.ask("PUT", f"/{name}", restype="container")
        return name

    def options(self, at: str = "") -> dict[str, str]:
        """Storage options for it, or for a proxy before it."""
        endpoint = f"BlobEndpoint={at or f'http://127.0.0.1:{self.port}'}/{ACCOUNT};"
        return {"connection_string": f"AccountName={ACCOUNT};AccountKey={KEY};{endpoint}"}

    def open(self, container: str, *, proxy: str = "", **settings: Any) -> Any:
        """A store of the container, opened as a worker opens it."""
        return open_store(f"abfs://{container}/state", Settings(storage_options=self.options(proxy), **settings))

    def ask(self, method: str, path: str, body: bytes = b"", **query: str) -> bytes:
        """The body of the answer to a signed request; the path is not yet escaped."""
        place = f"/{ACCOUNT}{quote(path)}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _VERSION}
        if body or (method == "PUT" and not query):
            headers |= {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{_signature(method, place, body, headers, query)}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, f"{place}?{urlencode(query)}" if query else place, body, headers)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        assert answer.status < 300, (method, path, answer.status, found)
        return found


class RawAzure:
    """A container without any client of Azure's or of fsspec's: HTTP alone."""

    def __init__(self, server: AzureServer, container: str) -> None:
        self.server = server
        self.container = container

    def put(self, name: str, data: bytes) -> None:
        self.server.ask("PUT", f"/{self.container}/state/{name}", data)

    def get(self, name: str) -> bytes:
        return self.server.ask("GET", f"/{self.container}/state/{name}")

    def names(self) -> set[str]:
        found = ET.fromstring(
            self.server.ask("GET", f"/{self.container}", comp="list", restype="container", maxresults="5000")
        )
        assert not found.findtext("NextMarker")
        return {str(each.text).removeprefix("state/") for each in found.iterfind("Blobs/Blob/Name")}

    def unfinished(self) -> list[str]:
        """Nothing: Azure keeps blocks that were never committed for a week, and knows no way to take them back."""
        return []


def _signature(method: str, place: str, body: bytes, headers: dict[str, str], query: dict[str, str]) -> str:
    named = sorted((name, value) for name, value in headers.items() if name.startswith("x-ms-"))
    length, kind = str(len(body) or ""), headers.get("Content-Type", "")
    lines = [method, "", "", length, "", kind, "", "", "", "", "", ""]
    lines += [f"{name}:{value}" for name, value in named]
    resource = f"/{ACCOUNT}{place}" + "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
    text = "\n".join([*lines, resource]).encode()
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text, hashlib.sha256).digest()).decode()


def find_azurite() -> list[str] | None:
    """The command, if Node and Azurite are here."""
    node = shutil.which("node")
    return [node, str(_MAIN)] if node and _MAIN.is_file() else None


@contextmanager
def azure_server(command: list[str], folder: Path) -> Iterator[AzureServer]:
    """The server on a free port, until the block ends. It keeps all in memory, and reports nothing to anybody."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    command = [*command, *options, "--blobPort", str(port)]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    told = folder / "azurite.log"
    with told.open("wb") as log:
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert running.poll() is None, told.read_text()
            time.sleep(0.1)
        yield AzureServer(port)
    finally:
        running.kill()
        running.wait()
