"""What a task pays for: a process that is new to state imports and reads only what its values need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass

from tests import s3, seam

SDKS = ["aiobotocore", "boto3", "botocore", "fsspec", "httpx", "requests", "s3fs", "urllib3"]
CLIENTS = [*SDKS, "blake3", "http.client", "ssl", "zstandard"]
OURS_FOR_BLOBS = ["blobfile", "lifecycle", "peervalue", "stores", "airflow.connections"]

CHILD = """
import json, sys
from tests import seam as seams
from airflow.sdk.execution_time import context, supervisor, task_runner  # the supervisor is forked for a task
from airflow.sdk.listener import get_listener_manager
task_runner.SUPERVISOR_COMMS = seams.Supervisor()
get_listener_manager()  # as every task's process does before it runs the task
ti = type("TI", (), dict(id=seams.TASK, dag_id="d", run_id="r", task_id="t", map_index=-1))()
value, missing = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.modules.update(dict.fromkeys(missing))  # from here on, to import one of these fails
opened, connected, before = [], [], set(sys.modules)
seen = {"open": opened, "socket.connect": connected}
sys.addaudithook(lambda event, arguments: event in seen and seen[event].append(str(arguments[0])))
with context.set_current_context({"ti": ti}):
    store = seams.Seam(task_runner.SUPERVISOR_COMMS).task()
    store.set("k", value)
    assert store.get("k") == value
print(json.dumps({
    "row": json.loads(task_runner.SUPERVISOR_COMMS.rows["task", "k"])["__airflow_state_ref__"][:5],
    "imported": sorted(set(sys.modules) - before),
    "metadata": [path for path in opened if path.endswith(("entry_points.txt", "METADATA"))],
    "connected": len(connected),
}))
"""


@dataclass(frozen=True)
class Told:
    """What the process did beyond what Airflow had done in it."""

    row: str
    imported: list[str]
    metadata: list[str]
    connected: int

    def ours(self) -> set[str]:
        """Parts of this package that were imported, as :data:`OURS_FOR_BLOBS` names them."""
        names = [name.removeprefix("offload_backend.") for name in self.imported]
        return {part for part in OURS_FOR_BLOBS for name in names if name == part or name.startswith(f"{part}.")}


def first_use(value: object, missing: list[str], path: str, **environment: str) -> Told:
    """A ``set`` and a ``get`` in a process in which nothing used state before, without the missing modules."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(value), json.dumps(missing)],
        env={
            **os.environ,
            "AIRFLOW__WORKERS__STATE_STORE_BACKEND": seam.OURS,
            "AIRFLOW__OFFLOAD_BACKEND__PATH": path,
            "PYTHONPATH": os.pathsep.join(sys.path),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Told(**json.loads(done.stdout.splitlines()[-1]))


def test_a_value_that_stays_inline_needs_no_client_no_compressor_and_no_network() -> None:
    told = first_use({"epoch": 3, "done": False}, CLIENTS, "s3://lab@bucket/state")
    assert told.row == '{"epo'
    assert told.ours() == set()
    assert (told.metadata, told.connected) == ([], 0)


def test_the_first_blob_with_the_keys_of_a_connection_needs_no_sdk() -> None:
    with s3.serve() as recorder:
        server = s3.S3(recorder.endpoint, f"b{uuid.uuid4().hex[:12]}")
        server.client.create_bucket(Bucket=server.bucket)
        recorder.servers[server.bucket] = server
        with server.recorded() as requests:
            connection = json.dumps(server.connection())
            path = f"s3://lab@{server.bucket}/state"
            told = first_use(["x" * 70_000], SDKS, path, AIRFLOW_CONN_LAB=connection)
    assert told.row == "s3://"
    assert requests == ["PutObject", "GetObject"]
    assert told.metadata == []
