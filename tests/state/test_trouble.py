"""What happens when rows change underneath a reader, and when a store fails in the middle."""

from __future__ import annotations

import json
import logging

import pytest

from offload_backend import connect
from offload_backend.address import TaskAddress
from offload_backend.blobstore import DeleteReport
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ConfigError,
    CoreStoreError,
    ForeignRefError,
    StoreError,
)
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.memory import MemoryBlobStore
from tests.state.conftest import BIG, Places

TASK = TaskAddress("dag", "run", "task")


class ReplacedUnderneath(MemoryCoreStore):
    """After each read, ``meanwhile`` runs, as if another process came in between."""

    meanwhile = staticmethod(lambda: None)

    def get(self, address, key):
        row = super().get(address, key)
        self.meanwhile()
        return row


@pytest.fixture
def raced(tmp_path):
    return Places(str(tmp_path / "blobs"), ReplacedUnderneath())


def test_a_value_replaced_while_it_is_read_is_read_again(raced):
    task_store, other = (raced.open().task_store("dag", "run", "task") for _ in range(2))
    task_store.set("key", BIG)
    left = [[BIG, 1], [BIG, 2], [BIG, 3]]
    raced.core_store.meanwhile = lambda: left and other.set("key", left.pop())
    assert task_store.get("key") == [BIG, 1]


def test_a_value_replaced_while_it_is_read_is_read_again_where_a_missing_blob_is_forbidden(raced, monkeypatch):
    """As S3 says of it where s3:ListBucket is not granted."""
    task_store, other = (raced.open().task_store("dag", "run", "task") for _ in range(2))
    task_store.set("key", BIG)
    read_into = LocalBlobStore.read_into

    def forbidden(*arguments):
        try:
            read_into(*arguments)
        except BlobNotFoundError as error:
            raise StoreError("GetObject failed: AccessDenied", reason="denied") from error

    monkeypatch.setattr(LocalBlobStore, "read_into", forbidden)
    left = [[BIG, 1], [BIG, 2]]
    raced.core_store.meanwhile = lambda: left and other.set("key", left.pop())
    assert task_store.get("key") == [BIG, 1]
    for blob in raced.blobs():
        blob.unlink()
    with pytest.raises(StoreError, match="AccessDenied"):
        task_store.get("key")


def test_a_value_deleted_while_it_is_read_gives_the_default(raced):
    task_store, other = (raced.open().task_store("dag", "run", "task") for _ in range(2))
    task_store.set("key", BIG)
    raced.core_store.meanwhile = lambda: other.delete("key")
    assert task_store.get("key", "default") == "default"


def test_a_reader_that_always_comes_too_late_gives_up(raced):
    task_store, other = (raced.open().task_store("dag", "run", "task") for _ in range(2))
    task_store.set("key", BIG)
    raced.core_store.meanwhile = lambda: other.set("key", BIG)
    with pytest.raises(BlobNotFoundError, match="replaced again and again") as caught:
        task_store.get("key")
    assert (caught.value.address, caught.value.key) == (TASK, "key")


def test_a_blob_deleted_underneath_is_an_error_that_says_which_state_it_was(local, task_store):
    task_store.set("key", BIG)
    local.blobs()[0].unlink()
    with pytest.raises(BlobNotFoundError) as caught:
        task_store.get("key", "default")
    assert (caught.value.address, caught.value.key) == (TASK, "key")
    assert caught.value.location.startswith(f"file://{local.path}/")


def test_a_flipped_bit_is_an_error_that_says_which_state_it_was(local, task_store):
    task_store.set("key", BIG)
    blob = local.blobs()[0]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(BlobCorruptError) as caught:
        task_store.get("key")
    assert (caught.value.address, caught.value.key) == (TASK, "key")


def test_a_row_that_points_elsewhere_is_refused(local, task_store):
    row = json.dumps({"__airflow_state_ref__": "file:///etc/passwd"})
    local.core_store.set(TASK, "key", row, expires_at=None)
    with pytest.raises(ForeignRefError):
        task_store.get("key")


def test_a_row_that_is_not_json_is_an_error_and_can_be_replaced(local, task_store):
    local.core_store.set(TASK, "key", "{broken", expires_at=None)
    with pytest.raises(BlobCorruptError, match="not JSON") as caught:
        task_store.get("key")
    assert (caught.value.address, caught.value.key) == (TASK, "key")
    task_store.set("key", BIG)
    assert task_store.get("key") == BIG


class Failing(MemoryCoreStore):
    def set(self, address, key, text, *, expires_at):
        raise CoreStoreError("connection lost", retryable=True)


def test_a_row_that_could_not_be_written_keeps_its_blob_because_the_commit_may_have_happened(tmp_path):
    places = Places(str(tmp_path / "blobs"), Failing())
    with pytest.raises(CoreStoreError) as caught:
        places.open().task_store("dag", "run", "task").set("key", BIG)
    assert caught.value.retryable
    assert (caught.value.address, caught.value.key) == (TASK, "key")
    assert len(places.blobs()) == 1


def test_a_blob_that_could_not_be_written_leaves_the_row_as_it_was(local, task_store):
    task_store.set("key", BIG)
    elsewhere = Places("file:///proc/nowhere", local.core_store).open()
    with pytest.raises(Exception, match="proc") as caught:
        elsewhere.task_store("dag", "run", "task").set("key", [BIG])
    assert caught.value.key == "key"
    assert task_store.get("key") == BIG


def test_dead_blobs_that_cannot_be_deleted_are_logged_and_fail_nothing(tmp_path, monkeypatch, caplog):
    def refuse(self, names):
        return DeleteReport(failed=dict.fromkeys(names, "denied"))

    monkeypatch.setattr(MemoryBlobStore, "delete", refuse)
    path = f"memory://{tmp_path.name}"
    task_store = Places(path, MemoryCoreStore()).open().task_store("dag", "run", "task")
    with caplog.at_level(logging.WARNING):
        task_store.set("key", BIG)
        task_store.set("key", [BIG])
        task_store.delete("key")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("offload_backend")]
    assert ours == ["1 dead blobs were left behind: denied"] * 2


def test_without_a_path_the_first_set_says_which_setting_is_missing(local):
    task_store = connect(core_store=local.core_store).task_store("dag", "run", "task")
    with pytest.raises(ConfigError, match="no location") as caught:
        task_store.set("key", 1)
    assert "[offload_backend] path" in caught.value.hint
    assert list(local.core_store.rows()) == []
