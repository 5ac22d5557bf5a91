"""The rows of Airflow's two state tables, read from its database file."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskRow:
    """A row of ``task_state_store``; ``value`` is the text in the database."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    region_id: str
    key: str
    value: str
    expires_at: str | None

    @property
    def ref(self) -> str | None:
        """What the worker's backend returned, or None for a plain value."""
        return _ref(self.value)


@dataclass(frozen=True)
class AssetRow:
    """A row of ``asset_state_store``, with the asset it belongs to."""

    asset_id: int
    name: str
    uri: str
    key: str
    value: str
    writer: str

    @property
    def ref(self) -> str | None:
        """What the worker's backend returned, or None for a plain value."""
        return _ref(self.value)


@dataclass(frozen=True)
class Rows:
    """Every state row there is."""

    task: tuple[TaskRow, ...]
    asset: tuple[AssetRow, ...]


def _ref(value: str) -> str | None:
    loaded = json.loads(value)
    return loaded.get("__airflow_state_ref__") if isinstance(loaded, dict) else None
