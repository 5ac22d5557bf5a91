"""The S3 adapter, with an S3 that fails: every fault is one of real HTTP."""

from __future__ import annotations

import logging
import threading
import traceback
from itertools import product

import pytest

from offload_backend.errors import BlobNotFoundError, OffloadError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.stores.s3_errors import grant
from tests.stores.conftest import MIB

CALLS = {
    "PutObject": lambda store: store.put("v1/blob", [b"x"]),
    "CreateMultipartUpload": lambda store: store.put("v1/blob", [b"x" * 6 * MIB]),
    "UploadPart": lambda store: store.put("v1/blob", [b"x" * 6 * MIB]),
    "CompleteMultipartUpload": lambda store: store.put("v1/blob", [b"x" * 6 * MIB]),
    "GetObject": lambda store: b"".join(store.get("v1/blob")),
    "ListObjectsV2": lambda store: list(store.list()),
}
RIGHTS = {"GetObject": "s3:GetObject", "ListObjectsV2": "s3:ListBucket"}


@pytest.fixture(params=["direct", "boto3"])
def s3_transport(request):
    return request.param


@pytest.mark.parametrize("operation", CALLS)
def test_a_store_that_asks_to_slow_down_is_asked_again(open_through, fault_proxy, bucket, operation):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"before")
    fault_proxy.refuse(operation, 503, "SlowDown", times=2)
    CALLS[operation](open_through(tries=3, concurrency=1))
    needed = 2 if operation == "UploadPart" else 1
    assert fault_proxy.operations.count(operation) == needed + 2
    assert bucket.unfinished_uploads() == []


SLOW_DOWN = (503, "SlowDown", "throttled", True)
DENIED = (403, "AccessDenied", "denied", False)


@pytest.mark.parametrize(
    ("operation", "refusal"),
    [
        *product(CALLS, (SLOW_DOWN, DENIED)),
        ("PutObject", (500, "InternalError", "unreachable", True)),
        ("PutObject", (400, "SomethingNew", "failed", False)),
    ],
)
def test_a_refusal_for_good_is_an_error_and_leaves_nothing(open_through, fault_proxy, bucket, operation, refusal):
    status, code, reason, retryable = refusal
    fault_proxy.refuse(operation, status, code, times=0)
    with pytest.raises(StoreError, match=f"S3 refused {operation}: {code}") as caught:
        CALLS[operation](open_through(tries=2, concurrency=1))
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)
    assert caught.value.location.startswith(f"{bucket.url}/state")
    assert fault_proxy.operations.count(operation) == (2 if retryable else 1)
    if reason == "denied":
        assert RIGHTS.get(operation, "s3:PutObject") in caught.value.hint
    assert bucket.all_keys() == set()
    assert bucket.unfinished_uploads() == []


def test_a_403_on_get_says_that_the_blob_may_just_be_missing(open_through, fault_proxy):
    fault_proxy.refuse("GetObject", 403, "AccessDenied")
    with pytest.raises(StoreError) as caught:
        b"".join(open_through().get("v1/blob"))
    assert "without s3:ListBucket a missing object also reads as 403" in caught.value.hint


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_wrong_credentials_are_told_from_missing_rights(open_through, fault_proxy, code):
    fault_proxy.refuse("PutObject", 400 if code == "ExpiredToken" else 403, code)
    with pytest.raises(StoreError, match=code) as caught:
        open_through().put("v1/blob", [b"x"])
    assert caught.value.reason == "denied"
    assert "correct or renew the credentials" in caught.value.hint
    assert "s3:PutObject" in caught.value.hint


def test_a_wrong_clock_is_told_from_wrong_credentials(open_through, fault_proxy):
    fault_proxy.refuse("PutObject", 403, "RequestTimeTooSkewed")
    with pytest.raises(StoreError, match="RequestTimeTooSkewed") as caught:
        open_through().put("v1/blob", [b"x"])
    assert caught.value.reason == "denied"
    assert caught.value.hint.startswith("set the worker's clock")


