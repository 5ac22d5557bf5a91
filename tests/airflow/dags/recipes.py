"""The DAGs of ``examples/dags`` as they stand there; an attempt can be told at which line it dies."""

from __future__ import annotations

import os
import runpy
import tempfile
from datetime import timedelta
from pathlib import Path
from unittest import mock

import dying
from airflow.sdk import DAG

EXAMPLES = Path(__file__).parents[3] / "examples" / "dags"
DAGS: list[DAG] = []


def at_once(dag_id: str, **options: object) -> DAG:
    """The same DAG, but a retry need not wait for five minutes."""
    options["default_args"] = {**options.get("default_args", {}), "retry_delay": timedelta(0)}
    DAGS.append(DAG(dag_id, **options))
    return DAGS[-1]


tempfile.tempdir = None  # it may have been asked for before this attempt had its environment
with mock.patch("airflow.sdk.DAG", at_once):
    for example in sorted(EXAMPLES.glob("*.py")):
        runpy.run_path(str(example))

if dying.DIES_AT in os.environ:
    dying.obey(os.environ[dying.DIES_AT])
