"""What the collector's runs say to whoever watches a deployment: gauges, counters and timers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from offload_backend.errors import Refusal
from offload_backend.lifecycle.hooks import Hooks

if TYPE_CHECKING:
    from offload_backend.lifecycle.report import MarkReport, PurgeReport
    from offload_backend.observation.metrics import Meter

__all__ = ["Metering"]

_log = logging.getLogger(__name__)


class Metering(Hooks):
    """Hooks that measure, and keep nothing. Whatever the meter raises is logged: it refuses no run."""

    def __init__(self, meter: Meter, deployment: str) -> None:
        self._meter = meter
        self._tags = {"deployment": deployment}
        self._began = time.monotonic()

    def on_orphans_marked(self, report: MarkReport) -> None:
        """Gauges of what the mark found, and when."""
        live, marked = report.counts.live, report.counts.marked
        self._record(
            "mark",
            gauges={
                "live_blobs": live.count,
                "live_bytes": live.bytes,
                "candidates": marked.count,
                "candidate_bytes": marked.bytes,
                "dangling": report.counts.dangling.count,
            },
        )

    def on_purged(self, report: PurgeReport) -> None:
        """Counters of what the purge deleted."""
        deleted, failed = report.deleted, len(report.failed) + report.unfinished
        counts = {"purged_blobs": deleted.count, "purged_bytes": deleted.bytes, "purge_failed": failed}
        self._record("purge", counts=counts)

    def on_refused(self, refusals: Sequence[Refusal]) -> None:  # noqa: ARG002 - the signature is that of Hooks
        """One more run that was refused, for whatever number of reasons."""
        self._record("", counts={"refused": 1})

    def _record(
        self, step: str, *, gauges: dict[str, int] | None = None, counts: dict[str, int] | None = None
    ) -> None:
        """The step ended just now, and began where the one before it ended."""
        began, self._began = self._began, time.monotonic()
        try:
            for name, value in (gauges or {}).items():
                self._meter.gauge(f"collector.{name}", value, self._tags)
            for name, amount in (counts or {}).items():
                if amount:
                    self._meter.count(f"collector.{name}", amount, self._tags)
            if step:
                self._meter.time(f"collector.{step}_duration", (self._began - began) * 1000, self._tags)
                self._meter.gauge(f"collector.last_{step}_seconds", time.time(), self._tags)
        except Exception as error:  # noqa: BLE001 - a collector that cannot be watched collects all the same
            _log.warning("metrics are lost: %s", type(error).__name__)
