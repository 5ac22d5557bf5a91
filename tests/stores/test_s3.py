"""What the S3 adapter asks of S3, and what it does not, through either of its transports."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from offload_backend.errors import ConfigError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_s3, open_store
from offload_backend.stores.s3 import S3BlobStore
from offload_backend.stores.s3_client import client_config
from tests.stores.conftest import MIB


@pytest.fixture(params=["direct", "boto3"])
def s3_transport(request):
    return request.param


def test_every_small_operation_is_one_request(open_through, fault_proxy):
    store = open_through()
    store.put("v1/blob", [b"x" * MIB])
    assert b"".join(store.get("v1/blob")) == b"x" * MIB
    assert store.get_range("v1/blob", 5, 5) == b"xxxxx"
    assert [info.name for info in store.list("v1/")] == ["v1/blob"]
    assert store.delete(["v1/blob", "v1/other"]).failed == {}
    assert fault_proxy.operations == ["PutObject", "GetObject", "GetObject", "ListObjectsV2", "DeleteObjects"]


def test_a_blob_of_exactly_one_part_is_one_request_and_a_longer_one_is_a_multipart_upload(
    open_through, fault_proxy
):
    store = open_through()
    store.put("v1/exact", [b"x" * 5 * MIB])
    assert fault_proxy.operations == ["PutObject"]
    store.put("v1/longer", [b"x" * 5 * MIB, b"y"])
    assert sorted(fault_proxy.operations[1:]) == [
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPart",
    ]


def test_a_store_at_the_root_of_a_bucket_keeps_names_as_keys(bucket, s3_transport):
    store = open_store(bucket.url, Settings(storage_options=bucket.options, transport=s3_transport))
    store.put("v1/blob", [b"x"])
    assert bucket.all_keys() == {"v1/blob"}
    assert store.location == bucket.url
    assert [info.name for info in store.list("v1/")] == ["v1/blob"]
    assert store.delete(["v1/blob"]).deleted == ("v1/blob",)


def test_neighbours_that_share_a_string_prefix_are_not_touched(bucket, s3_transport):
    for key in ("state2/v1/blob", "stat/v1/blob", "state"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"x")
    store = open_store(f"{bucket.url}/state", Settings(storage_options=bucket.options, transport=s3_transport))
    assert list(store.list()) == []
    store.delete(["v1/blob"])
    assert bucket.all_keys() == {"state2/v1/blob", "stat/v1/blob", "state"}


def test_a_reader_that_stops_early_holds_no_connection(bucket):
    answers = []

    class Recording:
        meta = bucket.client.meta

        def get_object(self, **parameters):
            answers.append(bucket.client.get_object(**parameters))
            return answers[-1]

    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * 3 * MIB)
    chunks = S3BlobStore(f"{bucket.url}/state", lambda _: Recording(), Settings()).get("v1/blob")
    assert len(next(chunks)) == MIB
    chunks.close()
    assert [answer["Body"]._raw_stream.closed for answer in answers] == [True]


@pytest.mark.parametrize("s3_transport", ["direct", "boto3", "fsspec"])
def test_a_missing_bucket_is_an_error_and_never_a_new_bucket(open_through, fault_proxy, bucket, s3_transport):
    store = open_through("s3://no-such-bucket-here/state")
    before = bucket.client.list_buckets()["Buckets"]
    for attempt in (
        lambda: store.put("v1/blob", [b"x"]),
        lambda: store.put("v1/blob", [b"x" * 6 * MIB]),
        lambda: b"".join(store.get("v1/blob")),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.reason == "bucket-missing"
        assert "create the bucket or correct [offload_backend] path" in caught.value.hint
    assert set(store.delete(["v1/blob"]).failed) == {"v1/blob"}
    assert not {"CreateBucket", "HeadBucket"} & set(fault_proxy.operations)
    assert bucket.client.list_buckets()["Buckets"] == before


def test_memory_is_bounded_by_the_parts_in_flight(open_through, fault_proxy):
    gate, taken = threading.Event(), []
    enough = threading.Semaphore(0)
    fault_proxy.hold("UploadPart", gate)
    store = open_through(concurrency=2)

    def source():
        for number in range(10):
            taken.append(number)
            enough.release()
            yield b"x" * 5 * MIB

    thread = threading.Thread(target=lambda: store.put("v1/blob", source()))
    thread.start()
    for _ in range(3):
        assert enough.acquire(timeout=10)
    assert not enough.acquire(timeout=0.3)
    assert fault_proxy.operations.count("UploadPart") <= 2
    gate.set()
    thread.join(30)
    assert len(taken) == 10
    assert fault_proxy.operations.count("UploadPart") == 10


def test_there_is_a_connection_for_every_part_in_flight_and_some_for_others():
    assert client_config(Settings(concurrency=64)).max_pool_connections > 64


def test_no_thread_outlives_a_put(open_through):
    store = open_through()
    store.put("v1/blob", [b"x" * 6 * MIB])
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("offload-part")]


@pytest.mark.parametrize(
    "options",
    [
        {"key": "test-key", "secret": "test-secret", "region_name": "us-east-1"},
        {"aws_access_key_id": "test-key", "aws_secret_access_key": "test-secret", "token": "t"},
        {"client_kwargs": {"region_name": "us-east-1"}},
    ],
)
@pytest.mark.parametrize("s3_transport", ["direct", "boto3", "fsspec"])
def test_options_are_understood_under_the_names_of_boto3_and_of_fsspec(bucket, options, s3_transport):
    given = dict(options)
    if "client_kwargs" in given:
        given["client_kwargs"] = {**given["client_kwargs"], "endpoint_url": bucket.endpoint_url}
    else:
        given["endpoint_url"] = bucket.endpoint_url
    store = open_store(f"{bucket.url}/state", Settings(storage_options=given, transport=s3_transport))
    store.put("v1/blob", [b"x"])
    assert bucket.all_keys() == {"state/v1/blob"}


def test_an_unknown_option_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="endpoint-url") as caught:
        open_s3("s3://bucket", Settings(storage_options={"endpoint-url": "http://x", "secret": "hunter2"}))
    assert "endpoint_url" in caught.value.hint
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("options", [{"endpoint_url": "minio.example:9000"}, {"profile": "no-such-profile"}])
def test_a_client_that_cannot_be_made_is_a_wrong_setting(aws_environment, options, s3_transport):
    store = open_s3("s3://bucket/state", Settings(storage_options=options, transport=s3_transport))
    with pytest.raises(ConfigError) as caught:
        store.put("v1/blob", [b"x"])
    assert "correct" in caught.value.hint


def test_a_bucket_name_that_cannot_be_is_a_wrong_setting(bucket, s3_transport):
    store = open_s3("s3://Not_A_Bucket!/state", Settings(storage_options=bucket.options, transport=s3_transport))
    with pytest.raises(ConfigError, match="ParamValidationError"):
        store.put("v1/blob", [b"x"])


def test_without_boto3_the_extra_is_named(monkeypatch, s3_transport):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    store = open_s3("s3://bucket/state", Settings(transport=s3_transport))
    for attempt in (lambda: store.put("a", [b"x"]), lambda: b"".join(store.get("a")), lambda: list(store.list())):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert "pip install 'offload-backend[s3]'" in caught.value.hint


def test_importing_and_opening_loads_no_driver():
    script = """
import sys
import offload_backend.stores.opening, offload_backend.stores.s3, offload_backend.stores.fsspec
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
open_store("s3://bucket/state", Settings()); open_store("/tmp/state", Settings())
print(sorted({"boto3", "botocore", "s3fs", "fsspec", "aiobotocore"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
