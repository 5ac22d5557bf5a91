from __future__ import annotations

from dataclasses import dataclass

import opentelemetry.metrics as otel_metrics
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from offload_backend import connect
from offload_backend.observation.metrics import PREFIX


@dataclass
class Telemetry:
    """What OpenTelemetry's own SDK was given, once both its providers were set."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def facts(self, name: str) -> list[dict]:
        """The attributes of the spans with this name, without our prefix."""
        return [
            {key.removeprefix(PREFIX): value for key, value in span.attributes.items()} for span in self.spans(name)
        ]

    def points(self) -> dict[str, list]:
        """The points of each metric, by its name without our prefix."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        metrics = [metric for scope in scopes if scope.scope.name == "offload_backend" for metric in scope.metrics]
        return {metric.name.removeprefix(PREFIX): list(metric.data.data_points) for metric in metrics}

    def counts(self) -> dict[str, float]:
        """The sum of each counter or gauge, and of each histogram how often it was recorded."""
        return {
            name: sum(getattr(point, "value", getattr(point, "count", 0)) for point in points)
            for name, points in self.points().items()
        }


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    """OpenTelemetry as a program configures it: providers can only be set once, and are put back here."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracers)
    monkeypatch.setattr(otel_metrics._internal, "_METER_PROVIDER", MeterProvider([reader]))
    return Telemetry(exporter, reader)


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """State without Airflow; its blobs are files."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "no-airflow"))
    with connect(path=tmp_path / "blobs", core_store="memory://", inline_limit=1000) as opened:
        yield opened
