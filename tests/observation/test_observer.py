"""What an operation did is told as it was: spans and metrics by OpenTelemetry's own SDK, lines by logging."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from opentelemetry import trace

from offload_backend import connect
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ForeignRefError, UnsupportedValueError
from offload_backend.observation.observer import Observer
from offload_backend.observation.operation import current, note_retry
from offload_backend.ref import parse_ref
from tests.fault_proxy import FaultProxy

MIB = 1024 * 1024
CANARY = "canary-value-7341 "
SMALL, BIG = {"x": 1}, [CANARY * 1000]
LINE = re.compile(
    r"(offloaded|resolved) key=(\S+) raw_bytes=(\d+) stored_bytes=(\d+) copied_bytes=(\d+) ratio=([\d.]+) "
    r"codec=(\S+) retries=(\d+) url=(\S+) seconds=([\d.]+)"
)
LOGGER = "offload_backend.observation.observer"


def files(folder) -> list:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def proxied(bucket, s3_server, tmp_path, monkeypatch):
    """The same stores over S3, through a proxy that makes requests fail; pauses between tries are short."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "no-airflow"))
    monkeypatch.setattr("offload_backend.stores.s3_retries._PAUSE", 0.01)
    with FaultProxy(s3_server) as proxy:
        options = {**bucket.options, "endpoint_url": proxy.url}
        settings = {"storage_options": options, "inline_limit": 1000, "part_size": 5 * MIB}
        with connect(path=f"{bucket.url}/state", core_store="memory://", **settings) as opened:
            yield opened, proxy


def test_every_operation_is_a_span_below_the_current_one(telemetry, stores, tmp_path):
    task = stores.task_store("d", "r", "t")
    with trace.get_tracer("task").start_as_current_span("task") as parent:
        task.set("small", SMALL)
        task.set("k", BIG)
        assert task.get("small") == SMALL
        assert task.get("k") == BIG
    (blob,) = files(tmp_path / "blobs")
    stored = {
        "outcome": "offloaded",
        "key": "k",
        "raw_bytes": len(json.dumps(BIG)),
        "stored_bytes": blob.stat().st_size,
        "copied_bytes": 0,
        "ratio": round(len(json.dumps(BIG)) / blob.stat().st_size, 2),
        "codec": "json",
        "retries": 0,
        "url": blob.as_uri(),
    }
    inline = {"outcome": "inline", "row_chars": len(json.dumps(SMALL, separators=(",", ":")))}
    assert telemetry.facts("offload") == [{**inline, "row_chars": 7}, stored]
    assert telemetry.facts("resolve") == [{**inline, "row_chars": 7}, stored]
    for name in ("offload", "resolve"):
        assert [span.parent.span_id for span in telemetry.spans(name)] == [parent.context.span_id] * 2
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_what_runs_inside_an_operation_is_a_child_of_its_span(telemetry, proxied):
    """As requests are that a store's instrumentation traces, in whichever thread they are sent."""
    stores, proxy = proxied
    seen = []
    proxy.refuse("UploadPart", 503, "SlowDown")
    from offload_backend.stores import s3_retries

    real = s3_retries.note_retry
    try:
        s3_retries.note_retry = lambda met: (seen.append(trace.get_current_span().get_span_context()), real(met))
        stores.task_store("d", "r", "t").set("k", os.urandom(11 * MIB))
    finally:
        s3_retries.note_retry = real
    (span,) = telemetry.spans("offload")
    assert seen == [span.get_span_context()]


def test_the_metrics_agree_with_what_was_done(telemetry, stores, tmp_path):
    task, asset = stores.task_store("d g", "r", "t"), stores.asset_store(uri="s3://data/ünicode")
    raw = stored = 0
    for number in range(5):
        task.set(f"k{number}", [*BIG, number])
        raw += len(json.dumps([*BIG, number], separators=(",", ":")))
    asset.set("k", BIG)
    raw += len(json.dumps(BIG, separators=(",", ":")))
    stored = sum(path.stat().st_size for path in files(tmp_path / "blobs"))
    for number in range(3):
        task.set(f"small{number}", number)
    for key in ("k0", "k1", "small0"):
        task.get(key)
    task.delete("k0")
    counts = telemetry.counts()
    assert counts["offload.offloaded"] == counts["offload.duration"] == 6
    assert counts["offload.inline"] == 3
    assert (counts["offload.raw_bytes"], counts["offload.stored_bytes"]) == (raw, stored)
    assert counts["resolve.offloaded"] == counts["resolve.duration"] == 2
    assert counts["resolve.inline"] == 1
    assert counts["reclaim.blobs"] == 1
    assert not counts.keys() & {"offload.failed", "resolve.failed", "offload.retries", "resolve.retries"}
    tags = [dict(point.attributes) for point in telemetry.points()["offload.offloaded"]]
    assert {"dag_id": "d_g", "task_id": "t", "codec": "json"} in tags
    assert {"asset": "s3___data__nicode", "codec": "json"} in tags
    assert [dict(point.attributes) for point in telemetry.points()["resolve.offloaded"]] == [
        {"dag_id": "d_g", "task_id": "t", "codec": "json"}
    ]


