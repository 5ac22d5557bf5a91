"""Google Cloud Storage through gcsfs, against an emulator: docs/clouds.md tells what that proves, and what not."""

from __future__ import annotations

import gc
import traceback

import pytest
import requests
from gcsfs.core import GCSFileSystem

from offload_backend import connect
from offload_backend.address import TaskAddress, blob_name, new_blob_id
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.testing.blob_store import BlobStoreContract
from tests.stores.gcs_server import RawGcs, gcs_server

MIB = 1024 * 1024
PART_SIZE = BlobStoreContract.part_size
OURS = blob_name("prod", TaskAddress("dag", "run", "task"), "key", new_blob_id(), "json.zst")


@pytest.fixture(scope="module")
def running():
    with gcs_server() as server:
        yield server


@pytest.fixture
def server(running):
    """As if nobody had asked it anything, and with nothing to refuse."""
    running.operations.clear()
    yield running
    running.refusals.clear()


@pytest.fixture
def bucket(server):
    return server.new_bucket()


@pytest.fixture
def store(server, bucket):
    return server.open(bucket, part_size=PART_SIZE)


@pytest.fixture
def raw(server, bucket):
    return RawGcs(server, bucket)


@pytest.fixture
def at_once(monkeypatch):
    """gcsfs's own tries follow each other without a pause."""

    async def sleep(_seconds):
        return None

    monkeypatch.setattr("gcsfs.retry.asyncio", type("Asyncio", (), {"sleep": staticmethod(sleep)}))


class TestGcs(BlobStoreContract):
    many = 101  # the emulator lists all at once, whatever it is asked for

    @pytest.fixture
    def store(self, store):
        return store

    @pytest.fixture
    def raw(self, raw):
        return raw


def test_the_driver_is_the_one_that_does_not_ask_for_a_layout(store):
    """The other asks by gRPC, and waits for a minute where nobody answers to it."""
    assert type(store._filesystem) is GCSFileSystem


def test_every_small_operation_is_one_request_and_none_asks_for_the_bucket(server, store):
    store.put("v1/blob", [b"x" * MIB])
    assert b"".join(store.get("v1/blob")) == b"x" * MIB
    assert store.get_range("v1/blob", 5, 5) == b"xxxxx"
    assert [info.name for info in store.list("v1/")] == ["v1/blob"]
    assert store.delete(["v1/blob"]).failed == {}
    assert server.operations == ["put", "get", "get", "list", "delete"]


def test_a_long_file_of_others_costs_its_generation_and_a_block_more_than_a_blob(server, store, raw):
    raw.put("dag/run/task/-1/key", b"x" * 11 * MIB)
    assert b"".join(store.get("dag/run/task/-1/key")) == b"x" * 11 * MIB
    # gcsfs asks whether it is a folder at the same time, and leaves it at that if the answer comes first.
    assert [each for each in server.operations if each != "list"] == ["get"] * 6
    server.operations.clear()
    raw.put(OURS, b"x" * 11 * MIB)
    assert b"".join(store.get(OURS)) == b"x" * 11 * MIB
    assert server.operations == ["get"] * 3


def test_a_long_blob_is_one_upload_that_shows_nothing_before_its_end(server, store, raw):
    seen = []

    def chunks():
        for _ in range(11):
            yield b"x" * MIB
            seen.append(raw.names())

    store.put("v1/blob", chunks())
    assert seen == [set()] * 11
    assert raw.names() == {"v1/blob"}
    assert [each for each in server.operations if each != "list"] == ["begin", "send", "send", "send"]


def test_a_blob_may_hold_what_gcsfs_puts_between_the_parts_of_a_request(store, raw):
    """What follows it would be lost, and nobody would be told."""
    data = b"x\n--==0==\nContent-Type: text/plain\n\ny\n--==0==--\nz"
    store.put("v1/blob", [data])
    assert raw.get("v1/blob") == data
    assert b"".join(store.get("v1/blob")) == data


