"""One limit for a storage request, whatever the store does: refuse, fall silent, trickle, or come back in time."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import threading
from itertools import product

import pytest
from botocore.exceptions import ClientError

from offload_backend.errors import StoreError
from offload_backend.settings import Settings
from offload_backend.stores import patience as patience_module
from offload_backend.stores.fsspec import FsspecBlobStore
from offload_backend.stores.opening import open_store
from offload_backend.stores.patience import (
    ON_A_LOOP,
    PROGRESS,
    OutOfPatienceError,
    Patience,
    allowed_seconds,
    within,
)
from offload_backend.stores.s3_errors import NoAnswerError, RefusalError, code_and_status
from offload_backend.stores.s3_read import read_object
from offload_backend.stores.s3_retries import repeated
from offload_backend.stores.s3_wire import Wire
from tests.conftest import CREDENTIALS
from tests.dead_servers import DEAD, Outage, dead_server, store_threads
from tests.stores.conftest import MIB

pytestmark = pytest.mark.timeout(120)
PARTS_ALONE = "parts are never answered"


class ByHand:
    """A clock that goes on when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = ByHand()
    monkeypatch.setattr(patience_module, "time", clock)
    return clock


def test_patience_ends_after_its_seconds_and_begins_anew_with_progress(clock):
    patience = Patience(10)
    clock.now += 9
    patience.moved(PROGRESS - 1)
    assert patience.left == 1
    patience.moved(PROGRESS)
    assert patience.left == 10
    clock.now += 4
    patience.moved(2 * PROGRESS - 1)
    assert patience.left == 6


def test_bytes_that_an_earlier_try_has_moved_are_no_progress(clock):
    patience = Patience(10)
    patience.moved(5 * PROGRESS)
    for _ in range(2):
        clock.now += 5
        for number in range(6):
            patience.moved(number * PROGRESS)
    assert patience.left == 0


def test_a_pause_is_made_shorter_so_that_a_last_try_is_left(clock):
    patience = Patience(60)
    assert patience.pause(20)
    assert clock.now == 1020
    assert patience.pause(100)
    assert clock.now == 1059
    assert not patience.pause(0)
    assert clock.now == 1059


def test_who_asks_for_a_longer_pause_is_obeyed_or_not_asked_again(clock):
    patience = Patience(60)
    assert patience.pause(1, at_least=30)
    assert clock.now == 1030
    assert not patience.pause(1, at_least=30)
    assert clock.now == 1030


def test_patience_that_is_cut_tries_no_more_and_gains_nothing_by_progress(clock):
    patience = Patience(60)
    patience.cut(2)
    patience.moved(PROGRESS)
    patience.cut(5)
    assert patience.is_cut
    assert patience.left == 2
    assert not patience.pause(0)


class Breaking:
    """An answer that breaks off before its first byte."""

    etag, content_range, length = "e", "", None

    def read(self, size):
        raise NoAnswerError("IncompleteReadError")

    def close(self):
        pass


def refused():
    raise RefusalError("SlowDown", 503)


@pytest.mark.parametrize(
    "ask",
    [
        lambda patience: repeated("GetObject", "s3://bucket/blob", patience, refused),
        lambda patience: list(read_object(lambda *_: Breaking(), "s3://bucket/blob", patience)),
    ],
    ids=["refused", "broken off"],
)
def test_thousands_of_tries_end_as_a_few_do(clock, ask):
    hours = 8 * 3600
    with pytest.raises(StoreError):
        ask(Patience(hours))
    assert clock.now > 1000 + hours - 2


def test_a_pause_ends_when_the_patience_is_cut():
    patience = Patience(600)
    threading.Timer(0.1, patience.cut, (0,)).start()
    assert not patience.pause(500)


def test_a_call_that_takes_too_long_is_left_alone():
    gate = threading.Event()
    with pytest.raises(OutOfPatienceError):
        within(Patience(0.1), gate.wait)
    gate.set()
    assert within(Patience(60), lambda: 7) == 7
    with pytest.raises(KeyError):
        within(Patience(60), lambda: {}["nothing"])


def test_an_event_loop_is_kept_waiting_for_less():

    async def on_a_loop():
        return allowed_seconds(180), allowed_seconds(2)

    assert asyncio.run(on_a_loop()) == (ON_A_LOOP, 2)
    assert allowed_seconds(180) == 180