@pytest.mark.parametrize("s3_transport", ["direct", "boto3", "fsspec"])
def test_no_credentials_at_all_are_their_own_reason(bucket, monkeypatch, s3_transport):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    settings = Settings(storage_options={"endpoint_url": bucket.endpoint_url}, transport=s3_transport)
    with pytest.raises(StoreError) as caught:
        open_store(f"{bucket.url}/state", settings).put("v1/blob", [b"x"])
    assert caught.value.reason == "no-credentials"
    assert "s3://conn_id@bucket/prefix" in caught.value.hint


def test_a_store_that_cannot_be_reached_is_an_error_worth_another_try(bucket, closed_port, tries, s3_transport):
    tries(2)
    options = {**bucket.options, "endpoint_url": closed_port}
    store = open_store(f"{bucket.url}/state", Settings(storage_options=options, transport=s3_transport))
    for call in CALLS.values():
        with pytest.raises(StoreError) as caught:
            call(store)
        assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)
    assert store.delete(["a", "b"]).failed.keys() == {"a", "b"}


def test_a_store_that_never_answers_is_given_up_after_the_read_timeout(open_through, fault_proxy):
    gate = threading.Event()
    fault_proxy.hold("PutObject", gate)
    try:
        with pytest.raises(StoreError, match="ReadTimeoutError") as caught:
            open_through(read_timeout=0.2, tries=2).put("v1/blob", [b"x"])
        assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)
        assert fault_proxy.operations == ["PutObject"] * 2
    finally:
        gate.set()


def test_a_put_whose_answer_is_lost_is_repeated(open_through, fault_proxy, bucket):
    fault_proxy.lose_answer("PutObject")
    open_through().put("v1/blob", [b"data"])
    assert bucket.read("state/v1/blob") == b"data"
    assert fault_proxy.operations == ["PutObject"] * 2


def test_a_multipart_upload_whose_last_answer_is_lost_is_complete(open_through, fault_proxy, bucket):
    fault_proxy.lose_answer("CompleteMultipartUpload")
    fault_proxy.refuse("CompleteMultipartUpload", 404, "NoSuchUpload")
    data = b"x" * 6 * MIB
    open_through().put("v1/blob", [data])
    assert bucket.read("state/v1/blob") == data
    assert fault_proxy.operations.count("CompleteMultipartUpload") == 2
    assert "AbortMultipartUpload" not in fault_proxy.operations


def test_a_multipart_upload_that_failed_only_in_what_s3_answered_is_complete(open_through, fault_proxy, bucket):
    fault_proxy.change("CompleteMultipartUpload", lambda *_: (500, {}, b""))
    fault_proxy.refuse("CompleteMultipartUpload", 404, "NoSuchUpload")
    data = b"x" * 6 * MIB
    open_through().put("v1/blob", [data])
    assert bucket.read("state/v1/blob") == data
    assert "AbortMultipartUpload" not in fault_proxy.operations


def test_a_multipart_upload_that_somebody_aborted_is_not_taken_for_complete(open_through, fault_proxy, bucket):
    fault_proxy.refuse("CompleteMultipartUpload", 503, "SlowDown")
    fault_proxy.refuse("CompleteMultipartUpload", 404, "NoSuchUpload")
    with pytest.raises(StoreError, match="NoSuchUpload"):
        open_through().put("v1/blob", [b"x" * 6 * MIB])
    assert bucket.all_keys() == set()


def test_an_abort_that_fails_is_logged_and_hides_nothing(open_through, fault_proxy, caplog):
    fault_proxy.refuse("AbortMultipartUpload", 403, "AccessDenied")
    failure = KeyboardInterrupt()

    def source():
        yield b"x" * 11 * MIB
        raise failure

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt) as raised:
        open_through().put("v1/blob", source())
    assert raised.value is failure
    assert "AbortIncompleteMultipartUpload" in caplog.text
    assert "s3:AbortMultipartUpload" in caplog.text


