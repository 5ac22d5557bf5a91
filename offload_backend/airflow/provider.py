"""What Airflow learns of this package from its ``apache_airflow_provider`` entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from offload_backend import __version__
from offload_backend.settings import SECTION, Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """The declaration behind ``airflow providers list`` and ``airflow config list``."""
    return {
        "package-name": "offload-backend",
        "name": "Offload backend",
        "description": "State store backend that keeps large task and asset state in object storage.",
        "versions": [__version__],
        "config": {
            SECTION: {
                "description": "Options of offload_backend.airflow.OffloadStateBackend, the class for "
                "[workers] state_store_backend.",
                "options": {name: _option(field) for name, field in Settings.model_fields.items()},
            }
        },
    }


def _option(field: FieldInfo) -> dict[str, Any]:
    """One option; every default is text, as in the configuration file."""
    kind = "integer" if field.annotation is int else "float" if field.annotation is float else "string"
    default = field.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    elif isinstance(default, tuple):
        default = " ".join(default)
    return {
        "description": f"{field.description}\n",
        "version_added": "0.1.0",
        "type": kind,
        "example": str(field.examples[0]) if field.examples else None,
        "default": str(default),
        **({"sensitive": True} if field.annotation is SecretStr else {}),
    }
