"""What Airflow learns of the page from its ``airflow.plugins`` entry point.

Airflow imports this module in every process, each task's included; the application behind it, and FastAPI
with it, only where something is served.
"""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from typing import Any, get_args

from airflow.sdk.plugins_manager import AirflowPlugin

__all__ = ["PREFIX", "OffloadPlugin"]

PREFIX = "/offload"
"""Where the API server has the page; the UI shows it in a frame."""

_log = logging.getLogger(__name__)
_NAME = "Offloaded state"
_ROUTE = "offloaded-state"
_TABS = {
    "dag": "dag_id={DAG_ID}",
    "dag_run": "dag_id={DAG_ID}&run_id={RUN_ID}",
    "task": "dag_id={DAG_ID}&task_id={TASK_ID}",
    "task_instance": "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&index={MAP_INDEX}",
    "asset": "asset_id={ASSET_ID}",
}
"""Pages of Airflow's UI that get a tab, and what state it is about."""


class OffloadPlugin(AirflowPlugin):  # type: ignore[misc]  # Airflow ships no complete types
    """The page under *Browse*, and as a tab of every DAG, run, task and task instance; in 3.4 of assets, too."""

    name = "offload_backend"

    def __init__(self) -> None:
        tabs = [_view(page, query) for page, query in _TABS.items() if page in _pages()]
        self.external_views = [_view("nav", "", category="browse"), *tabs]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The application, made when the API server asks for it; none, where this Airflow has not what it needs."""
        try:
            from offload_backend.airflow.ui.app import create_app

            return [{"app": create_app(), "url_prefix": PREFIX, "name": _NAME}]
        except Exception:  # noqa: BLE001 - whatever it is: if this raised, the API server would not start
            _log.exception("there is no page about offloaded state")
            self.external_views = []
            return []


def _pages() -> tuple[str, ...]:
    """Those that this Airflow has: it drops a whole plugin that names another."""
    named = getattr(sys.modules[AirflowPlugin.__module__], "BaseDestinationLiteral", None)  # since 3.4
    return get_args(named) or ("dag", "dag_run", "task", "task_instance")


def _view(destination: str, query: str, **more: str) -> dict[str, Any]:
    """Addresses are relative: Airflow's UI may lie below a path."""
    here = PREFIX.removeprefix("/")
    return {
        "name": _NAME,
        "href": f"{here}/?{query}" if query else f"{here}/",
        "url_route": _ROUTE if destination == "nav" else f"{_ROUTE}-{destination}".replace("_", "-"),
        "destination": destination,
        "icon": f"{here}/static/icon.svg",
        "icon_dark_mode": f"{here}/static/icon-dark.svg",
        **more,
    }