def test_operations_in_threads_are_told_apart(telemetry, stores):
    task = stores.task_store("d", "r", "t")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: task.set(f"k{number}", [*BIG, "x" * number]), range(32)))
    facts = telemetry.facts("offload")
    sizes = {each["key"]: each["raw_bytes"] for each in facts}
    plain = sizes["k0"]
    assert sizes == {f"k{number}": plain + number for number in range(32)}


def test_an_error_is_told_by_its_class_alone(telemetry, stores, tmp_path):
    task = stores.task_store("d", "r", "t")
    task.set("gone", BIG)
    task.set("changed", BIG)
    gone, changed = (
        next(path for path in files(tmp_path / "blobs") if f"/{key}/" in str(path)) for key in ("gone", "changed")
    )
    gone.unlink()
    changed.chmod(0o600)
    changed.write_bytes(changed.read_bytes()[:-1] + b"\0")
    for key, error in (("gone", BlobNotFoundError), ("changed", BlobCorruptError)):
        with pytest.raises(error):
            task.get(key)
    with pytest.raises(UnsupportedValueError):
        task.set("k", {CANARY: object()})
    counts = telemetry.counts()
    assert (counts["resolve.failed"], counts["resolve.dangling"], counts["resolve.corrupt"]) == (2, 1, 1)
    assert counts["offload.failed"] == 1
    assert telemetry.points()["offload.failed"][0].attributes["error"] == "UnsupportedValueError"
    failed = [
        span
        for span in telemetry.exporter.get_finished_spans()
        if not span.status.is_ok and span.status.description
    ]
    assert [span.status.description for span in failed] == [
        "BlobNotFoundError",
        "BlobCorruptError",
        "UnsupportedValueError",
    ]
    assert [span.attributes["error.type"] for span in failed] == [span.status.description for span in failed]
    assert not any(span.events for span in failed)
    assert CANARY not in "".join(span.to_json() for span in telemetry.exporter.get_finished_spans())


@pytest.mark.parametrize(("operation", "verb"), [("PutObject", "offload"), ("GetObject", "resolve")])
def test_each_request_that_is_sent_again_is_counted(telemetry, proxied, caplog, operation, verb):
    stores, proxy = proxied
    task = stores.task_store("d", "r", "t")
    task.set("before", BIG)
    proxy.refuse(operation, 503, "SlowDown", times=2)
    with caplog.at_level(logging.INFO, LOGGER):
        task.set("k", BIG) if verb == "offload" else task.get("before")
    sent = [request for request in proxy.requests if request.operation == operation]
    assert telemetry.counts()[f"{verb}.retries"] == 2 == len(sent) - (2 if verb == "offload" else 1)
    assert telemetry.facts(verb)[-1]["retries"] == 2
    assert telemetry.facts(verb)[-1]["retried"] == "SlowDown,SlowDown"
    assert "retries=2 retried=SlowDown,SlowDown" in caplog.messages[-1]  # small as it is


def test_the_parts_of_a_blob_that_are_sent_again_are_counted(telemetry, proxied):
    stores, proxy = proxied
    task = stores.task_store("d", "r", "t")
    proxy.refuse("UploadPart", 503, "SlowDown", times=2)
    task.set("k", os.urandom(11 * MIB))
    proxy.cut_body("GetObject", 1 * MIB)
    assert len(task.get("k")) == 11 * MIB
    assert telemetry.counts()["offload.retries"] == 2
    assert telemetry.counts()["resolve.retries"] == 1


def test_what_s3_copied_is_told_apart_from_what_was_sent(telemetry, proxied):
    stores, proxy = proxied
    task = stores.task_store("d", "r", "t")
    first = {"weights": os.urandom(16 * MIB), "epoch": b"1" * MIB}
    task.set("k", first)
    task.set("k", {**first, "epoch": os.urandom(MIB)})
    ranges = [
        request.headers["x-amz-copy-source-range"].removeprefix("bytes=").split("-")
        for request in proxy.requests
        if request.operation == "UploadPartCopy"
    ]
    copied = sum(int(end) - int(start) + 1 for start, end in ranges)
    assert copied > 5 * MIB
    assert telemetry.counts()["offload.copied_bytes"] == copied
    assert [facts["copied_bytes"] for facts in telemetry.facts("offload")] == [0, copied]


def ours(caplog):
    """Without the lines of others, such as an exporter that another test has shut down."""
    return [record for record in caplog.records if record.name.startswith("offload_backend")]


