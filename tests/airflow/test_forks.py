"""A user's processes, started after the backend was used, break neither the parent nor the child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests import s3


@pytest.mark.parametrize("transport", ["direct", "boto3", "fsspec"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_parent_and_child_go_on_after_a_fork(method: str, transport: str) -> None:
    with s3.serve() as recorder:
        server = s3.S3(recorder.endpoint, f"b{uuid.uuid4().hex[:12]}")
        server.client.create_bucket(Bucket=server.bucket)
        environment = {
            **os.environ,
            "AIRFLOW_CONN_LAB": json.dumps(server.connection()),
            "AIRFLOW__OFFLOAD_BACKEND__PATH": f"s3://lab@{server.bucket}/state",
            "AIRFLOW__OFFLOAD_BACKEND__TRANSPORT": transport,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        script = str(Path(__file__).with_name("fork_drill.py"))
        done = subprocess.run(
            [sys.executable, script, method],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["exits"] == [0, 0, 0]
    assert report["refs"] == 11
