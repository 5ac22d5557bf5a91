"""What a run was made with; figures of different machines are not compared."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["describe"]

_PACKAGES = (
    "apache-airflow-providers-amazon",
    "apache-airflow-providers-common-io",
    "apache-airflow-task-sdk",
    "boto3",
    "fsspec",
    "offload-backend",
    "orjson",
    "s3fs",
    "zstandard",
)


def describe() -> dict[str, Any]:
    """Processor, memory, system and the versions that matter."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _line("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _line(file: str, name: str) -> str:
    path = Path(file)
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
