"""Who is told of a collector's runs beside the user's hooks: Airflow's metrics, or OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offload_backend.cli.opening import Deployment
    from offload_backend.lifecycle.hooks import Hooks

__all__ = ["metering"]


def metering(deployment: Deployment) -> list[Hooks]:
    """Hooks that measure runs; none where neither ``[metrics]`` nor a provider of meters wants them."""
    from offload_backend.cli.installed import has_airflow
    from offload_backend.cli.opening import Kind
    from offload_backend.observation.observer import Observer

    meter = None
    if deployment.core_store.kind is not Kind.EMBEDDED and has_airflow():
        from offload_backend.airflow.stats import open_meter

        meter = open_meter()
    if (meter := Observer(meter).meter) is None:
        return []
    from offload_backend.lifecycle.metering import Metering

    return [Metering(meter, deployment.settings.deployment)]
