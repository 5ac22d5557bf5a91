"""One S3 store before, while and after other processes begin, in either of them, over plain HTTP and TLS."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANGS = 150


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("transport", ["direct", "direct over TLS", "boto3"])
def test_parent_and_children_use_a_store_at_once(bucket, request, certificate, transport, method):
    tls = transport.endswith("TLS")
    endpoint = request.getfixturevalue("tls_proxy" if tls else "fault_proxy").url
    authority = str(certificate[0]) if tls else ""
    url = f"{bucket.url}/{uuid.uuid4().hex}"
    command = [sys.executable, "-m", "tests.stores.s3_fork_drill", url, endpoint, authority]
    command += [transport.split()[0], method]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANGS)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
