"""Large Airflow task and asset state goes to object storage; the row keeps a small verified ref."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offload_backend.checkpointer import Checkpointer as Checkpointer
    from offload_backend.state import connect as connect
    from offload_backend.state import open_value as open_value

__all__ = ["NEVER_EXPIRE", "Checkpointer", "__version__", "connect", "open_value"]

__version__ = "0.1.0"

NEVER_EXPIRE = timedelta.max
"""Retention of a key that never expires; the same object as Airflow's own ``NEVER_EXPIRE``."""


def __getattr__(name: str) -> Any:
    if name in ("connect", "open_value"):
        from offload_backend import state

        return getattr(state, name)
    if name == "Checkpointer":
        from offload_backend.checkpointer import Checkpointer

        return Checkpointer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
