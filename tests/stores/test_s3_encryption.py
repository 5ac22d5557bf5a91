"""Server-side encryption, where it is asked for: every object has it, however it was made."""

from __future__ import annotations

import random

import pytest

from offload_backend.errors import ConfigError
from offload_backend.offloader import Offloader
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.stores.s3_direct import DirectObjects
from tests.inner.stores import TASK
from tests.stores.test_s3_copies import NEW, OLD, WANTED, with_old

MIB = 1024 * 1024
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
LARGE = random.Random(3).randbytes(11 * MIB)
KMS = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}


@pytest.fixture(params=["direct", "boto3", "fsspec"])
def s3_transport(request):
    return request.param


def opened(bucket, transport, told):
    options = {**bucket.options, "s3_additional_kwargs": told}
    if transport == "fsspec":
        options["endpoint_url"] = bucket.options["endpoint_url"]
    return open_store(
        f"{bucket.url}/state", Settings(storage_options=options, transport=transport, part_size=5 * MIB)
    )


def encryption_of(bucket, key):
    head = bucket.client.head_object(Bucket=bucket.name, Key=key)
    return head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")


@pytest.mark.parametrize(
    ("told", "expected"), [({"ServerSideEncryption": "AES256"}, ("AES256", None)), (KMS, ("aws:kms", KEY))]
)
def test_every_object_is_made_with_it_in_one_request_or_in_parts(bucket, s3_transport, told, expected):
    store = opened(bucket, s3_transport, told)
    if s3_transport == "direct":
        assert isinstance(store._transport(), DirectObjects)
    for name, content in (("v1/small", b"x" * 1000), ("v1/large", LARGE)):
        store.put(name, [content])
        assert encryption_of(bucket, f"state/{name}") == expected
        assert b"".join(store.get(name)) == content


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"], indirect=True)
def test_an_object_with_copied_parts_has_it_too(bucket, s3_transport):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/old", Body=OLD)
    store = with_old(opened(bucket, s3_transport, KMS), "get")
    assert store.put_with_copies("v1/new", iter(NEW), "v1/old") > 5 * MIB
    assert bucket.read("state/v1/new") == WANTED
    assert encryption_of(bucket, "state/v1/new") == ("aws:kms", KEY)


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"], indirect=True)
def test_what_is_encrypted_before_it_is_sent_takes_no_more_requests(bucket, fault_proxy, s3_transport, monkeypatch):
    monkeypatch.setenv("MY_KEY", "ab" * 32)
    options = {**bucket.options, "endpoint_url": fault_proxy.url}
    values = {"path": f"{bucket.url}/state", "storage_options": options, "transport": s3_transport}

    def asked(value, keys):
        settings = Settings.load({**values, "encryption_keys": keys, "inline_limit": 0})
        fault_proxy.requests.clear()
        text = Offloader(settings, lambda path: open_store(path, settings)).offload(value, TASK, "k")
        stored = sorted(fault_proxy.operations)
        fault_proxy.requests.clear()
        assert Offloader(settings, lambda path: open_store(path, settings)).resolve(text) == value
        return stored, fault_proxy.operations

    assert asked(b"x" * 100_000, "k1=env:MY_KEY") == (["PutObject"], ["GetObject"])
    large = LARGE * 3 + b"y"
    assert asked(large, "k1=env:MY_KEY") == asked(large, "")


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"], indirect=True)
def test_all_that_s3_may_be_told_arrives(bucket, fault_proxy, s3_transport):
    told = {**KMS, "BucketKeyEnabled": True, "SSEKMSEncryptionContext": "eyJhIjoiYiJ9"}
    options = {**bucket.options, "endpoint_url": fault_proxy.url, "s3_additional_kwargs": told}
    store = open_store(f"{bucket.url}/state", Settings(storage_options=options, transport=s3_transport))
    store.put("v1/blob", [b"x"])
    [request] = fault_proxy.requests
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert {name: sent.get(f"x-amz-server-side-encryption{name}") for name in ("", *SUFFIXES)} == {
        "": "aws:kms",
        "-aws-kms-key-id": KEY,
        "-context": "eyJhIjoiYiJ9",
        "-bucket-key-enabled": "true",
    }


SUFFIXES = ("-aws-kms-key-id", "-context", "-bucket-key-enabled")


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"], indirect=True)
@pytest.mark.parametrize(
    "told",
    [
        {"SSECustomerKey": "hunter2"},
        {"ACL": "hunter2"},
        "hunter2",
        {"ServerSideEncryption": 7},
        {"BucketKeyEnabled": "yes"},
    ],
)
def test_anything_else_is_refused_and_not_quoted(bucket, s3_transport, told):
    with pytest.raises(ConfigError, match="s3_additional_kwargs holds") as caught:
        opened(bucket, s3_transport, told)
    assert "hunter2" not in str(caught.value)
    assert "ServerSideEncryption" in caught.value.hint
