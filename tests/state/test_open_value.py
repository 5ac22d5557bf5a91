"""A look at a stored value that reads no more than is asked for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from offload_backend import connect, open_value
from offload_backend.blobfile import reader
from offload_backend.errors import BlobCorruptError, ForeignRefError, OffloadError, UnreadableBlobError
from offload_backend.stores.local import LocalBlobStore

WEIGHTS = np.random.default_rng(3).integers(0, 2**63, (4096, 1024), dtype="i8")  # 32 MiB that do not compress
SMALL = np.arange(12.0).reshape(3, 4)


@dataclasses.dataclass
class Config:
    """What a value may hold where this module is allowed."""

    rate: float
    layers: tuple[int, ...]


VALUE = {"model": {"weights": WEIGHTS, "bias": SMALL}, "steps": [1, (2, 3)], "config": Config(0.1, (4, 5))}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The row of the value, and where its blob is."""
    folder = tmp_path_factory.mktemp("opened")
    path = f"file://{folder}/blobs"
    with connect(path=path, core_store=f"sqlite:///{folder}/state.db", allowed_classes=f"{__name__}.*") as stores:
        task = stores.task_store("d", run_id="r", task_id="t")
        task.set("k", VALUE)
        row = task._namespace._core_store.get(task._namespace.address, "k")
    return row.text, path


@pytest.fixture
def read(monkeypatch):
    """Bytes that are read from the store."""
    read: list[int] = []
    read_into = LocalBlobStore.read_into

    def counted(self, name, start, buffer, total):
        read.append(len(buffer))
        read_into(self, name, start, buffer, total)

    monkeypatch.setattr(LocalBlobStore, "read_into", counted)
    monkeypatch.setattr(reader, "WHOLE", 2**20)
    return read


def test_the_structure_is_there_without_the_arrays(stored, read):
    row, path = stored
    view = open_value(row, path=path)
    assert view.keys() == ["model", "steps", "config"]
    weights = view["model"]["weights"]
    assert (weights.kind, weights.shape, len(weights)) == ("numpy.ndarray", (4096, 1024), 4096)
    assert view["steps"][1].value() == (2, 3)
    assert sum(read) < 5 * 2**20


def test_rows_of_an_array_are_read_alone_and_verified(stored, read):
    row, path = stored
    weights = open_value(row, path=path)["model"]["weights"]
    read.clear()
    assert np.array_equal(weights[100:200], WEIGHTS[100:200])
    assert sum(read) <= 2 * (4 * 2**20 + 1000), "more than the frames that hold these rows was read"
    assert np.array_equal(weights[4000:], WEIGHTS[4000:])
    assert np.array_equal(weights.value(), WEIGHTS)


def test_classes_come_back_where_they_are_allowed_and_plain_where_that_is_asked_for(stored):
    row, path = stored
    assert open_value(row, path=path, allowed_classes=f"{__name__}.*")["config"].value() == VALUE["config"]
    with pytest.raises(UnreadableBlobError, match="may not be read here"):
        open_value(row, path=path)["config"].value()
    assert open_value(row, path=path, plain=True)["config"].value() == {"rate": 0.1, "layers": (4, 5)}


def test_an_object_in_the_row_itself_can_be_had_plain_too(tmp_path):
    path = f"file://{tmp_path}/blobs"
    with connect(path=path, core_store="memory://", allowed_classes=f"{__name__}.*") as stores:
        task = stores.task_store("d", run_id="r", task_id="t")
        task.set("k", VALUE["config"])
        row = task._namespace._core_store.get(task._namespace.address, "k").text
    assert open_value(row, path=path, plain=True).value() == {"rate": 0.1, "layers": (4, 5)}
    with pytest.raises(UnreadableBlobError, match="may not be read here"):
        open_value(row, path=path)


def test_a_ref_and_its_row_open_alike(stored):
    row, path = stored
    ref = json.loads(row)["__airflow_state_ref__"]
    assert open_value(ref, path=path).keys() == open_value(row, path=path).keys()


def test_what_is_outside_the_configured_locations_is_not_opened(stored, tmp_path):
    row, _ = stored
    with pytest.raises(ForeignRefError):
        open_value(row, path=f"file://{tmp_path}")


def test_damage_is_met_where_it_is_and_nowhere_else(stored, read, tmp_path):
    row, path = stored
    ref = json.loads(row)["__airflow_state_ref__"]
    file = Path(ref.partition("#")[0].removeprefix("file://"))
    with file.open("r+b") as blob:
        blob.seek(20 * 2**20)
        was = blob.read(1)
        blob.seek(20 * 2**20)
        blob.write(bytes([was[0] ^ 1]))
    try:
        weights = open_value(ref, path=path)["model"]["weights"]
        assert np.array_equal(weights[:100], WEIGHTS[:100])
        with pytest.raises(BlobCorruptError):
            weights.value()
    finally:
        with file.open("r+b") as blob:
            blob.seek(20 * 2**20)
            blob.write(was)


@pytest.mark.parametrize("value", [{"a": [1, {"b": 2}]}, {"a": [1, {"b": (2,)}]}])
@pytest.mark.parametrize("limit", [0, 65535])
def test_any_stored_value_can_be_opened(tmp_path, value, limit):
    path = f"file://{tmp_path}/blobs"
    with connect(path=path, core_store=f"sqlite:///{tmp_path}/state.db", inline_limit=limit) as stores:
        task = stores.task_store("d", run_id="r", task_id="t")
        task.set("k", value)
        text = task._namespace._core_store.get(task._namespace.address, "k").text
    if text.startswith('{"__airflow'):
        view = open_value(text, path=path)
        assert view.keys() == ["a"]
        assert view["a"][1]["b"].value() == value["a"][1]["b"]
        assert view.value() == value
        with pytest.raises(KeyError):
            view["nothing"]


def test_nonsense_is_an_error_of_ours(tmp_path):
    for text in ("", "s3://bucket/x", "{", "[1", "data:application/vnd.offload.tree+json,["):
        with pytest.raises(OffloadError):
            open_value(text, path=f"file://{tmp_path}")
