"""What the backend that ships with Airflow 3.3.2 (common-io 1.11.0) does that a user would not want.

Each test drives Airflow's own accessors over S3 and says what should be. They run unchanged against
either backend: ``STATE_BACKEND=peer pytest tests/peer``; ``tests/peer/table.py`` writes the table in
``docs/comparison.md`` from both runs. The first line of each docstring is its row there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import seam as seams
from tests.peer.conftest import BACKEND, Worker

BIG = [{"id": n, "text": f"row {n}"} for n in range(3000)]
ours_only = pytest.mark.skipif(BACKEND == "peer", reason="a matter of our own protection, not of comparison")


class TimedOutError(BaseException):
    """What Airflow raises in a task whose execution_timeout has passed."""


@contextmanager
def timeout(seconds: float) -> Iterator[None]:
    """The signal by which Airflow ends a task that runs too long.

    Without garbage collection meanwhile: an exception that meets a finalizer or a callback of the collector
    is lost.
    """

    def stop(*_: object) -> None:
        raise TimedOutError

    gc.disable()
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()


def test_01_a_timed_out_compressed_set_leaves_the_previous_value(worker: Worker) -> None:
    """A `set` that is timed out half way leaves the previous checkpoint readable."""
    worker.configure(compression="gzip")
    value = [os.urandom(40).hex() for _ in range(400_000)]
    started = time.perf_counter()
    worker.seam.task().set("whole", value)
    whole = time.perf_counter() - started
    interrupted = 0
    for fraction in (0.1, 0.3, 0.5, 0.7):
        worker.seam.task().set("k", ["good"])
        try:
            with timeout(whole * fraction):
                worker.seam.task().set("k", value)
        except TimedOutError:
            interrupted += 1
            # Either the row was reached or not; nothing in between.
            assert worker.seam.task().get("k") in (["good"], value)
    assert interrupted


def test_02_a_lost_blob_is_an_error_and_not_none(worker: Worker) -> None:
    """A blob that is gone is an error that says so, not `None`."""
    worker.seam.task().set("k", BIG)
    for name in worker.s3.names():
        worker.s3.client.delete_object(Bucket=worker.s3.bucket, Key=name)
    with pytest.raises(LookupError):
        worker.seam.task().get("k", default="default")


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (503, "SlowDown")])
def test_03_clear_on_success_does_not_make_success_depend_on_storage(
    worker: Worker, status: int, code: str
) -> None:
    """Under `clear_on_success`, a finished task does not fail because storage does."""
    worker.monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    worker.seam.task().set("k", BIG)
    worker.s3.fail("*", status, code, times=40)
    worker.seam.task()._clear_backend_only()


def test_03_a_task_without_state_sends_no_request(worker: Worker) -> None:
    """A task that never touches state sends no request, also under `clear_on_success`."""
    worker.monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    with worker.s3.recorded() as operations:
        worker.seam.task()._clear_backend_only()
    assert operations == []


@pytest.mark.parametrize("ambient", [False, True])
def test_04_the_first_operation_may_come_from_an_event_loop(worker: Worker, ambient: bool) -> None:
    """The first operation may be `await aset(…)` on an event loop, signed by the connection's identity."""
    if ambient:
        worker.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
        worker.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")

    async def work() -> Any:
        await worker.seam.asset(name="a").aset("k", BIG)
        return await worker.seam.asset(name="a").aget("k")

    assert asyncio.run(work()) == BIG
    signers = {r.signed_by for r in worker.s3.requests if r.operation in ("PutObject", "GetObject", "HeadBucket")}
    assert signers == {"testing"}


def test_05_an_unset_path_is_an_error(worker: Worker, tmp_path: Path) -> None:
    """An unset path is an error, not a file in the worker's directory."""
    worker.monkeypatch.chdir(tmp_path)
    for name in ("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", "AIRFLOW__OFFLOAD_BACKEND__PATH"):
        worker.monkeypatch.delenv(name, raising=False)
    worker.seam.restart()
    with suppress(ValueError):
        worker.seam.task().set("k", BIG)
    assert not list(tmp_path.iterdir())
    assert not worker.seam.supervisor.rows