def test_bytes_that_are_there_do_not_prolong_what_is_over():
    """A server that trickles faster than we look would never be out of time otherwise."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"x" * 100)
    patience, memory = Patience(60), memoryview(bytearray(1))
    wire = Wire(ours, patience, 60)
    assert wire.receive(memory) == 1
    patience.left = 0
    for over in (lambda: wire.receive(memory), lambda: wire.send([memory])):
        with pytest.raises(TimeoutError):
            over()
    patience.left = 60
    assert wire.receive(memory) == 1
    ours.close()
    theirs.close()


def opened(url, transport, give_up_after):
    options = {**CREDENTIALS, "endpoint_url": url}
    return open_store(
        "s3://bucket/state",
        Settings(transport=transport, storage_options=options, part_size=5 * MIB, give_up_after=give_up_after),
    )


CALLS = {
    "put": lambda store: store.put("v1/blob", [b"x"]),
    "put in parts": lambda store: store.put("v1/blob", [b"x" * 11 * MIB]),
    "get": lambda store: b"".join(store.get("v1/blob")),
}


@pytest.mark.parametrize(
    ("transport", "kind"),
    [
        *product(["direct", "boto3"], DEAD),
        # s3fs goes on in the background for the sum of its own pauses, which takes longest here.
        *product(["fsspec"], DEAD if os.environ.get("OFFLOAD_LONG") else ["503 for ever", "never answers"]),
    ],
)
def test_a_dead_store_is_given_up(aws_environment, kind, transport):
    calls = {PARTS_ALONE: ["put in parts"], "a body of one byte at a time": ["get"]}.get(kind, ["put", "get"])
    others = store_threads()
    with dead_server(kind) as url:
        store = opened(url, transport, "0.4s")
        for call in calls:
            with pytest.raises(StoreError) as caught:
                CALLS[call](store)
            assert caught.value.retryable
            assert caught.value.reason == ("throttled" if "SlowDown" in caught.value.message else "unreachable")
            assert "[offload_backend] give_up_after" in caught.value.hint
            assert caught.value.location.startswith("s3://bucket/state")
            for thread in set(store_threads()).difference(others) if transport == "direct" else ():
                thread.join(5)  # on a busy machine it ends a moment later
                assert not thread.is_alive()
    for thread in store_threads() if transport == "boto3" else ():
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("transport", ["direct", "boto3"])
@pytest.mark.parametrize("call", ["list", "delete"])
def test_lists_and_deletes_are_given_up_too(aws_environment, transport, call):
    with dead_server("an answer of one byte at a time") as url:
        store = opened(url, transport, "0.4s")
        if call == "list":
            with pytest.raises(StoreError, match="ListObjectsV2"):
                list(store.list())
        else:
            assert store.delete(["v1/a", "v1/b"]).failed.keys() == {"v1/a", "v1/b"}


@pytest.mark.parametrize("transport", ["direct", "boto3", "fsspec"])
@pytest.mark.parametrize("call", ["put", "put in parts"])
def test_an_outage_that_ends_in_time_is_ridden_out(bucket, transport, call, monkeypatch):
    monkeypatch.setattr("offload_backend.stores.s3_retries._PAUSE", 0.01)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    outage = Outage(bucket.endpoint_url, lasts=4)
    options = {**bucket.options, "endpoint_url": outage.url}
    settings = Settings(transport=transport, storage_options=options, part_size=5 * MIB)
    CALLS[call](open_store(f"{bucket.url}/state", settings))
    outage.close()
    assert outage.refused == 4
    assert bucket.all_keys() == {"state/v1/blob"}
    assert bucket.unfinished_uploads() == []


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"])
def test_a_store_that_says_when_to_come_back_is_obeyed(open_through, fault_proxy, monkeypatch):
    asked = []
    monkeypatch.setattr(Patience, "pause", lambda _, seconds, at_least: not asked.append(at_least))
    fault_proxy.refuse("PutObject", 503, "SlowDown", Retry_After="17")
    fault_proxy.refuse("PutObject", 503, "SlowDown", Retry_After="Fri, 27 Nov 2026 07:28:00 GMT")
    open_through(tries=0).put("v1/blob", [b"x"])
    assert asked == [17, 0]


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"])
def test_who_reads_slowly_is_not_the_store(open_through, bucket, clock):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * (MIB + 100))
    size = 0
    for chunk in open_through(tries=1).get("v1/blob"):
        clock.now += 10_000
        size += len(chunk)
    assert size == MIB + 100


@pytest.mark.parametrize("s3_transport", ["direct", "boto3"])
@pytest.mark.parametrize("by", ["SIGINT", "SIGALRM"])
def test_an_upload_that_a_signal_interrupts_is_gone_and_its_threads_are(open_through, fault_proxy, bucket, by):
    gate, number = threading.Event(), signal.Signals[by]

    def interrupt(status, headers, body):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
        timer.start()
        return status, headers, body

    def raising(*_):
        raise KeyboardInterrupt

    fault_proxy.change("CreateMultipartUpload", interrupt)
    fault_proxy.hold("UploadPart", gate)
    others = store_threads()  # that another test has left to themselves
    before = signal.signal(number, raising)
    try:
        with pytest.raises(KeyboardInterrupt):
            open_through(tries=0, give_up_after="5s").put("v1/blob", [b"x" * 11 * MIB])
        for thread in set(store_threads()).difference(others):
            thread.join(5 if s3_only_direct(fault_proxy) else 10)  # on a busy machine it ends a moment later
        left = set(store_threads()).difference(others)
    finally:
        signal.signal(number, before)
        gate.set()
    assert not left
    assert bucket.all_keys() == set()
    assert fault_proxy.operations.count("AbortMultipartUpload") == 2
    assert "CompleteMultipartUpload" not in fault_proxy.operations


def s3_only_direct(proxy):
    return all(request.headers.get("user-agent") == "offload-backend" for request in proxy.requests)


class NeverWrites(io.RawIOBase):
    def __init__(self, gate):
        self._gate = gate

    def writable(self):
        return True

    def write(self, _data):
        self._gate.wait(60)
        return 0


def test_a_driver_without_limits_of_its_own_is_given_up(tmp_path):
    from fsspec.implementations.local import LocalFileSystem

    gate = threading.Event()

    class Hanging(LocalFileSystem):
        protocol = ("file", "hanging")

        def cat_file(self, path, start=None, end=None, **kwargs):
            gate.wait(60)

        def open(self, path, mode="rb", **kwargs):
            return NeverWrites(gate)

    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/blob").write_bytes(b"x")
    store = FsspecBlobStore(tmp_path.as_uri(), Hanging(skip_instance_cache=True), MIB, give_up_after=0.2)
    try:
        for call in (
            lambda: b"".join(store.get("v1/blob")),
            lambda: store.put("v1/blob", [b"x" * 3 * MIB]),
        ):
            with pytest.raises(StoreError, match=r"not done within 0\.2 s") as caught:
                call()
            assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)
    finally:
        gate.set()


def test_what_is_left_to_itself_is_cleaned_up_when_it_ends():
    gate, cleaned = threading.Event(), threading.Event()
    with pytest.raises(OutOfPatienceError):
        within(Patience(0.1), gate.wait, cleaned.set)
    assert not cleaned.is_set()
    gate.set()
    assert cleaned.wait(30)
    cleaned.clear()
    within(Patience(60), lambda: 1, cleaned.set)
    for thread in store_threads():
        thread.join(30)
    assert not cleaned.is_set()


def test_an_upload_that_begins_after_it_was_given_up_is_aborted(bucket):
    outage = Outage(bucket.endpoint_url, lasts=10**9)
    options = {**bucket.options, "endpoint_url": outage.url}
    settings = Settings(transport="fsspec", storage_options=options, part_size=5 * MIB, give_up_after="1s")
    with pytest.raises(StoreError, match="not done within 1 s"):
        open_store(f"{bucket.url}/state", settings).put("v1/blob", [b"x" * 11 * MIB])
    outage.heal()
    for thread in store_threads():
        thread.join(60)
    outage.close()
    assert not store_threads()
    assert bucket.unfinished_uploads() == []
    assert bucket.all_keys() == set()


def test_what_a_store_says_stays_in_one_line_and_does_nothing_to_a_terminal():
    ours = RefusalError("Slow\nDown\x1b[2J" + "x" * 100, 503)
    assert str(ours) == ours.code == "Slow�Down�[2J".ljust(64, "x")
    answer = {"Error": {"Code": "Slow\nDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    assert code_and_status(ClientError(answer, "PutObject")) == ("Slow�Down", 503)
    assert code_and_status(ClientError({"Error": {"Code": "²"}}, "PutObject")) == ("²", 0)