def test_a_get_whose_answer_breaks_off_asks_for_the_rest_of_the_same_object(open_through, fault_proxy, bucket):
    data = bytes(range(256)) * 4 * 3 * 1024
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=data)
    fault_proxy.cut_body("GetObject", after=2 * MIB + 100)
    assert b"".join(open_through().get("v1/blob")) == data
    assert fault_proxy.operations == ["GetObject"] * 2
    start, end = range_of(fault_proxy.requests[1])
    assert 2 * MIB <= int(start) <= 2 * MIB + 100
    assert end == ""
    assert fault_proxy.requests[1].headers["if-match"]


def test_a_get_may_break_off_for_ever_as_long_as_it_gets_on(open_through, fault_proxy, bucket):
    data = bytes(range(256)) * 4 * 5 * 1024
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=data)
    fault_proxy.cut_body("GetObject", after=MIB + 1, times=4)
    assert b"".join(open_through(tries=2).get("v1/blob")) == data
    assert fault_proxy.operations == ["GetObject"] * 5


@pytest.mark.parametrize("after", [0, 100])
def test_a_get_that_does_not_get_on_is_given_up(open_through, fault_proxy, bucket, after):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * MIB)
    fault_proxy.cut_body("GetObject", after=after, times=0)
    with pytest.raises(StoreError) as caught:
        b"".join(open_through(tries=3).get("v1/blob"))
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)
    assert fault_proxy.operations == ["GetObject"] * 3


def test_a_range_that_breaks_off_is_completed(open_through, fault_proxy, bucket):
    data = bytes(range(256)) * 4 * 3 * 1024
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=data)
    fault_proxy.cut_body("GetObject", after=MIB + 5)
    assert open_through().get_range("v1/blob", 1000, 2 * MIB) == data[1000 : 1000 + 2 * MIB]
    start, end = range_of(fault_proxy.requests[1])
    assert 1000 + MIB <= int(start) <= 1000 + MIB + 5
    assert int(end) == 1000 + 2 * MIB - 1


def test_a_blob_that_changes_between_two_requests_is_not_mixed(open_through, fault_proxy, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * 3 * MIB)
    fault_proxy.cut_body("GetObject", after=MIB + 5)
    chunks = open_through().get("v1/blob")
    assert next(chunks) == b"x" * MIB
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"y" * 3 * MIB)
    with pytest.raises(StoreError, match="changed while it was read") as caught:
        b"".join(chunks)
    assert caught.value.retryable
    assert fault_proxy.operations == ["GetObject"] * 2


def test_the_rest_is_not_asked_of_a_store_that_does_not_tell_one_blob_from_another(
    open_through, fault_proxy, bucket
):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * 3 * MIB)

    def cut(status, headers, body):
        named = {**without(headers, "etag"), "Content-Length": str(len(body)), "Connection": "close"}
        return status, named, body[: MIB + 5]

    fault_proxy.change("GetObject", cut, times=0)
    with pytest.raises(StoreError) as caught:
        b"".join(open_through().get("v1/blob"))
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)
    assert fault_proxy.operations == ["GetObject"]


def test_a_store_that_ignores_conditions_or_ranges_is_found_out(open_through, fault_proxy, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * 3 * MIB)
    store = open_through()
    fault_proxy.change("GetObject", lambda _, headers, body: (200, without(headers, "content-range"), body))
    with pytest.raises(StoreError, match="ignores requests for a range"):
        store.get_range("v1/blob", 0, 5)
    fault_proxy.cut_body("GetObject", after=MIB + 5)
    fault_proxy.change("GetObject", lambda _, headers, body: (206, {**headers, "ETag": '"other"'}, body))
    with pytest.raises(StoreError, match="changed while it was read"):
        b"".join(store.get("v1/blob"))


