"""The tests of the Airflow face once more, in an environment that has the next Airflow."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = "OFFLOAD_AIRFLOW34_PYTHON"
FACE = ("tests/airflow", *(f"tests/ui/test_{name}.py" for name in ("plugin", "permissions", "rows", "frames")))


@pytest.mark.timeout(1200)
def test_the_airflow_face_under_3_4(capfd: pytest.CaptureFixture[str]) -> None:
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no interpreter with Airflow 3.4: run `make test` with Python 3.11 or newer")
    with capfd.disabled():
        print(f"\n--- {' '.join(FACE)} under Airflow 3.4, {python}", flush=True)
        command = [python, "-m", "pytest", *FACE, "-p", "no:cacheprovider"]
        done = subprocess.run(command, cwd=ROOT, check=False)
        print("--- end of them under Airflow 3.4", flush=True)
    assert done.returncode == 0, "see above, between the lines that start with ---"


def test_that_environment_has_the_next_airflow() -> None:
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} names no interpreter with Airflow 3.4: run `make test` with Python 3.11 or newer")
    names = ("apache-airflow-core", "apache-airflow-task-sdk")
    ask = f"import importlib.metadata as m; print(*map(m.version, {names}))"
    found = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert [version.rpartition(".")[0] for version in found] == ["3.4", "1.4"]
