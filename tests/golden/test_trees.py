"""Trees and typed rows that were written once are read for ever, and are still written so."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offload_backend.blobfile import SealedBlob
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.row import is_typed
from offload_backend.stores.memory import MemoryBlobStore
from tests.golden import trees

HERE = Path(__file__).parent
BLOBS = [json.loads(line) for line in (HERE / "trees_v1.jsonl").read_text().splitlines()]
ROWS = [json.loads(line) for line in (HERE / "typed_rows_v1.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("entry", BLOBS, ids=lambda entry: entry["file"])
def test_a_tree_of_the_first_release_that_wrote_them_is_read(entry):
    store = MemoryBlobStore(trees.LOCATION)
    store.put(entry["name"], [(HERE / "trees" / entry["file"]).read_bytes()])
    found = trees.offloader(store, 0).resolve(entry["ref"])
    assert same(found, trees.VALUES[entry["file"].partition(".")[0]])


@pytest.mark.parametrize("entry", ROWS, ids=lambda entry: entry["value"])
def test_a_typed_row_of_the_first_release_that_wrote_them_is_read(entry):
    assert is_typed(entry["text"])
    found = trees.offloader(MemoryBlobStore(trees.LOCATION), 65_535).resolve(entry["text"])
    assert same(found, trees.SMALL[entry["value"]])
    if entry["value"] == "shared":
        assert found[0] is found[1]


def test_every_value_has_its_golden_file():
    assert [entry["file"].partition(".")[0] for entry in BLOBS] == list(trees.VALUES)
    assert [entry["value"] for entry in ROWS] == list(trees.SMALL)
    assert sorted(path.name for path in (HERE / "trees").iterdir()) == sorted(entry["file"] for entry in BLOBS)


def test_what_is_written_today_is_what_was_written(tmp_path):
    trees.write(tmp_path)
    assert (tmp_path / "typed_rows_v1.jsonl").read_text() == (HERE / "typed_rows_v1.jsonl").read_text()
    for entry in BLOBS:
        assert content(tmp_path / "trees" / entry["file"]) == content(HERE / "trees" / entry["file"])


def same(found: Any, expected: Any) -> bool:
    """Equal, type for type and bit for bit."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, np.ndarray):
        layout = [(array.dtype, array.shape, array.flags.f_contiguous) for array in (found, expected)]
        return layout[0] == layout[1] and found.tobytes() == expected.tobytes()
    if isinstance(expected, dict):
        return same(list(found.items()), list(expected.items()))
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, (float, complex, Decimal)):
        return repr(found) == repr(expected)
    return bool(found == expected)


def content(file: Path) -> bytes:
    """The safetensors file inside, read as its ref says; compressors may differ."""
    data = file.read_bytes()
    entry = next(
        json.loads(line)
        for line in (file.parents[1] / "trees_v1.jsonl").read_text().splitlines()
        if json.loads(line)["file"] == file.name
    )
    ref = parse_ref(entry["ref"])
    assert isinstance(ref, BlobRef)

    def fetch(start: int, memory: memoryview) -> None:
        memory[:] = data[start : start + len(memory)]

    blob_id = entry["name"].rpartition("/")[2].partition(".")[0]
    facts = {"size": ref.size, "raw": ref.raw, "seal": ref.seal, "blake3": ref.digest, "blob_id": blob_id}
    blob = SealedBlob(fetch, **facts, concurrency=1)
    return bytes(blob.read(0, blob.size))