def test_keys_that_a_200_answer_says_were_refused_are_reported(open_through, fault_proxy):
    fault_proxy.answer(
        "DeleteObjects",
        200,
        "<DeleteResult><Deleted><Key>state/v1/a</Key></Deleted>"
        "<Error><Key>state/v1/b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>",
    )
    report = open_through().delete(["v1/a", "v1/b", "v1/c"])
    assert report.deleted == ("v1/a",)
    assert report.failed.keys() == {"v1/b", "v1/c"}
    assert "AccessDenied" in report.failed["v1/b"]
    assert "no word" in report.failed["v1/c"]


def test_a_batch_that_fails_as_a_whole_is_reported_and_the_next_one_is_still_tried(open_through, fault_proxy):
    names = [f"v1/{number}" for number in range(1500)]
    fault_proxy.refuse("DeleteObjects", 403, "AccessDenied")
    report = open_through().delete(names)
    assert list(report.failed) == names[:1000]
    assert list(report.deleted) == names[1000:]
    assert set(report.failed.values()) == {f"S3 refused DeleteObjects: AccessDenied; {grant('DeleteObjects')}"}


def test_a_store_without_batch_deletes_gets_single_ones(open_through, fault_proxy, bucket):
    for name in ("a", "b", "c"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"state/v1/{name}", Body=b"x")
    fault_proxy.refuse("DeleteObjects", 501, "NotImplemented", times=0)
    fault_proxy.refuse("DeleteObject", 403, "AccessDenied")
    report = open_through().delete(["v1/a", "v1/b", "v1/missing"])
    assert report.failed == {"v1/a": f"S3 refused DeleteObject: AccessDenied; {grant('DeleteObject')}"}
    assert report.deleted == ("v1/b", "v1/missing")
    assert bucket.all_keys() == {"state/v1/a", "state/v1/c"}


def test_a_listing_that_fails_on_a_later_page_raises(open_through, fault_proxy):
    page = "<ListBucketResult><Name>bucket</Name><IsTruncated>true</IsTruncated>{token}</ListBucketResult>"
    token = page.format(token="<NextContinuationToken>t</NextContinuationToken>")
    fault_proxy.answer("ListObjectsV2", 200, token)
    fault_proxy.refuse("ListObjectsV2", 403, "AccessDenied")
    with pytest.raises(StoreError, match="AccessDenied"):
        list(open_through().list())
    for cut_short in (page.format(token=""), token):
        fault_proxy.answer("ListObjectsV2", 200, cut_short, times=2)
        with pytest.raises(StoreError, match="cut its list short"):
            list(open_through().list())


def test_a_404_without_a_code_is_a_missing_blob_for_get_and_a_missing_bucket_for_put(open_through, fault_proxy):
    for operation in ("GetObject", "PutObject"):
        fault_proxy.answer(operation, 404, "", times=0)
    store = open_through()
    with pytest.raises(BlobNotFoundError):
        b"".join(store.get("v1/blob"))
    with pytest.raises(StoreError) as caught:
        store.put("v1/blob", [b"x"])
    assert caught.value.reason == "bucket-missing"


@pytest.mark.parametrize("s3_transport", ["direct", "boto3", "fsspec"])
def test_no_error_shows_a_credential(open_through, fault_proxy, caplog, s3_transport):
    caplog.set_level(logging.WARNING)
    for operation in CALLS:
        fault_proxy.refuse(operation, 403, "SignatureDoesNotMatch", times=0)
    store = open_through()
    for call in CALLS.values():
        with pytest.raises(OffloadError) as caught:
            call(store)
        shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(store)
        assert "test-secret" not in shown
        assert "test-key" not in shown


def without(headers, name):
    return {key: value for key, value in headers.items() if key.lower() != name}


def range_of(request):
    return request.headers["range"].removeprefix("bytes=").split("-")