def test_06_a_blob_left_behind_is_never_read_again(worker: Worker) -> None:
    """A blob whose row vanished on the server never comes back under a new row."""
    worker.seam.task().set("k", BIG)
    stale = worker.s3.names()
    worker.seam.supervisor.rows.clear()
    worker.seam.restart()
    worker.seam.task().set("k", ["new"])
    assert worker.seam.task().get("k") == ["new"]
    assert set(stale) <= set(worker.s3.names())


def test_07_a_set_whose_row_is_refused_changes_nothing(worker: Worker) -> None:
    """A `set` whose row is refused (a superseded attempt) leaves the live attempt's value alone."""
    worker.seam.task().set("k", ["live"])
    worker.seam.supervisor.refuse = True
    with suppress(seams.RowRefusedError):
        worker.seam.task().set("k", ["zombie"])
    worker.seam.supervisor.refuse = False
    assert worker.seam.task().get("k") == ["live"]


def test_08_a_delete_that_s3_denies_is_reported(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """A delete that S3 denies key by key is reported, not taken for done."""
    worker.seam.task().set("k", BIG)
    worker.s3.fail("DeleteObjects", 200, "AccessDenied")
    worker.seam.task().delete("k")
    assert worker.s3.names()
    assert "AccessDenied" in caplog.text


@pytest.mark.parametrize("damage", ["flip", "truncate", "other value", "empty"])
def test_09_a_damaged_blob_is_never_returned_as_a_value(worker: Worker, damage: str) -> None:
    """A damaged blob is an error that names it, never a value."""
    worker.seam.task().set("k", [1234567, 7654321])
    (name,) = worker.s3.names()
    client, bucket = worker.s3.client, worker.s3.bucket
    stored = client.get_object(Bucket=bucket, Key=name)["Body"].read()
    at = stored.find(b"1234567")
    flipped = stored[:at] + b"9" + stored[at + 1 :] if at >= 0 else stored[:-20] + b"\x00" + stored[-19:]
    bodies = {"flip": flipped, "truncate": stored[:-1], "other value": b"[1]", "empty": b""}
    client.put_object(Bucket=bucket, Key=name, Body=bodies[damage])
    with pytest.raises(Exception, match=name):
        worker.seam.task().get("k")


@pytest.mark.parametrize("key", ["model.gz", "a.zip", "b.bz2", "c.xz", "d.lzma"])
def test_10_a_key_may_end_like_a_compressed_file(worker: Worker, key: str) -> None:
    """Keys may end in `.gz`, `.zip`, `.bz2`, `.xz` or `.lzma`."""
    worker.seam.task().set(key, BIG)
    assert worker.seam.task().get(key) == BIG


def test_11_a_set_is_one_put_and_a_get_is_one_get(worker: Worker) -> None:
    """`set` is one PUT and `get` one GET; nothing asks for the bucket."""
    with worker.s3.recorded() as operations:
        worker.seam.task().set("k", BIG)
        worker.seam.task().get("k")
    assert operations == ["PutObject", "GetObject"]


def test_11_a_mistyped_bucket_is_an_error_and_not_a_new_bucket(worker: Worker) -> None:
    """A mistyped bucket is an error, not a new bucket."""
    worker.configure(path="s3://lab@no-such-bucket-here/state")
    with suppress(Exception):
        worker.seam.task().set("k", BIG)
    buckets = [entry["Name"] for entry in worker.s3.client.list_buckets()["Buckets"]]
    assert "no-such-bucket-here" not in buckets


def test_12_reading_while_another_task_writes_never_fails(worker: Worker) -> None:
    """Tasks that read and write one asset key at the same time do not fail."""
    accessor = worker.seam.asset(name="a")
    accessor.set("k", BIG)
    failures: list[BaseException] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            accessor.set("k", [os.urandom(8).hex(), BIG])

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(40):
        try:
            accessor.get("k")
        except Exception as error:
            failures.append(error)
    stop.set()
    writer.join()
    assert not failures


def test_13_an_asset_named_like_anothers_uri_has_its_own_value(worker: Worker) -> None:
    """An asset whose name equals another one's uri has its own value."""
    worker.seam.asset(name="s3://same").set("k", ["by name"])
    worker.seam.asset(uri="s3://same").set("k", ["by uri"])
    assert worker.seam.asset(name="s3://same").get("k") == ["by name"]


def test_14_old_values_stay_readable_after_the_path_changes(worker: Worker) -> None:
    """Old values stay readable after the path changes."""
    worker.seam.task().set("k", BIG)
    old = f"s3://lab@{worker.s3.bucket}/state"
    worker.configure(path=f"s3://lab@{worker.s3.bucket}/elsewhere", moved_from=old)
    assert worker.seam.task().get("k") == BIG


@pytest.mark.parametrize(
    "value", [(1, 2), {"a": (1,)}, {1: "a"}, {1: "int", "1": "text"}, {None: 1}, float("nan"), [float("inf")]]
)
def test_15_a_value_comes_back_as_it_was_or_is_refused(worker: Worker, value: object) -> None:
    """A value comes back as it was, type for type, or `set` refuses it."""
    try:
        worker.seam.task().set("k", value)
    except (TypeError, ValueError):
        return
    assert json.loads(json.dumps(repr(worker.seam.task().get("k")))) == repr(value)
    (name,) = worker.s3.names()
    stored = worker.s3.client.get_object(Bucket=worker.s3.bucket, Key=name)["Body"].read()
    assert b"NaN" not in stored, "the blob is not JSON"
    assert b"Infinity" not in stored, "the blob is not JSON"


@ours_only
def test_16_an_unknown_connection_is_an_error(worker: Worker) -> None:
    worker.monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    worker.monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
    worker.configure(path=f"s3://no_such_connection@{worker.s3.bucket}/state")
    with worker.s3.recorded() as operations, pytest.raises(ValueError, match="no_such_connection"):
        worker.seam.task().set("k", BIG)
    assert operations == []


def test_17_clearing_many_keys_takes_few_requests(worker: Worker) -> None:
    """Clearing 50 keys takes a request or two."""
    for n in range(50):
        worker.seam.task().set(f"k{n}", BIG)
    with worker.s3.recorded() as operations:
        worker.seam.task().clear()
    assert worker.s3.names() == []
    assert len(operations) <= 2


def test_17_a_set_takes_little_memory_beside_the_value(worker: Worker) -> None:
    """`set` of 100 MB of JSON takes less memory than the JSON itself beside the value."""
    script = Path(__file__).with_name("measure_peak.py")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, size = json.loads(done.stdout.splitlines()[-1])
    assert peak < size


def test_17_a_failed_upload_leaves_no_parts_behind(worker: Worker) -> None:
    """A large `set` that fails leaves no half upload behind."""
    worker.s3.fail("CompleteMultipartUpload", 403, "AccessDenied")
    with suppress(Exception):
        worker.seam.task().set("k", [os.urandom(40).hex() for _ in range(800_000)])
    uploads = worker.s3.client.list_multipart_uploads(Bucket=worker.s3.bucket).get("Uploads", [])
    assert uploads == []
    assert worker.s3.names() == []


@ours_only
def test_18_a_forged_ref_reads_nothing_outside_the_location(worker: Worker) -> None:
    client = worker.s3.client
    client.create_bucket(Bucket=f"{worker.s3.bucket}-other")
    client.put_object(Bucket=f"{worker.s3.bucket}-other", Key="k", Body=b'"secret"')
    client.put_object(Bucket=worker.s3.bucket, Key="state-evil/k", Body=b'"secret"')
    for ref in (
        f"s3://lab@{worker.s3.bucket}-other/k",
        f"s3://{worker.s3.bucket}/state-evil/k",
        f"s3://{worker.s3.bucket}/state/../state-evil/k",
        "file:///etc/hostname",
    ):
        worker.seam.supervisor.rows["task", "k"] = json.dumps({"__airflow_state_ref__": ref})
        with worker.s3.recorded() as operations, pytest.raises(ValueError, match="outside"):
            worker.seam.task().get("k")
        assert operations == []


def test_18_a_long_key_in_any_script_is_stored(worker: Worker) -> None:
    """A key of 512 characters in any script is stored."""
    worker.seam.task("dag" * 80, "run" * 80, "task" * 60).set("日" * 512, BIG)
    assert worker.seam.task("dag" * 80, "run" * 80, "task" * 60).get("日" * 512) == BIG
    assert all(len(name.encode()) <= 1024 for name in worker.s3.names())


def test_18_the_row_says_what_kind_of_value_there_is(worker: Worker) -> None:
    """The row tells type, length and size of an offloaded value without reading it."""
    worker.seam.task().set("k", BIG)
    ref = worker.seam.supervisor.ref("k")
    assert "list[3000]" in ref
    assert "size=" in ref
