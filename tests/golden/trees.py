"""Writes the golden trees: ``python -m tests.golden.trees DIRECTORY``. What was released is not written again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import numpy as np

from offload_backend import blobs as blobs_module
from offload_backend.address import TaskAddress
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore
from tests.golden.write import ID, LOCATION, _fixed_clock

__all__ = ["SMALL", "VALUES", "write"]

NOON = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2), "EET"))
SHARED = [1, "한글"]
SMALL: dict[str, Any] = {
    "datetime": NOON,
    "tuple": (1, (2.5, None), "x"),
    "bytes": b"\x00\xff",
    "set": {frozenset({1}), 2},
    "int key": {1: "a", None: "b", "1": "c"},
    "decimal": [Decimal("0.10"), Decimal("NaN"), Fraction(1, 3), 2**70, complex(1, -0.0)],
    "floats": [float("inf"), -0.0, 0.1],
    "others": {
        "day": date(2026, 1, 2),
        "id": UUID(int=7),
        "range": range(3),
        "path": Path("a/b"),
        "$": ["dict", 1],
    },
    "shared": (SHARED, SHARED),
}
VALUES: dict[str, Any] = {
    "model": {
        "epoch": 3,
        "layers": [{"w": np.arange(24, dtype="<f4").reshape(4, 6), "b": np.zeros(0, "<f8")} for _ in range(2)],
        "order": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        "when": NOON,
    },
    "bytes": {"large": b"x" * 100_000, "buffer": bytearray(b"y" * 100)},
    "columns": [(n, NOON + timedelta(minutes=n), f"row {n}", n / 7) for n in range(300)],
    "records": {"rows": [{"id": n, "name": f"user {n}"} for n in range(300)], "seen": {n * n for n in range(40)}},
}


def offloader(store: MemoryBlobStore, limit: int) -> Offloader:
    """As the deployment that wrote them is configured."""
    settings = Settings.load({"path": LOCATION, "deployment": "golden", "inline_limit": limit})
    return Offloader(settings, lambda _: store)


def blobs() -> Iterator[tuple[dict[str, Any], bytes]]:
    """The blob of each value, with its name and ref."""
    store = MemoryBlobStore(LOCATION)
    for number, (name, value) in enumerate(VALUES.items(), start=50):
        blob_id = f"{ID[:-2]}{number:02}"
        with patch.object(blobs_module, "new_blob_id", lambda fixed=blob_id: fixed), _fixed_clock():
            text = offloader(store, 0).offload(value, TaskAddress("etl", "run", name, number), "key")
        stored = next(info.name for info in store.list() if blob_id in info.name)
        yield {"file": f"{name}.safetensors.zst", "name": stored, "ref": text}, b"".join(store.get(stored))


def write(folder: Path) -> None:
    """Write ``trees/``, ``trees_v1.jsonl`` and ``typed_rows_v1.jsonl`` into the folder."""
    (folder / "trees").mkdir(exist_ok=True)
    entries = []
    for entry, data in blobs():
        (folder / "trees" / entry["file"]).write_bytes(data)
        entries.append(entry)
    inline = offloader(MemoryBlobStore(LOCATION), 65_535)
    rows = [
        {"value": name, "text": inline.offload(value, TaskAddress("d", "r", "t"), "k")}
        for name, value in SMALL.items()
    ]
    for file, lines in (("trees_v1.jsonl", entries), ("typed_rows_v1.jsonl", rows)):
        (folder / file).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
