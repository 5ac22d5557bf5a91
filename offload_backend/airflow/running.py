"""Which task runs here, as Airflow tells it (3.3.2, 3.4.0b2)."""

from __future__ import annotations

from typing import Any

from offload_backend.address import TaskAddress

__all__ = ["address_of_ti", "running", "started_task"]


def running(name: str) -> Any:
    """``name`` in the context of the task that runs, ``None`` where none does: in callbacks and triggers."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context().get(name)
    except RuntimeError:
        return None


def address_of_ti(ti: Any) -> TaskAddress:
    """Whose state the task instance's is, in 3.3 and in 3.4."""
    index = ti.region_index if hasattr(ti, "region_index") else ti.map_index
    region_id = getattr(ti, "region_id", None)
    return TaskAddress(ti.dag_id, ti.run_id, ti.task_id, -1 if index is None else index, region_id)


def started_task() -> TaskAddress | None:
    """The task, of whatever map index, that this process or this trigger was started for, also in callbacks.

    Airflow binds its names to all that is logged. ``None`` where no supervisor did, in a watcher, and in a thread.
    """
    from structlog.contextvars import get_contextvars

    bound = get_contextvars()
    if not bound.get("ti_id"):
        return None
    dag_id, run_id, task_id = (bound.get(name) for name in ("dag_id", "run_id", "task_id"))
    if not (isinstance(dag_id, str) and isinstance(run_id, str) and isinstance(task_id, str)):
        return None
    return TaskAddress(dag_id, run_id, task_id)
