"""Metrics by Airflow's own statistics: StatsD, Datadog or OpenTelemetry, as ``[metrics]`` says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from offload_backend.observation.metrics import PREFIX

if TYPE_CHECKING:
    from offload_backend.observation.metrics import Meter, Tags

__all__ = ["open_meter"]

_log = logging.getLogger(__name__)


def open_meter() -> Meter | None:
    """Airflow's statistics, ``None`` where ``[metrics]`` switches none on. Never raises: what it met is logged."""
    try:
        from airflow.sdk._shared.observability.metrics import base_stats_logger, stats
        from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

        factory = get_stats_factory()
        if factory is base_stats_logger.NoStatsLogger:
            return None
        # Airflow starts them in a task's process, but not where triggers run, nor in a command.
        if getattr(stats, "_factory", factory) is None:
            stats.initialize(factory=factory, export_legacy_names=False)
    except Exception as error:  # noqa: BLE001 - a later Airflow, a StatsD that is not installed: no task fails for it
        _log.warning("there are no metrics: %s", type(error).__name__)
        return None
    return _Stats(stats)


class _Stats:
    def __init__(self, stats: Any) -> None:
        self._stats = stats

    def count(self, name: str, amount: int, tags: Tags) -> None:
        self._stats.incr(PREFIX + name, amount, tags=dict(tags))

    def time(self, name: str, milliseconds: float, tags: Tags) -> None:
        self._stats.timing(PREFIX + name, milliseconds, tags=dict(tags))

    def gauge(self, name: str, value: float, tags: Tags) -> None:
        self._stats.gauge(PREFIX + name, value, tags=dict(tags))
