"""What tasks do is in Airflow's own metrics, by StatsD over UDP, and nowhere when ``[metrics]`` is off."""

from __future__ import annotations

import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import opentelemetry.metrics as otel_metrics
import pytest
from airflow.sdk._shared.observability.metrics import otel_logger, stats
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from demo.processes import wait_until
from offload_backend.airflow.stats import open_meter
from offload_backend.errors import BlobNotFoundError
from tests.airflow.metrics_server import Statsd, serving
from tests.airflow.running import running_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics

    from tests.airflow.harness import Airflow

BIG = ["x" * 5000]


@pytest.fixture
def statsd() -> Iterator[Statsd]:
    with serving() as server:
        yield server


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statsd: Statsd) -> None:
    """A process in which Airflow has not started its statistics, as that of triggers."""
    settings = {"PATH": (tmp_path / "blobs").as_uri(), "INLINE_LIMIT": "1000"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__OFFLOAD_BACKEND__{name}", value)
    for name, value in statsd.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("_factory", "_backend", "_registry"):
        monkeypatch.setattr(stats, name, None)
    monkeypatch.setattr(stats, "_export_legacy_names", True)


def blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


def arrived(statsd: Statsd, name: str, count: int) -> None:
    """The counter, which is the last that was sent, is there."""
    wait_until(lambda: statsd.counts[name] >= count, f"{count} of {name}", 10)


@pytest.mark.usefixtures("configured")
def test_the_accessors_of_a_task_feed_airflows_statsd(statsd: Statsd, tmp_path: Path) -> None:
    with running_task() as running:
        task = running.task()
        for number in range(3):
            task.set("k", [*BIG, number])
        stored = sum(path.stat().st_size for path in blobs(tmp_path))
        task.set("small", 1)
        assert task.get("k") == [*BIG, 2]
        assert task.get("small") == 1
        task.delete("k")
    arrived(statsd, "airflow.offload_backend.reclaim.blobs", 3)
    sent = {name.removeprefix("airflow.offload_backend."): count for name, count in statsd.counts.items()}
    assert sent == {
        "offload.offloaded": 3,
        "offload.inline": 1,
        "offload.raw_bytes": 3 * (5000 + len('["",0]')),
        "offload.stored_bytes": stored,
        "resolve.offloaded": 1,
        "resolve.inline": 1,
        "resolve.raw_bytes": 5000 + len('["",2]'),
        "resolve.stored_bytes": sent["resolve.stored_bytes"],
        "reclaim.blobs": 3,
    }
    assert statsd.timed == {
        "airflow.offload_backend.offload.duration": 3,
        "airflow.offload_backend.resolve.duration": 1,
    }


@pytest.mark.usefixtures("configured")
def test_tags_say_whose_state_it_is(statsd: Statsd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
    with running_task() as running:
        running.task("dag with, = and ü", task_id="x" * 250).set("k", BIG)
        running.asset(uri="s3://data/orders").set("k", BIG)
        running.asset(uri="s3://data/orders").get("k")
    name = "airflow.offload_backend.{}.offloaded,{},codec=json"
    arrived(statsd, name.format("resolve", "asset=s3___data_orders"), 1)
    assert statsd.counts[name.format("offload", "asset=s3___data_orders")] == 1
    (task,) = [
        each for each in statsd.counts if each.startswith("airflow.offload_backend.offload.offloaded,dag_id")
    ]
    assert task == name.format("offload", f"dag_id=dag_with____and__,task_id={'x' * 100}")


@pytest.mark.usefixtures("configured")
def test_a_blob_that_is_gone_is_an_alarm_once_the_row_was_read_again(statsd: Statsd, tmp_path: Path) -> None:
    with running_task() as running:
        task = running.task()
        task.set("k", BIG)
        old = running.supervisor.rows["task", "k"]
        (blob,) = blobs(tmp_path)
        task.set("k", [BIG])
        blob.unlink()
        new, running.supervisor.rows["task", "k"] = running.supervisor.rows["task", "k"], old
        with pytest.raises(BlobNotFoundError):
            task.get("k")
        real = running.supervisor._get
        answers = [old, new]
        running.supervisor.rows["task", "k"] = new

        def stale(kind, at):
            running.supervisor.rows[at] = answers.pop(0) if answers else new
            return real(kind, at)

        running.supervisor._get = stale
        assert task.get("k") == [BIG]
        task.set("last", 1)
    arrived(statsd, "airflow.offload_backend.offload.inline", 1)
    assert statsd.counts["airflow.offload_backend.resolve.dangling"] == 1
    assert statsd.counts["airflow.offload_backend.resolve.failed"] == 1
    assert statsd.counts["airflow.offload_backend.resolve.offloaded"] == 1


@pytest.mark.usefixtures("configured")
def test_where_airflow_has_metrics_off_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    assert open_meter() is None
    assert stats._factory is None


@pytest.mark.usefixtures("configured")
def test_statistics_that_airflow_has_started_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    started = object()
    monkeypatch.setattr(stats, "_factory", started)
    assert open_meter() is not None
    assert stats._factory is started


@pytest.mark.usefixtures("configured")
def test_a_client_that_cannot_be_made_fails_no_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_CUSTOM_CLIENT_PATH", "no.such.Client")
    with running_task() as running:
        running.task().set("k", BIG)
        assert running.task().get("k") == BIG
        running.task().set("small", 1)
    lost = [record for record in caplog.records if "are lost" in record.getMessage()]
    assert len(lost) == 1


@pytest.mark.usefixtures("configured")
def test_a_child_process_counts_on(statsd: Statsd) -> None:
    with running_task() as running:
        task = running.task()
        task.set("k", BIG)
        pid = os.fork()
        if pid == 0:
            try:
                task.set("k", [BIG])
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    arrived(statsd, "airflow.offload_backend.offload.stored_bytes", 1)
    arrived(statsd, "airflow.offload_backend.offload.offloaded", 2)


@pytest.fixture
def collected() -> Iterator[tuple[str, list[ResourceMetrics]]]:
    """An OpenTelemetry collector over HTTP: its endpoint, and what it was sent."""
    received: list[ResourceMetrics] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            received.extend(ExportMetricsServiceRequest.FromString(body).resource_metrics)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("configured")
def test_opentelemetry_by_airflow_gets_each_metric_once(
    collected: tuple[str, list[ResourceMetrics]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although Airflow then sets the provider that a program without it would have set itself."""
    endpoint, received = collected
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "False")
    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", "True")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setattr(otel_metrics._internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(otel_logger, "atexit_register_metrics_flush", lambda: None)  # it would outlive the provider
    with running_task() as running:
        running.task().set("k", BIG)
        running.task().set("small", 1)
        assert running.task().get("k") == BIG
    otel_metrics.get_meter_provider().shutdown()
    points = {
        metric.name: (metric.sum.data_points or metric.exponential_histogram.data_points)[0]
        for resource in received
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    sent = {name: getattr(point, "count", 0) or point.as_int for name, point in points.items()}
    assert sent.keys() >= {"airflow.offload_backend.offload.duration", "airflow.offload_backend.resolve.raw_bytes"}
    assert sent["airflow.offload_backend.offload.offloaded"] == 1
    assert sent["airflow.offload_backend.offload.inline"] == 1
    assert sent["airflow.offload_backend.offload.duration"] == 1
    assert all(name.startswith("airflow.") for name in sent)


CODE = """
store.set("k", ["x" * 100_000])
store.set("small", 1)
assert store.get("k") == ["x" * 100_000]
"""


def test_a_real_task_is_in_airflows_metrics(airflow: Airflow, statsd: Statsd) -> None:
    run = airflow.run("probe", "sync", conf={"code": CODE}, env=statsd.environment(), tries=1)
    assert run.attempts[0].state == "success", run.log
    arrived(statsd, "airflow.offload_backend.resolve.offloaded", 1)
    assert statsd.counts["airflow.offload_backend.offload.offloaded"] == 1
    assert statsd.counts["airflow.offload_backend.offload.inline"] == 1
    assert statsd.counts["airflow.ti.start"] == 1  # Airflow's own, from the same process
