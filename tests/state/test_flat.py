"""Memory, descriptors and threads of a process that works for long stay what they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("OFFLOAD_LONG"))
OPERATIONS = 10_000 if LONG else 160
MIB = 1024 * 1024

pytestmark = pytest.mark.timeout(3600 if LONG else 300)


def held(path, face, operations, folder, **environment):
    """What a process of its own holds while it works."""
    command = [sys.executable, "-m", "tests.state.flat_drill", path, face, str(operations), str(folder)]
    env = {**os.environ, "AIRFLOW_HOME": str(folder), **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(told))
    return told


def assert_flat(told, *, rss):
    samples = told["samples"]
    half = len(samples) // 2
    assert told["errors"] == told["operations"] // 20
    for name in ("descriptors", "threads"):
        assert max(each[name] for each in samples[half:]) <= max(each[name] for each in samples[:half])
    # One half may meet a larger value than the other; a leak of a kilobyte an operation goes beyond.
    assert min(each["rss"] for each in samples[half:]) <= min(each["rss"] for each in samples[:half]) + rss


@pytest.mark.parametrize("face", ["standalone", "airflow"] if LONG else ["airflow"])
def test_over_s3(bucket, fault_proxy, tmp_path, face):
    for number in range(16):  # all of them at once: more would outlast the patience with one request
        operation = ("PutObject", "GetObject", "UploadPart")[number % 3]
        fault_proxy.refuse(operation, 503, "SlowDown")
    url = {"AWS_ENDPOINT_URL_S3": fault_proxy.url}
    assert_flat(held(f"{bucket.url}/state", face, OPERATIONS, tmp_path, **url), rss=12 * MIB)
    assert bucket.unfinished_uploads() == []


def test_over_files(tmp_path):
    assert_flat(held(tmp_path.joinpath("blobs").as_uri(), "airflow", OPERATIONS, tmp_path), rss=12 * MIB)


def test_no_object_stays_behind(tmp_path):
    """What Python allocated and still holds, to the byte, which the sizes of pages and of caches would hide."""
    told = held(tmp_path.joinpath("blobs").as_uri(), "standalone", OPERATIONS, tmp_path, FLAT_TRACED="1")
    traced = [each["traced"] for each in told["samples"]]
    half = len(traced) // 2
    assert min(traced[half:]) - min(traced[:half]) < 100 * told["operations"] + 1_000_000
