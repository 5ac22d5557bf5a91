"""Writes the golden encrypted blobs: ``python -m tests.golden.encrypted DIRECTORY``.

What was released is not written again. The keys are for nothing but these files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from offload_backend import blobs as blobs_module
from offload_backend.address import TaskAddress
from offload_backend.crypto import Secret
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore
from tests.golden.write import LOCATION, _fixed_clock
from tests.golden.write import VALUES as JSON_VALUES

__all__ = ["KEYS", "VALUES", "WRAPPED", "reader", "write"]

ID = "01999999-9999-7aaa-8bbb-dddddddddddd"
KEYS = {"k1": "11" * 32, "k-2026_b": "2b" * 32}
WRAPPED = b"\x01\x02 how a service wrapped it"
VALUES: dict[str, Any] = {
    **{name: JSON_VALUES[name] for name in ("checkpoint", "empty", "records", "two-frames", "level-0")},
    "arrays": {"weights": np.arange(300_000, dtype="<f8"), "step": 7, "raw": b"x" * 1000},
    "wrapped": {"epoch": 3},
}


class Wrapping:
    """A source that gives its key for what it was wrapped as, as a service does."""

    def fresh(self) -> Secret:
        return Secret(bytes.fromhex("77" * 32), WRAPPED)

    def unwrapped(self, wrapped: bytes) -> Sequence[bytes]:
        return [bytes.fromhex("77" * 32)] if wrapped == WRAPPED else []


def keys_of(name: str) -> str:
    """The setting with which the blob of this name was written, the key that wrote it first."""
    source = f"class:{Wrapping.__module__}.{Wrapping.__name__}"
    both = ["k1=env:GOLDEN_K1", "k-2026_b=env:GOLDEN_K2", f"svc={source}"]
    first = {"wrapped": 2, "records": 1}.get(name, 0)
    return " ".join([both[first], *both[:first], *both[first + 1 :]])


def environment() -> dict[str, str]:
    """Where the keys are."""
    return {"GOLDEN_K1": KEYS["k1"], "GOLDEN_K2": KEYS["k-2026_b"]}


def offloader(store: MemoryBlobStore, name: str) -> Offloader:
    """As the deployment that wrote the blob of this name is configured."""
    level = 0 if name == "level-0" else 1
    facts = {"path": LOCATION, "deployment": "golden", "inline_limit": 0, "compression_level": level}
    return Offloader(Settings.load({**facts, "encryption_keys": keys_of(name)}), lambda _: store)


def reader(files: dict[str, bytes], name: str = "") -> Offloader:
    """An offloader whose store holds these blobs, with all keys."""
    store = MemoryBlobStore(LOCATION)
    for stored, data in files.items():
        store.put(stored, [data])
    return offloader(store, name)


def blobs() -> Iterator[tuple[dict[str, Any], bytes]]:
    """An encrypted blob of each value, with the ref that its row would hold."""
    store = MemoryBlobStore(LOCATION)
    for number, (name, value) in enumerate(VALUES.items()):
        blob_id = f"{ID[:-2]}{number:02}"
        with patch.object(blobs_module, "new_blob_id", lambda fixed=blob_id: fixed), _fixed_clock():
            text = offloader(store, name).offload(value, TaskAddress("etl", "run", name, number), "key")
        stored = next(info.name for info in store.list() if blob_id in info.name)
        file = f"{name}.{stored.partition('.')[2]}"
        yield {"file": file, "name": stored, "ref": text}, b"".join(store.get(stored))


def write(directory: Path) -> None:
    """Write the golden files below the directory."""
    (directory / "encrypted").mkdir(parents=True, exist_ok=True)
    index = []
    with patch.dict("os.environ", environment()):
        for entry, data in blobs():
            (directory / "encrypted" / entry["file"]).write_bytes(data)
            index.append(json.dumps(entry))
    (directory / "encrypted_v1.jsonl").write_text("".join(f"{line}\n" for line in index))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
