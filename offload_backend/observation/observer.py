"""Tells what offloads, resolves and deletes did: a line in the log, metrics, a span."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from offload_backend.location import shown
from offload_backend.observation.measuring import measure, measure_reclaimed
from offload_backend.observation.operation import Operation, current
from offload_backend.observation.otel import OtelMeter, OtelTracer
from offload_backend.ref import BlobRef

if TYPE_CHECKING:
    from offload_backend.address import StateAddress
    from offload_backend.blobstore import DeleteReport
    from offload_backend.observation.metrics import Meter
    from offload_backend.observation.otel import Span

__all__ = ["Observer"]

_DONE = {"offload": "offloaded", "resolve": "resolved"}
_LARGE = 1024 * 1024
_LONG = 1.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Observer:
    """Watches operations, and changes nothing about them: they return and raise what they would without it.

    A blob of a MiB or more, or one that took a second or another try, has a line at INFO; smaller ones have theirs
    at DEBUG, and values that stay in their rows none. Metrics go to ``meter``; without one to OpenTelemetry's,
    where the process has a provider of meters; spans likewise. What these raise is logged once, and then ignored.
    Safe in several threads, on an event loop, after a fork.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._given = meter
        self._otel = OtelMeter()
        self._tracer = OtelTracer()
        self._warned = False

    @property
    def meter(self) -> Meter | None:
        """Where metrics go now, if anywhere."""
        return self._given or (self._otel if self._otel.is_set() else None)

    def offload(self, address: StateAddress, call: Callable[[], str]) -> str:
        """What ``call`` returns: the text for a row of this state."""
        operation = Operation("offload", address)

        def sized() -> str:
            text = call()
            operation.row = len(text)
            return text

        return self._watched(operation, sized)

    def resolve(self, text: str, call: Callable[[], _T]) -> _T:
        """What ``call`` returns: the value that the text of a row means."""
        return self._watched(Operation("resolve", row=len(text) if isinstance(text, str) else 0), call)

    def reclaimed(self, report: DeleteReport) -> None:
        """Dead blobs were deleted, or some of them. Each has a line at DEBUG, all together have one at INFO."""
        if report.deleted:
            _log.info("reclaimed blobs=%d", len(report.deleted))
            for name in report.deleted if _log.isEnabledFor(logging.DEBUG) else ():
                _log.debug("reclaimed %s", name)
        self._safely(lambda: self._measure_reclaimed(report))

    def _watched(self, operation: Operation, call: Callable[[], _T]) -> _T:
        span = self._safely(lambda: self._tracer.begin(operation.verb))
        token, began = current.set(operation), time.perf_counter()
        try:
            return call()
        except BaseException as error:
            operation.error = type(error).__name__
            raise
        finally:
            operation.seconds = time.perf_counter() - began
            current.reset(token)
            self._safely(lambda: self._tell(operation, span))

    def _tell(self, operation: Operation, span: Span | None) -> None:
        if span is not None:
            outcome = {"outcome": "offloaded" if operation.ref else "inline"}
            self._safely(lambda: span.end({**outcome, **_facts(operation)}, operation.error))
        level = logging.INFO if _matters(operation) else logging.DEBUG
        if operation.ref and not operation.error and _log.isEnabledFor(level):
            facts = {**_facts(operation), "seconds": round(operation.seconds, 3)}
            line = " ".join(f"{name}={value}" for name, value in facts.items())
            _log.log(level, "%s %s", _DONE[operation.verb], line, extra={"offload_backend": facts})
        if meter := self.meter:
            measure(operation, meter)

    def _measure_reclaimed(self, report: DeleteReport) -> None:
        if meter := self.meter:
            measure_reclaimed(report, meter)

    def _safely(self, call: Callable[[], _T]) -> _T | None:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - neither a task nor its value depends on who watches
            if not self._warned:
                self._warned = True
                _log.warning("metrics, spans or lines of the log are lost: %s", type(error).__name__)
            return None


def _matters(operation: Operation) -> bool:
    """Whether people should see it: in Airflow, a line costs up to a tenth of what a small blob does."""
    raw = operation.ref.raw if isinstance(operation.ref, BlobRef) else 0
    return raw >= _LARGE or operation.seconds >= _LONG or bool(operation.retries)


def _facts(operation: Operation) -> dict[str, str | float]:
    """Names, sizes and counts, never a value."""
    ref = operation.ref
    if ref is None:
        return {"row_chars": operation.row}
    told: dict[str, str | float] = {"retries": len(operation.retries)}
    if operation.retries:
        told["retried"] = ",".join(operation.retries)
    if operation.error or not isinstance(ref, BlobRef):
        return {**told, "url": shown(ref.url)}  # a ref that is not believed yet may say anything
    return {
        "key": ref.url.split("/")[-2],
        "raw_bytes": ref.raw,
        "stored_bytes": ref.size,
        "copied_bytes": operation.copied,
        "ratio": round(ref.raw / ref.size, 2),
        "codec": ref.codec,
        **told,
        "url": ref.url,
    }