@pytest.mark.parametrize("size", [1, 11 * MIB])
def test_what_arrives_damaged_is_an_error(store, at_once, monkeypatch, size):
    monkeypatch.setattr("gcp_storage_emulator.handlers.objects._md5", lambda _: "AAAAAAAAAAAAAAAAAAAAAA==")
    with pytest.raises(StoreError, match="ChecksumError"):
        store.put("v1/blob", [b"x" * size])


@pytest.mark.parametrize("refused", ["begin", "send"])
def test_an_upload_that_is_refused_is_given_up_and_never_published_later(server, store, raw, refused):
    server.refuse(refused, 403)
    with pytest.raises(StoreError) as caught:
        store.put("v1/blob", [b"x" * 11 * MIB])
    assert caught.value.reason == "denied"
    server.refusals.clear()
    del caught
    gc.collect()
    assert (raw.names(), raw.unfinished()) == (set(), [])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (400, "failed", False),
        (401, "denied", False),
        (403, "denied", False),
        (429, "throttled", True),
        (500, "unreachable", True),
        (502, "unreachable", True),
        (503, "throttled", True),
    ],
)
def test_refusals_have_reasons(server, store, status, reason, retryable):
    for operation in ("put", "get", "list", "delete"):
        server.refuse(operation, status)
    for attempt in (
        lambda: store.put("v1/blob", [b"x"]),
        lambda: b"".join(store.get("v1/blob")),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.retryable) == (reason, retryable)
    assert store.delete(["v1/blob"]).deleted == ()


def test_a_range_behind_the_end_is_empty_where_the_server_refuses_it(server, store):
    """The emulator gives an empty answer; Google's is 416."""
    store.put("v1/blob", [b"0123456789"])
    server.refuse("get", 416, "Request range not satisfiable")
    assert store.get_range("v1/blob", 10, 5) == b""


def test_a_bucket_that_does_not_exist_is_told_apart_from_an_empty_one(server, store):
    assert list(store.list()) == []
    nowhere = server.open("no-such-bucket")
    for attempt in (lambda: nowhere.put("v1/blob", [b"x"]), lambda: list(nowhere.list())):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.reason == "bucket-missing"


def test_a_server_that_cannot_be_reached_is_an_error_worth_another_try(at_once, closed_port):
    options = {"endpoint_url": closed_port, "token": "anon"}
    store = open_store("gs://bucket/state", Settings(storage_options=options))
    with pytest.raises(StoreError) as caught:
        store.put("v1/blob", [b"x"])
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)


def test_credentials_that_are_not_there_are_an_error_of_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(StoreError) as caught:
        open_store("gs://bucket/state", Settings(storage_options={"token": "google_default"}))
    assert caught.value.reason == "no-credentials"
    assert "[offload_backend] path" in caught.value.hint


def test_a_token_that_cannot_be_used_is_not_shown(monkeypatch):
    """A path that is not there is taken for a token, and Google is asked about it in a URL."""
    token = "hunter" + "2"

    def refuse(*_, **__):
        raise requests.exceptions.ConnectionError(f"GET https://google.example/tokeninfo?access_token={token}")

    monkeypatch.setattr("requests.get", refuse)
    with pytest.raises(StoreError) as caught:
        open_store("gs://bucket/state", Settings(storage_options={"token": token}))
    assert caught.value.reason == "unreachable"
    assert token not in "".join(traceback.format_exception(caught.value))


def test_a_large_value_goes_there_and_comes_back(server, bucket, raw):
    options = {"endpoint_url": server.url, "token": "anon"}
    value = {"epoch": 3, "weights": bytes(range(256)) * (12 * MIB // 256), "loss": [0.5] * 100_000}
    with connect(path=f"gs://{bucket}/state", core_store="memory://", storage_options=options) as stores:
        task = stores.task_store("train", run_id="r", task_id="fit")
        task.set("checkpoint", value)
        assert task.get("checkpoint") == value
        (name,) = raw.names()
        data = raw.get(name)
        raw.put(name, data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
        with pytest.raises(BlobCorruptError):
            task.get("checkpoint")
        raw.put(name, data[:-1])
        with pytest.raises(BlobCorruptError):
            task.get("checkpoint")
        assert server.open(bucket).delete([name]).failed == {}
        with pytest.raises(BlobNotFoundError):
            task.get("checkpoint")
