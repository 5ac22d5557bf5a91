"""What commands outside a task learn from an installed Airflow: settings, database, credentials."""

from __future__ import annotations

import os
from collections.abc import Mapping

from airflow.sdk.configuration import conf

from offload_backend.airflow import connections
from offload_backend.airflow.configuration import load_settings
from offload_backend.blobstore import BlobStore
from offload_backend.errors import ConfigError
from offload_backend.settings import Settings

__all__ = ["cleanup_batch_size", "database_url", "open_store", "option", "settings"]


def settings(changes: Mapping[str, object]) -> Settings:
    """``[offload_backend]`` as Airflow resolves it, with ``changes`` in place of what it says."""
    loaded = load_settings()
    return loaded.replaced(changes) if changes else loaded


def cleanup_batch_size() -> int:
    """``[state_store] state_cleanup_batch_size``, in rows; 0 where Airflow would not batch."""
    return int(conf.getint("state_store", "state_cleanup_batch_size", fallback=0))


def option(section: str, name: str) -> str:
    """What is set there, a command or secret followed; empty if nothing is."""
    return str(conf.get(section, name, fallback="") or "")


def database_url() -> str:
    """``[database] sql_alchemy_conn``, a command or secret followed; holds a password."""
    from airflow.configuration import conf as of_core
    from airflow.exceptions import AirflowConfigException

    try:
        return str(of_core.get("database", "sql_alchemy_conn"))
    except AirflowConfigException:
        # The cause may quote what the command printed.
        raise ConfigError(
            "Airflow does not tell its [database] sql_alchemy_conn",
            hint="see that airflow config get-value database sql_alchemy_conn works here, or name the database "
            "with --core-store airflow+postgresql://…",
        ) from None


def open_store(path: str, settings: Settings) -> BlobStore:
    """As for a task, with connections from wherever the API server has them, Airflow's database included."""
    # Outside a task, Airflow looks into its database only in what it takes for a server.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    return connections.open_store(path, settings)
