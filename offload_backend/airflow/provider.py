"""What Airflow learns of this package from its ``apache_airflow_provider`` entry point."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from offload_backend import __version__
from offload_backend.settings import SECTION, Settings, default_text

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """The declaration behind ``airflow providers list`` and ``airflow config list``."""
    return {
        "package-name": "offload-backend",
        "name": "Offload backend",
        "description": "State store backend that keeps large task and asset state in object storage.",
        "versions": [__version__],
        "cli": ["offload_backend.airflow.command.get_commands"],
        "config": {
            SECTION: {
                "description": "Options of offload_backend.airflow.OffloadStateBackend, the class for "
                "[workers] state_store_backend.",
                "options": {name: _option(name) for name in Settings.model_fields},
            }
        },
    }


def _option(name: str) -> dict[str, Any]:
    """One option; every default is text, as in the configuration file."""
    field = Settings.model_fields[name]
    kind = "integer" if field.annotation is int else "float" if field.annotation is float else "string"
    return {
        "description": f"{field.description}\n",
        "version_added": "0.1.0",
        "type": kind,
        "example": str(field.examples[0]) if field.examples else None,
        "default": default_text(name),
        **({"sensitive": True} if field.annotation is SecretStr else {}),
    }
