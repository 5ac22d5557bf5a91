"""How long a dead store is waited for: seconds until the error, for each way to be dead, operation and transport.

python -m benchmarks.giving_up              give_up_after = 5s, some minutes
python -m benchmarks.giving_up --after 1s   another limit
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from offload_backend.errors import StoreError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.dead_servers import DEAD, dead_server

__all__ = ["main"]

_TRANSPORTS = ("direct", "boto3", "fsspec")
_MIB = 1024 * 1024
_CALLS: dict[str, Callable[[Any], Any]] = {
    "put of 100 kB": lambda store: store.put("v1/blob", [b"x" * 100_000]),
    "put of 12 MiB": lambda store: store.put("v1/blob", [b"x" * 12 * _MIB]),
    "get": lambda store: b"".join(store.get("v1/blob")),
}


def main() -> None:
    """Measure and print the table for docs/operations.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--after", default="5s")
    after = parser.parse_args().after
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    print("| the store | operation |", " | ".join(_TRANSPORTS), "|")
    print("| --- | --- |", " | ".join("---" for _ in _TRANSPORTS), "|")
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda transport: _seconds("connection refused", "get", transport, "1s"), _TRANSPORTS))
        for kind, call in _cases():
            cells = [f"{_seconds(kind, call, transport, after):.1f}" for transport in _TRANSPORTS]
            print(f"| {kind} | {call} |", " | ".join(cells), "|", flush=True)


def _cases() -> Iterator[tuple[str, str]]:
    for kind in DEAD:
        if kind == "parts are never answered":
            yield kind, "put of 12 MiB"
        elif kind == "a body of one byte at a time":
            yield kind, "get"
        else:
            yield from ((kind, call) for call in _CALLS)


def _seconds(kind: str, call: str, transport: str, after: str) -> float:
    with dead_server(kind) as url:
        options = {"endpoint_url": url, "key": "k", "secret": "s", "region_name": "us-east-1"}
        store = open_store(
            "s3://bucket/state",
            Settings.load({"transport": transport, "storage_options": options, "give_up_after": after}),
        )
        if transport == "boto3":
            store._connected()  # type: ignore[attr-defined]  # noqa: SLF001 - making a client takes what it takes
        began = time.monotonic()
        try:
            _CALLS[call](store)
        except StoreError:
            return time.monotonic() - began
    raise AssertionError(f"{kind}: {call} did not fail")


if __name__ == "__main__":
    main()
