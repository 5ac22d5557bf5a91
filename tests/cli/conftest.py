from __future__ import annotations

import os
import tempfile

import pytest

from tests.cli.deployments import OnDisk


@pytest.fixture
def no_configuration(monkeypatch, tmp_path):
    """Nothing of this machine's configuration."""
    for name in os.environ:
        if name.startswith("AIRFLOW"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def deployment(no_configuration, tmp_path):
    return OnDisk(tmp_path).adopted()
