"""What is the direct transport's own: connections, TLS, checksums, regions, and answers as they come."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager

import pytest

from benchmarks.servers import find_go, s3bench
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ConfigError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores import s3_http
from offload_backend.stores.opening import open_store
from offload_backend.stores.s3_xml import Document, parsed
from tests.conftest import CREDENTIALS
from tests.fault_proxy import FaultProxy
from tests.stores.conftest import MIB

REFUSED = b"<Error><Code>AccessDenied</Code></Error>"


def connects(monkeypatch, proxy):
    """The connections to the proxy that are made from now on."""
    made, connect = [], socket.create_connection

    def recorded(address, *arguments):
        connection = connect(address, *arguments)
        if proxy.url.endswith(f":{address[1]}"):
            made.append(connection)
        return connection

    monkeypatch.setattr(socket, "create_connection", recorded)
    return made


@contextmanager
def scripted(*answers, read=True):
    """A server that answers one connection after the other with these bytes, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def serve():
        for answer in answers:
            connection = listener.accept()[0]
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536) if read else connection.recv(1)
            connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(30)
        listener.close()


@pytest.fixture(autouse=True)
def one_try(tries):
    tries(1)


def at(endpoint, **settings):
    options = {"endpoint_url": endpoint, **CREDENTIALS}
    return open_store("s3://bucket/state", Settings(storage_options=options, **settings))


