"""The S3 adapter and s3fs, with a store that is dead, silent, or somebody else altogether."""

from __future__ import annotations

import threading
import traceback
from functools import partial

import pytest

from offload_backend.blobstore import Stretch
from offload_backend.errors import ConfigError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores import s3_multipart
from offload_backend.stores.opening import open_store
from tests.stores.conftest import MIB

NO_LISTINGS = ["", "<html><body>sign in</body></html>", "<Empty/>", "<DeleteResult/>"]


@pytest.fixture(params=["direct", "boto3"])
def s3_transport(request):
    return request.param


@pytest.mark.parametrize("body", NO_LISTINGS)
def test_an_answer_that_is_no_listing_is_not_an_empty_one(open_through, fault_proxy, body):
    fault_proxy.answer("ListObjectsV2", 200, body)
    with pytest.raises(StoreError, match="is no listing") as caught:
        list(open_through().list())
    assert (caught.value.reason, caught.value.retryable) == ("failed", True)


@pytest.mark.parametrize(
    "body",
    [
        "<ListBucketResult><Name>bucket</Name></ListBucketResult>",
        "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>",
    ],
)
def test_a_sparse_listing_without_blobs_is_an_empty_one(open_through, fault_proxy, body):
    fault_proxy.answer("ListObjectsV2", 200, body)
    assert list(open_through().list()) == []


@pytest.mark.parametrize(("operation", "lacks"), [("CreateMultipartUpload", "UploadId"), ("UploadPart", "ETag")])
def test_an_answer_without_what_the_upload_needs_is_a_failed_put(
    open_through, fault_proxy, bucket, operation, lacks
):
    fault_proxy.answer(operation, 200, "<Other/>" if lacks == "UploadId" else "", times=0)
    with pytest.raises(StoreError, match=f"{operation} holds no {lacks}") as caught:
        open_through().put("v1/blob", [b"x" * 6 * MIB])
    assert (caught.value.reason, caught.value.retryable) == ("failed", True)
    assert bucket.unfinished_uploads() == []


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"])
@pytest.mark.parametrize("copies", [False, True])
def test_a_page_of_somebody_else_is_no_stored_blob(open_through, fault_proxy, bucket, copies):
    store = open_through()
    store.put("v1/old", [b"x"])
    fault_proxy.answer("PutObject", 200, "<html>Please log in</html>", times=0)
    put = partial(store.put, "v1/blob", [b"x"])
    if copies:
        put = partial(store.put_with_copies, "v1/blob", [Stretch([b"x"], 1, 0)], "v1/old")
    with pytest.raises(StoreError, match="PutObject holds no ETag") as caught:
        put()
    assert caught.value.retryable
    assert bucket.all_keys() == {"state/v1/old"}


@pytest.mark.parametrize(("s3_transport", "operation"), [("boto3", "DeleteObjects"), ("fsspec", "DeleteObject")])
@pytest.mark.parametrize("refusal", [(503, "SlowDown"), (500, "InternalError")])
def test_a_dead_store_is_asked_once_and_not_once_per_delete(
    open_through, fault_proxy, s3_transport, operation, refusal
):
    fault_proxy.refuse(operation, *refusal, times=0)
    names = [f"v1/{number}" for number in range(2500)]
    report = open_through(tries=1).delete(names)
    assert fault_proxy.operations == [operation]
    assert list(report.failed) == names
    assert set(report.failed.values()) == {report.failed["v1/0"]}
    assert report.deleted == ()


def test_a_store_that_dies_among_single_deletes_is_asked_no_further(open_through, fault_proxy):
    fault_proxy.refuse("DeleteObjects", 501, "NotImplemented", times=0)
    fault_proxy.refuse("DeleteObject", 403, "AccessDenied")
    fault_proxy.refuse("DeleteObject", 503, "SlowDown", times=0)
    names = [f"v1/{number}" for number in range(1500)]
    report = open_through(tries=1).delete(names)
    assert fault_proxy.operations == ["DeleteObjects", "DeleteObject", "DeleteObject"]
    assert list(report.failed) == names
    assert "AccessDenied" in report.failed["v1/0"]
    assert {report.failed[name] for name in names[1:]} == {"S3 refused DeleteObject: SlowDown"}


def test_a_put_that_is_interrupted_does_not_wait_for_a_silent_store(open_through, fault_proxy, monkeypatch, caplog):
    monkeypatch.setattr(s3_multipart, "ABORT_SECONDS", 0.1)
    gate, over = threading.Event(), threading.Event()
    fault_proxy.hold("UploadPart", gate)
    fault_proxy.hold("AbortMultipartUpload", gate)

    def source():
        yield b"x" * 11 * MIB
        raise KeyboardInterrupt

    def put():
        with pytest.raises(KeyboardInterrupt):
            open_through(concurrency=2).put("v1/blob", source())
        over.set()

    thread = threading.Thread(target=put)
    thread.start()
    try:
        returned = over.wait(15)
    finally:
        gate.set()
        thread.join()
    assert returned
    assert "AbortIncompleteMultipartUpload" in caplog.text
    _wait_for_the_abort()


def test_an_upload_is_aborted_again_when_its_last_parts_have_arrived(open_through, fault_proxy, bucket, caplog):
    gate = threading.Event()
    fault_proxy.hold("UploadPart", gate)

    def release(status, headers, body):
        gate.set()
        return status, headers, body

    fault_proxy.change("AbortMultipartUpload", release)

    def source():
        yield b"x" * 11 * MIB
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_through(concurrency=2).put("v1/blob", source())
    assert fault_proxy.operations.count("AbortMultipartUpload") == 2
    assert bucket.unfinished_uploads() == []
    assert "stays behind" not in caplog.text
    _wait_for_the_abort()


@pytest.mark.parametrize(
    "options",
    [{"endpoint_url": "user:hunter2@host:x"}, {"region_name": "hunter2 x"}, {"profile": "hunter2"}],
)
def test_a_secret_in_the_wrong_option_is_told_to_nobody(aws_environment, options, s3_transport):
    with pytest.raises(ConfigError) as caught:
        open_store("s3://bucket/state", Settings(storage_options=options, transport=s3_transport)).put(
            "v1/blob", [b"x"]
        )
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def _wait_for_the_abort():
    for thread in threading.enumerate():
        if thread.name.startswith("offload-"):
            thread.join(30)
            assert not thread.is_alive()