def test_a_large_blob_has_a_line_and_small_ones_have_none(stores, caplog, tmp_path):
    task, large = stores.task_store("d", "r", "t"), [CANARY * 70_000]
    with caplog.at_level(logging.INFO, "offload_backend"):
        task.set("small", SMALL)
        task.set("k", BIG)
        task.get("small"), task.get("k")
        assert not ours(caplog)
        task.set("large key", large)
        task.get("large key")
        task.delete("large key")
    *lines, reclaimed = (record.getMessage() for record in ours(caplog))
    assert reclaimed == "reclaimed blobs=1"
    assert [LINE.fullmatch(line)[1] for line in lines] == ["offloaded", "resolved"]
    for line, record in zip(lines, ours(caplog), strict=False):
        _, key, raw, stored, copied, ratio, codec, retries, url, _ = LINE.fullmatch(line).groups()
        assert (key, codec, retries, copied) == ("large%20key", "json", "0", "0")
        assert int(raw) == len(json.dumps(large))
        assert float(ratio) == round(int(raw) / int(stored), 2)
        assert url.startswith((tmp_path / "blobs").as_uri())
        assert record.offload_backend["url"] == url
    assert CANARY not in caplog.text


def test_at_debug_every_blob_has_a_line_and_a_value_in_its_row_still_none(stores, caplog):
    task = stores.task_store("d", "r", "t")
    with caplog.at_level(logging.DEBUG, LOGGER):
        task.set("small", SMALL)
        task.get("small")
        task.set("k", BIG)
        task.get("k")
    own = [record for record in caplog.records if record.name == LOGGER]
    assert [record.levelname for record in own] == ["DEBUG", "DEBUG"]
    assert all(LINE.fullmatch(record.getMessage()) for record in own)


def test_at_debug_every_blob_that_is_reclaimed_is_named(stores, caplog, tmp_path):
    task = stores.task_store("d", "r", "t")
    task.set("k", BIG)
    (blob,) = files(tmp_path / "blobs")
    with caplog.at_level(logging.DEBUG, LOGGER):
        task.delete("k")
    own = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert own == ["reclaimed blobs=1", f"reclaimed {blob.relative_to(tmp_path / 'blobs')}"]


class Broken:
    """Of somebody else's making, and out of order."""

    def __getattr__(self, name):
        raise RuntimeError(CANARY)


def test_whoever_watches_and_fails_fails_nothing_and_says_so_once(stores, caplog, monkeypatch):
    task = stores.task_store("d", "r", "t")
    monkeypatch.setattr(task._namespace._values, "_observer", Observer(Broken()))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Broken())
    task.set("k", BIG)
    task.set("small", SMALL)
    assert task.get("k") == BIG
    task.delete("k")
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage() == "metrics, spans or lines of the log are lost: RuntimeError"
    assert CANARY not in caplog.text


def test_a_process_without_opentelemetry_stays_without(tmp_path):
    script = (
        "import sys; from offload_backend import connect\n"
        "with connect(path=sys.argv[1], core_store='memory://', inline_limit=10) as stores:\n"
        "    task = stores.task_store('d', 'r', 't')\n"
        "    task.set('k', 'x' * 1000)\n"
        "    assert task.get('k') == 'x' * 1000\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'airflow', 'statsd')])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_ref_of_an_operation_is_the_one_that_is_returned(telemetry, stores):
    values = stores.task_store("d", "r", "t")._namespace._values
    address = stores.task_store("d", "r", "t")._namespace.address
    text = json.loads(values.write(BIG, address, "k"))["__airflow_state_ref__"]
    assert telemetry.facts("offload")[0]["url"] == parse_ref(text).url


def test_of_a_ref_that_is_not_believed_no_more_is_told_than_its_error_shows(telemetry, stores, caplog):
    task = stores.task_store("d", "r", "t")
    task.set("k", BIG)
    namespace = task._namespace
    row = namespace._core_store.get(namespace.address, "k")
    (own,) = telemetry.facts("offload")
    forged = row.text.replace(own["url"], "s3://user:canary-password@host/x.json.zst")
    with caplog.at_level(logging.DEBUG), pytest.raises(ForeignRefError):
        namespace._values.read(replace(row, text=forged))
    (told,) = telemetry.facts("resolve")
    assert told.keys() == {"outcome", "retries", "url", "error.type"}
    assert "canary-password" not in str(told) + caplog.text


def test_what_is_noted_outside_of_an_operation_is_nobodys(telemetry, stores):
    task = stores.task_store("d", "r", "t")
    task.set("k", BIG)
    with pytest.raises(TypeError):
        task.set("k", object())
    assert current.get() is None
    note_retry("SlowDown")
    task.get("k")
    assert [facts["retries"] for facts in telemetry.facts("resolve")] == [0]