def answer(body=b"", status="200 OK", **headers):
    named = {"ETag": '"e"', "Content-Length": str(len(body)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
    return "\r\n".join(lines).encode() + body


def test_requests_that_follow_each_other_share_a_connection(open_through, fault_proxy, monkeypatch):
    store, made = open_through(), connects(monkeypatch, fault_proxy)
    for number in range(3):
        store.put(f"v1/{number}", [b"x"])
        assert b"".join(store.get(f"v1/{number}")) == b"x"
        assert store.get_range(f"v1/{number}", 5, 5) == b""
        with pytest.raises(BlobNotFoundError):
            store.get_range("v1/missing", 0, 1)
    assert len(made) == 1


def test_no_more_connections_are_kept_than_there_are_parts_in_flight(open_through, fault_proxy, monkeypatch):
    store, made = open_through(concurrency=2), connects(monkeypatch, fault_proxy)
    readers = [store.get("v1/blob") for _ in range(5)]
    store.put("v1/blob", [b"x" * 3 * MIB])
    for reader in readers:
        next(reader)
    for reader in readers:
        b"".join(reader)
    assert len(made) == 5
    assert sum(connection.fileno() >= 0 for connection in made) == 2


def test_a_reader_that_stops_early_gives_its_connection_up(open_through, fault_proxy, monkeypatch):
    store = open_through()
    store.put("v1/blob", [b"x" * 3 * MIB])
    made = connects(monkeypatch, fault_proxy)
    reader = store.get("v1/blob")
    next(reader)
    reader.close()
    assert b"".join(store.get("v1/blob")) == b"x" * 3 * MIB
    assert len(made) == 1


@pytest.mark.parametrize("noticed", ["before", "while"])
def test_a_connection_that_the_server_closed_is_no_failed_attempt(open_through, fault_proxy, monkeypatch, noticed):
    if noticed == "while":
        monkeypatch.setattr(s3_http, "_has_something_to_read", lambda _: False)
    store = open_through(tries=1)
    for number in range(3):
        fault_proxy.hang_up_after("PutObject")
        store.put(f"v1/{number}", [b"x" * 3 * MIB])
        assert b"".join(store.get(f"v1/{number}")) == b"x" * 3 * MIB
    assert fault_proxy.operations.count("PutObject") == 3


def test_a_connection_that_was_idle_for_long_is_not_trusted(open_through, fault_proxy, monkeypatch):
    store = open_through()
    store.put("v1/blob", [b"x"])
    made = connects(monkeypatch, fault_proxy)
    monkeypatch.setattr(s3_http, "_IDLE_SECONDS", 0)
    store.put("v1/blob", [b"x"])
    assert len(made) == 1


def test_chunks_of_all_sizes_arrive_over_tls(bucket, tls_proxy, certificate):
    options = {**bucket.options, "endpoint_url": tls_proxy.url, "verify": str(certificate[0])}
    store = open_store(f"{bucket.url}/state", Settings(storage_options=options, part_size=5 * MIB))
    chunks = [b"abc"] * 1000 + [b"", b"d" * 40_000, b"e" * 100_001] * 20 + [memoryview(b"f" * 6 * MIB), b"g"]
    store.put("v1/blob", chunks)
    assert b"".join(store.get("v1/blob")) == b"".join(chunks)
    assert bucket.read("state/v1/blob") == b"".join(chunks)


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(bucket, tls_proxy, monkeypatch, tries):
    options = {**bucket.options, "endpoint_url": tls_proxy.url}
    made = connects(monkeypatch, tls_proxy)
    with pytest.raises(StoreError, match="SSLError") as caught:
        open_store(f"{bucket.url}/state", Settings(storage_options=options)).put("v1/blob", [b"x"])
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", False)
    assert (len(made), tls_proxy.requests) == (1, [])
    trusting = open_store(f"{bucket.url}/state", Settings(storage_options={**options, "verify": False}))
    trusting.put("v1/blob", [b"x"])
    assert bucket.all_keys() == {"state/v1/blob"}


@pytest.mark.parametrize("by", ["option", "environment"])
def test_authorities_that_cannot_be_read_are_a_wrong_setting(bucket, tls_proxy, monkeypatch, tmp_path, by):
    missing = str(tmp_path / "missing.pem")
    options = {**bucket.options, "endpoint_url": tls_proxy.url, **({"verify": missing} if by == "option" else {})}
    if by == "environment":
        monkeypatch.setenv("AWS_CA_BUNDLE", missing)
    with pytest.raises(ConfigError, match="certificate authorities") as caught:
        open_store(f"{bucket.url}/state", Settings(storage_options=options)).put("v1/blob", [b"x"])
    assert "AWS_CA_BUNDLE" in caught.value.hint


@pytest.mark.parametrize("switch", ["when_supported", "when_required"])
def test_bodies_have_checksums_unless_they_are_switched_off(open_through, fault_proxy, monkeypatch, switch):
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", switch)
    store = open_through()
    store.put("v1/blob", [b"12345", b"6789"])
    store.put("v1/large", [b"x" * 6 * MIB])
    sent = {request.operation: request.headers for request in fault_proxy.requests}
    expected = "y/Q5Jg==" if switch == "when_supported" else None
    assert sent["PutObject"].get("x-amz-checksum-crc32") == expected
    assert ("x-amz-checksum-crc32" in sent["UploadPart"]) is bool(expected)
    assert ("x-amz-checksum-algorithm" in sent["CreateMultipartUpload"]) is bool(expected)
    assert sent["PutObject"]["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory):
    go = find_go()
    if go is None:
        pytest.skip("no Go to build benchmarks/s3bench with: make bench installs it into .venv-go")
    with s3bench(go, tmp_path_factory.mktemp("s3bench"), "-verify") as server:
        server.make_bucket("bucket")
        yield server


@pytest.mark.parametrize(("operation", "size"), [("PutObject", 100), ("UploadPart", 12 * MIB)])
def test_a_body_that_is_damaged_on_its_way_is_refused(strict_server, aws_environment, operation, size):
    with FaultProxy(strict_server.endpoint) as proxy:
        store = at(proxy.url)
        proxy.damage(operation)
        with pytest.raises(StoreError, match=f"S3 refused {operation}: BadDigest") as caught:
            store.put(f"v1/{operation}", [bytes(size)])
        assert caught.value.retryable
        with pytest.raises(BlobNotFoundError):
            b"".join(store.get(f"v1/{operation}"))
        store.put(f"v1/{operation}", [bytes(size)])
        assert b"".join(store.get(f"v1/{operation}")) == bytes(size)


@pytest.mark.parametrize(
    ("status", "code"),
    [(301, "PermanentRedirect"), (307, "TemporaryRedirect"), (400, "AuthorizationHeaderMalformed")],
)
def test_a_bucket_in_another_region_is_followed_where_s3_says_so(open_through, fault_proxy, bucket, status, code):
    store = open_through(tries=1)
    fault_proxy.refuse("PutObject", status, code, x_amz_bucket_region="eu-west-3")
    store.put("v1/blob", [b"x"])
    store.put("v1/other", [b"x"])
    regions = [request.headers["authorization"].split("/")[2] for request in fault_proxy.requests]
    assert regions == ["us-east-1", "eu-west-3", "eu-west-3"]
    assert bucket.all_keys() == {"state/v1/blob", "state/v1/other"}


def test_a_request_that_was_under_way_while_another_found_the_region_is_repeated_there(
    open_through, fault_proxy, bucket
):
    store, found, failed = open_through(tries=1), threading.Event(), []
    headers = {"x-amz-bucket-region": "eu-west-3"}

    def late(*_):
        assert found.wait(30)
        return 301, headers, b""

    def put():
        try:
            store.put("v1/late", [b"x"])
        except StoreError as error:
            failed.append(error)

    fault_proxy.change("PutObject", late)
    fault_proxy.refuse("PutObject", 301, "PermanentRedirect", x_amz_bucket_region="eu-west-3")
    thread = threading.Thread(target=put)
    thread.start()
    deadline = time.monotonic() + 30
    while not fault_proxy.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    store.put("v1/early", [b"x"])
    found.set()
    thread.join()
    assert not failed
    assert {request.headers["authorization"].split("/")[2] for request in fault_proxy.requests[2:]} == {"eu-west-3"}


@pytest.mark.parametrize(
    ("s3_transport", "region"),
    [("direct", ""), ("boto3", ""), ("direct", "us-east-1"), ("boto3", "us-east-1"), ("direct", "no region!")],
)
def test_a_bucket_in_another_region_that_s3_does_not_name(open_through, fault_proxy, region):
    headers = {"x_amz_bucket_region": region} if region else {}
    fault_proxy.refuse("PutObject", 301, "PermanentRedirect", times=0, **headers)
    with pytest.raises(StoreError, match="S3 refused PutObject: PermanentRedirect") as caught:
        open_through().put("v1/blob", [b"x"])
    assert caught.value.hint.startswith("the bucket is in another region: correct region_name")


@pytest.mark.parametrize("body", ["<Error><Code>InternalError</Code></Error>", "<html/>", "", "<!DOCTYPE x><x/>"])
def test_an_upload_is_not_complete_before_s3_says_so(open_through, fault_proxy, bucket, body):
    fault_proxy.answer("CompleteMultipartUpload", 200, f"\n \n{body}", times=2)
    open_through(tries=3).put("v1/blob", [b"x" * 6 * MIB])
    assert fault_proxy.operations.count("CompleteMultipartUpload") == 3
    assert len(bucket.read("state/v1/blob")) == 6 * MIB
    fault_proxy.answer("CompleteMultipartUpload", 200, body, times=0)
    with pytest.raises(StoreError, match="S3 refused CompleteMultipartUpload") as caught:
        open_through(tries=2).put("v1/other", [b"x" * 6 * MIB])
    assert caught.value.retryable
    assert bucket.unfinished_uploads() == []


def test_an_answer_that_is_cut_off_is_asked_for_again(open_through, fault_proxy, bucket):
    fault_proxy.cut_body("CreateMultipartUpload", after=20)
    open_through().put("v1/blob", [b"x" * 6 * MIB])
    assert fault_proxy.operations.count("CreateMultipartUpload") == 2
    assert bucket.all_keys() == {"state/v1/blob"}


def test_a_refusal_that_comes_before_the_body_was_read_is_told(aws_environment):
    refusal = answer(REFUSED, "403 Forbidden")
    with scripted(refusal, read=False) as endpoint, pytest.raises(StoreError) as caught:
        at(endpoint, part_size=64 * MIB).put("v1/blob", [b"x" * 60 * MIB])
    assert caught.value.reason == "denied"


def test_chunked_answers_are_read_to_their_end(aws_environment):
    chunked = answer(b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", Content_Length="", Transfer_Encoding="chunked")
    cut = answer(b"5\r\n01234\r\n5\r\n567", Content_Length="", Transfer_Encoding="chunked")
    with scripted(chunked, chunked, chunked, chunked, cut) as endpoint:
        store, buffer = at(endpoint), bytearray(10)
        assert b"".join(store.get("v1/blob")) == b"0123456789"
        store.read_into("v1/blob", 0, memoryview(buffer), 10)
        assert buffer == b"0123456789"
        for size in (9, 11):
            with pytest.raises(BlobCorruptError):
                store.read_into("v1/blob", 0, memoryview(bytearray(size)), size)
        with pytest.raises(StoreError, match="IncompleteReadError"):
            store.read_into("v1/blob", 0, memoryview(buffer), 10)


def test_an_answer_whose_end_is_lost_does_not_make_the_blob_a_damaged_one(aws_environment, tries):
    cut = answer(b"a\r\n0123456789\r\n", Content_Length="", Transfer_Encoding="chunked")
    tries(3)
    with scripted(cut) as endpoint, pytest.raises(StoreError, match="IncompleteReadError") as caught:
        at(endpoint).read_into("v1/blob", 0, memoryview(bytearray(10)), 10)
    assert caught.value.retryable


def test_an_answer_that_is_no_http_is_no_answer(aws_environment):
    with scripted(b"SSH-2.0-OpenSSH_9\r\n", b"") as endpoint:
        for kind in ("HTTPClientError", "ConnectionClosedError"):
            with pytest.raises(StoreError, match=kind) as caught:
                at(endpoint).put("v1/blob", [b"x"])
            assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)


def test_an_interim_answer_leaves_no_connection_on_which_the_real_one_follows(aws_environment):
    with scripted(b"HTTP/1.1 103 Early Hints\r\n\r\n") as endpoint:
        store = at(endpoint)
        with pytest.raises(StoreError, match="HTTPClientError") as caught:
            store.put("v1/blob", [b"x"])
        assert caught.value.retryable
        _, connections = store._transport()._requests._route
        assert not connections._idle


@pytest.mark.parametrize("name", ["key", "token"])
@pytest.mark.parametrize("value", ["AKIA\n", "AKIA\n\N{HORIZONTAL ELLIPSIS}", "AKIA\N{HORIZONTAL ELLIPSIS}"])
def test_credentials_that_no_header_holds_are_told_and_never_shown(bucket, fault_proxy, name, value):
    options = {**bucket.options, "endpoint_url": fault_proxy.url, name: value}
    with pytest.raises(StoreError, match="MalformedCredentialsError") as caught:
        open_store(f"{bucket.url}/state", Settings(storage_options=options)).put("v1/blob", [b"x"])
    assert caught.value.reason == "no-credentials"
    assert "AKIA" not in "".join(traceback.format_exception(caught.value))
    assert fault_proxy.requests == []


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<a>",
        b"no xml",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a><d>&b;</d></a>',
        b'<!DOCTYPE a SYSTEM "http://evil.example/"><a/>',
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nobody-knows"?><a/>',
    ],
)
def test_what_is_no_plain_xml_says_nothing(document):
    assert parsed(document) == Document("", {})


def test_texts_are_those_right_below_the_root():
    data = b"\n<?xml version='1.0'?><a xmlns='http://x/'><b>1 &amp; 2</b><c><b>no</b></c><d/></a>"
    assert parsed(data) == Document("a", {"b": "1 & 2"})


def test_putting_and_getting_loads_no_sdk(bucket):
    script = f"""
import sys
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
store = open_store("{bucket.url}/state", Settings(storage_options={bucket.options!r}, part_size={5 * MIB}))
store.put("v1/blob", [b"x" * {6 * MIB}])
buffer = bytearray({6 * MIB})
store.read_into("v1/blob", 0, memoryview(buffer), len(buffer))
assert b"".join(store.get("v1/blob")) == buffer == b"x" * {6 * MIB}
print(sorted({{"boto3", "botocore", "urllib3", "requests", "s3fs", "xml.etree"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_answer_that_a_parent_began_leaves_a_child_no_connection(open_through):
    store = open_through()
    store.put("v1/blob", [b"x" * 3 * MIB])
    reader = store.get("v1/blob")
    next(reader)
    _, connections = store._transport()._requests._route
    connections._owner = 0  # as in another process, which asked for something since
    assert len(b"".join(reader)) == 2 * MIB
    assert not connections._idle
