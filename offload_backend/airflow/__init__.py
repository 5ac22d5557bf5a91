"""The Airflow face: the class for ``[workers] state_store_backend``, and what the provider declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offload_backend.airflow.backend import OffloadStateBackend as OffloadStateBackend

__all__ = ["OffloadStateBackend"]


def __getattr__(name: str) -> Any:
    # Airflow reads the provider's declaration in every process; only workers pay for the backend.
    if name == "OffloadStateBackend":
        from offload_backend.airflow.backend import OffloadStateBackend

        return OffloadStateBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
