"""State under test with the stores of :func:`offload_backend.connect`, for which Airflow need not be installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from offload_backend.configuration import Configuration
from offload_backend.namespace import OffloadedValues
from offload_backend.offloader import Offloader
from offload_backend.state import AssetStore, StateStores, TaskStore
from offload_backend.testing.tasks import StateUnderTest, TaskUnderTest

if TYPE_CHECKING:
    from offload_backend.address import TaskAddress

__all__ = ["StandAloneState"]


class StandAloneState(StateUnderTest):
    """The accessors behave as Airflow's do. Of ``[state_store]``, the environment counts; no file is read."""

    def task_store(self, address: TaskAddress) -> TaskStore:
        """See :class:`StateUnderTest`."""
        return self._opened().task_store(address.dag_id, address.run_id, address.task_id, address.map_index)

    def asset_store(self, *, name: str | None = None, uri: str | None = None) -> AssetStore:
        """See :class:`StateUnderTest`."""
        return self._opened().asset_store(name=name, uri=uri)

    @contextmanager
    def attempt(self, task: TaskUnderTest, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """See :class:`StateUnderTest`."""
        stores, address = self._opened(), task.address
        ti = SimpleNamespace(
            dag_id=address.dag_id,
            run_id=address.run_id,
            task_id=address.task_id,
            map_index=address.map_index,
            try_number=task.try_number,
        )
        context = {"ti": ti, "task_instance": ti, "run_id": address.run_id}
        context |= {"inlets": task.inlets, "outlets": task.outlets}
        if assets := stores.asset_stores(task.inlets, task.outlets):
            context["asset_state_store"] = assets
        with self.task_store(address) as store:
            yield {**context, "task_state_store": store, **more}

    def _opened(self) -> StateStores:
        """As a process opens it that has just been started: with nothing remembered."""
        configuration = Configuration(environment=os.environ)
        return StateStores(
            self.rows,
            OffloadedValues(Offloader(self.settings, self.open_store)),
            on_close=lambda: None,
            default_retention_days=configuration.default_retention_days,
            clear_on_success=configuration.clear_on_success,
        )
