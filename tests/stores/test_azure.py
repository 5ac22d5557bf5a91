"""Azure's blob storage through adlfs, against an emulator: docs/clouds.md tells what that proves, and what not."""

from __future__ import annotations

import gc
import re
from types import SimpleNamespace

import pytest

from offload_backend import connect
from offload_backend.address import TaskAddress, blob_name, new_blob_id
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ConfigError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.testing.blob_store import BlobStoreContract
from tests.fault_proxy import FaultProxy
from tests.stores.azure_server import ACCOUNT, KEY, RawAzure, azure_server, find_azurite

MIB = 1024 * 1024
PART_SIZE = BlobStoreContract.part_size


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    command = find_azurite()
    if command is None:
        pytest.skip("no Azurite here: `make .venv-azurite/.azurite` installs it where there are Node and npm")
    with azure_server(command, tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def container(server):
    return server.new_container()


@pytest.fixture
def store(server, container):
    return server.open(container, part_size=PART_SIZE)


@pytest.fixture
def raw(server, container):
    return RawAzure(server, container)


@pytest.fixture
def proxy(server):
    """Requests have the names that S3 would give them; a listing's is GetObject."""
    with FaultProxy(f"http://127.0.0.1:{server.port}") as proxy:
        yield proxy


@pytest.fixture
def far_store(server, container, proxy):
    """The store behind the proxy."""
    return server.open(container, proxy=proxy.url, part_size=PART_SIZE)


@pytest.fixture
def at_once(monkeypatch):
    """The SDK's own tries follow each other without a pause."""

    async def sleep(*_):
        return None

    monkeypatch.setattr("azure.storage.blob._shared.policies_async.AsyncStorageRetryPolicy.sleep", sleep)


class TestAzure(BlobStoreContract):
    many = 101  # a page has 5,000, which takes the emulator half a minute

    @pytest.fixture
    def store(self, store):
        return store

    @pytest.fixture
    def raw(self, raw):
        return raw


def test_every_small_operation_is_one_request_and_a_listing_two(far_store, proxy):
    far_store.put("v1/blob", [b"x" * MIB])
    assert b"".join(far_store.get("v1/blob")) == b"x" * MIB
    assert far_store.get_range("v1/blob", 5, 5) == b"xxxxx"
    assert far_store.delete(["v1/blob", "v1/missing"]).failed == {}
    assert [request.method for request in proxy.requests] == ["PUT", "GET", "GET", "DELETE", "DELETE"]
    far_store.put("v1/blob", [b"x"])
    proxy.requests.clear()
    assert [info.name for info in far_store.list("v1/")] == ["v1/blob"]
    assert [request.method for request in proxy.requests] == ["HEAD", "GET"]


def test_a_long_file_of_others_costs_its_etag_and_a_block_more_than_a_blob(far_store, raw, proxy):
    ours = blob_name("prod", TaskAddress("dag", "run", "task"), "key", new_blob_id(), "json.zst")
    for name in (ours, "dag/run/task/-1/key"):
        raw.put(name, b"x" * 11 * MIB)
        assert b"".join(far_store.get(name)) == b"x" * 11 * MIB
    methods = [request.method for request in proxy.requests]
    assert methods == ["GET"] * 3 + ["GET", "HEAD", "GET", "GET", "GET", "HEAD"]


def test_a_long_blob_shows_nothing_before_its_end(store, raw):
    seen = []

    def chunks():
        for _ in range(11):
            yield b"x" * MIB
            seen.append(raw.names())

    store.put("v1/blob", chunks())
    assert seen == [set()] * 11
    assert raw.names() == {"v1/blob"}


@pytest.mark.parametrize("step", ["comp=block", "comp=blocklist"])
def test_an_upload_that_is_refused_is_never_published_later(far_store, raw, proxy, monkeypatch, step):
    asked = proxy.rule_for
    denied = SimpleNamespace(act=lambda handler: handler.send(403, {"x-ms-error-code": "told to"}, b""))
    monkeypatch.setattr(
        proxy, "rule_for", lambda request: denied if step in re.split("[?&]", request.path) else asked(request)
    )
    with pytest.raises(StoreError) as caught:
        far_store.put("v1/blob", [b"x" * 11 * MIB])
    assert caught.value.reason == "denied"
    del caught
    gc.collect()
    assert raw.names() == set()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "InvalidInput", ("failed", False)),
        (401, "NoAuthenticationInformation", ("denied", False)),
        (403, "AuthorizationPermissionMismatch", ("denied", False)),
        (429, "TooManyRequests", ("throttled", True)),
        (500, "InternalError", ("unreachable", True)),
        (503, "ServerBusy", ("throttled", True)),
    ],
)
def test_refusals_have_reasons(far_store, proxy, status, code, told):
    for operation in ("PutObject", "GetObject", "HeadObject", "DeleteObject"):
        proxy.refuse(operation, status, code, times=0)
    for attempt in (
        lambda: far_store.put("v1/blob", [b"x"]),
        lambda: b"".join(far_store.get("v1/blob")),
        lambda: list(far_store.list()),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.retryable) == told
    assert far_store.delete(["v1/blob"]).deleted == ()


def test_a_container_that_does_not_exist_is_told_apart_from_an_empty_one(server, store):
    assert list(store.list()) == list(store.list("v1/a")) == []
    nowhere = server.open("no-such-container")
    for attempt in (
        lambda: nowhere.put("v1/blob", [b"x"]),
        lambda: b"".join(nowhere.get("v1/blob")),
        lambda: list(nowhere.list()),
        lambda: list(nowhere.list("v1/a")),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.reason == "bucket-missing"
    assert nowhere.delete(["v1/blob"]).deleted == ()


def test_a_blob_with_the_name_of_a_folder_hides_nothing(server, store, container, raw):
    for name in ("v1", "v1/a", "v1/a/b", "v1/ab/c", "v2"):
        raw.put(name, b"x")
    server.ask("PUT", f"/{container}/state", b"x")
    server.ask("PUT", f"/{container}/state2/v1/a", b"x")
    listed = {prefix: sorted(info.name for info in store.list(prefix)) for prefix in ("", "v1/", "v1/a", "v1/a/")}
    assert listed == {
        "": ["v1", "v1/a", "v1/a/b", "v1/ab/c", "v2"],
        "v1/": ["v1/a", "v1/a/b", "v1/ab/c"],
        "v1/a": ["v1/a", "v1/a/b", "v1/ab/c"],
        "v1/a/": ["v1/a/b"],
    }


def test_a_server_that_cannot_be_reached_is_an_error_worth_another_try(at_once, closed_port):
    account = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={closed_port}/{ACCOUNT};"
    store = open_store("abfs://any/state", Settings(storage_options={"connection_string": account}))
    with pytest.raises(StoreError) as caught:
        store.put("v1/blob", [b"x"])
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)


def test_a_connection_string_that_cannot_be_used_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        open_store("abfs://any/state", Settings(storage_options={"connection_string": "AccountKey=hunter2"}))
    assert "storage_options" in caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_a_large_value_goes_there_and_comes_back(server, container, raw, store):
    value = {"epoch": 3, "weights": bytes(range(256)) * (12 * MIB // 256), "loss": [0.5] * 100_000}
    options = server.options()
    with connect(path=f"az://{container}/state", core_store="memory://", storage_options=options) as stores:
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
        assert store.delete([name]).failed == {}
        with pytest.raises(BlobNotFoundError):
            task.get("checkpoint")
