"""A task is interrupted in the middle of a set: by its execution_timeout, or by its supervisor's signals."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.airflow.running import running_task
from tests.dead_servers import store_threads

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(120)
BEFORE = ["before"] * 50_000


@pytest.fixture
def configured(bucket, fault_proxy, monkeypatch):
    """Airflow's accessors keep their values in a bucket, behind the proxy."""
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"{bucket.url}/state")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GIVE_UP_AFTER", "5s")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PART_SIZE", str(5 * 1024 * 1024))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fault_proxy.url)


def execution_timeout(store: object, key: str, value: object) -> BaseException:
    from airflow.sdk.exceptions import AirflowTaskTimeout
    from airflow.sdk.execution_time.timeout import TimeoutPosix

    with pytest.raises(AirflowTaskTimeout) as caught, TimeoutPosix(1):
        store.set(key, value)
    return caught.value


def supervisor_kill(store: object, key: str, value: object) -> BaseException:
    """Airflow's supervisor sends SIGINT before anything harsher."""
    # Whoever starts the tests in the background may have had SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            store.set(key, value)
    finally:
        signal.signal(signal.SIGINT, before)
    return caught.value


@pytest.mark.parametrize("interrupted_set", [execution_timeout, supervisor_kill])
@pytest.mark.parametrize("at", ["UploadPart", "CompleteMultipartUpload", "PutObject"])
def test_the_previous_value_stays_and_nothing_is_left_behind(
    configured: None,
    bucket: object,
    fault_proxy: object,
    interrupted_set: Callable[..., BaseException],
    at: str,
) -> None:
    large = os.urandom(200_000 if at == "PutObject" else 11 * 1024 * 1024)
    gate = threading.Event()
    with running_task() as task:
        store = task.task()
        store.set("k", BEFORE)
        fault_proxy.hold(at, gate)
        try:
            others = store_threads()  # that another test has left to themselves
            interrupted_set(store, "k", large)
            for thread in set(store_threads()).difference(others):
                thread.join(5)  # on a busy machine it ends a moment later
                assert not thread.is_alive()
            assert store.get("k") == BEFORE
            assert bucket.unfinished_uploads() == []
        finally:
            gate.set()
        # What was held arrives now, and finds no upload to belong to.
        store.set("k", ["after"] * 50_000)
        assert store.get("k") == ["after"] * 50_000
    assert bucket.unfinished_uploads() == []
