"""OpenTelemetry, where the process has configured it: nothing is imported here that was not there before.

A provider is set by Airflow (``[traces] otel_on``, ``[metrics] otel_on``), by ``opentelemetry-instrument``, or by
the program itself. Until one is, nothing is recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from offload_backend.observation.metrics import METRICS, PREFIX, Tags

__all__ = ["OtelMeter", "OtelTracer", "Span"]

_SCOPE = "offload_backend"
_UNITS = {"bytes": "By", "ms": "ms", "s": "s"}
"""UCUM's; what is only counted stands in braces, and so adds nothing to a name in Prometheus."""
_OF_THE_API = ("opentelemetry.trace", "opentelemetry.metrics")
"""Where the stand-ins for a provider are, which record nothing."""


class Span:
    """One span that records, and is the current one until it ends."""

    def __init__(self, trace: Any, span: Any) -> None:
        from opentelemetry import context

        self._trace, self._span, self._context = trace, span, context
        self._token = context.attach(trace.set_span_in_context(span))

    def end(self, attributes: Mapping[str, str | float], error: str) -> None:
        """Give it its attributes, and ``error``, the name of a class, if that ended it."""
        self._context.detach(self._token)
        for name, value in attributes.items():
            self._span.set_attribute(f"{_SCOPE}.{name}", value)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(self._trace.StatusCode.ERROR, error)
        self._span.end()


class OtelTracer:
    """Spans by whatever tracer provider is set when they begin."""

    def __init__(self) -> None:
        self._provider: Any = None
        self._tracer: Any = None

    def begin(self, name: str) -> Span | None:
        """A child of the current span; ``None`` where nobody would record it."""
        trace = sys.modules.get("opentelemetry.trace")
        if trace is None:
            return None
        provider = trace.get_tracer_provider()
        if provider is not self._provider:
            self._tracer = provider.get_tracer(_SCOPE) if _is_set(provider) else None
            self._provider = provider
        if self._tracer is None:
            return None
        span = self._tracer.start_span(name)
        return Span(trace, span) if span.is_recording() else None


class OtelMeter:
    """Metrics by whatever meter provider is set when they are recorded."""

    def __init__(self) -> None:
        self._provider: Any = None
        self._meter: Any = None
        self._instruments: dict[str, Any] = {}

    def is_set(self) -> bool:
        """Whether anybody would see them."""
        metrics = sys.modules.get("opentelemetry.metrics")
        if metrics is None:
            return False
        provider = metrics.get_meter_provider()
        if provider is not self._provider:
            self._meter = provider.get_meter(_SCOPE) if _is_set(provider) else None
            self._provider, self._instruments = provider, {}
        return self._meter is not None

    def count(self, name: str, amount: int, tags: Tags) -> None:
        """See :class:`~offload_backend.observation.metrics.Meter`."""
        self._instrument(name, "create_counter").add(amount, tags)

    def time(self, name: str, milliseconds: float, tags: Tags) -> None:
        """See :class:`~offload_backend.observation.metrics.Meter`."""
        self._instrument(name, "create_histogram").record(milliseconds, tags)

    def gauge(self, name: str, value: float, tags: Tags) -> None:
        """See :class:`~offload_backend.observation.metrics.Meter`."""
        self._instrument(name, "create_gauge").set(value, tags)

    def _instrument(self, name: str, create: str) -> Any:
        instrument = self._instruments.get(name)
        if instrument is None:
            metric = METRICS[name]
            unit = _UNITS.get(metric.unit, f"{{{metric.unit}}}")
            instrument = getattr(self._meter, create)(PREFIX + name, unit=unit, description=metric.meaning)
            self._instruments[name] = instrument
        return instrument


def _is_set(provider: object) -> bool:
    return not type(provider).__module__.startswith(_OF_THE_API)
