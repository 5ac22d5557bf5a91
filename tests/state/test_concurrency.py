"""Several processes on one state, with a real database and real files."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from offload_backend import connect
from tests.state.conftest import BIG

WRITER = """
import sys
from offload_backend import connect
path, core_store, who = sys.argv[1:]
with connect(path, core_store, inline_limit=200) as stores:
    task_store = stores.task_store("dag", "run", "task")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(15):
        task_store.set("key", {"who": who, "number": number, "rows": list(range(200))})
        value = task_store.get("key", {"rows": list(range(200))})
        assert value["rows"] == list(range(200)), value
        if number % 5 == 4:
            task_store.delete("key")
        if number % 7 == 6:
            task_store.clear()
    task_store.set("key", {"who": who, "number": number, "rows": list(range(200))})
"""

READER = """
import sys
from offload_backend import connect
path, core_store, who = sys.argv[1:]
with connect(path, core_store, inline_limit=200) as stores:
    task_store = stores.task_store("dag", "run", "task")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(60):
        value = task_store.get("key", {"rows": list(range(200))})
        assert value["rows"] == list(range(200)), value
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def core_store(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    return request.getfixturevalue("postgres_url")


def _start(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def test_processes_that_set_get_delete_and_clear_one_key_leave_one_blob_and_never_meet_a_missing_one(
    core_store, tmp_path
):
    blobs = tmp_path / "blobs"
    processes = [_start(WRITER, blobs, core_store, who) for who in range(3)]
    processes.append(_start(READER, blobs, core_store, "reader"))
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]
    assert ([process.returncode for process in processes], "".join(errors)) == ([0] * 4, "")
    with connect(str(blobs), core_store, inline_limit=200) as stores:
        assert stores.task_store("dag", "run", "task").get("key")["number"] == 14
    assert len([file for file in blobs.rglob("*") if file.is_file()]) == 1


PROGRESS = """
import sys
from offload_backend import connect
with connect(sys.argv[1], sys.argv[2]) as stores:
    task_store = stores.task_store("dag", "run", "task")
    for step in range(1, 4):
        task_store.set("progress", {"step": step, "of": 3})
        print("ready", flush=True)
        sys.stdin.readline()
"""


def test_the_progress_of_a_running_task_can_be_read_from_another_process(core_store, tmp_path):
    blobs = tmp_path / "blobs"
    process = _start(PROGRESS, blobs, core_store)
    with connect(str(blobs), core_store) as stores:
        seen = []
        for _ in range(3):
            seen.append(stores.task_store("dag", "run", "task").get("progress"))
            assert process.poll() is None
            process.stdin.write("next\n")
            process.stdin.flush()
            process.stdout.readline()
    process.communicate()
    assert seen == [{"step": step, "of": 3} for step in (1, 2, 3)]


KILLED = """
import sys
from offload_backend import connect
with connect(sys.argv[1], sys.argv[2], inline_limit=200) as stores:
    task_store = stores.task_store("dag", "run", "task")
    print("ready", flush=True)
    for step in range(10**6):
        task_store.set("checkpoint", {"step": step, "rows": list(range(5000))})
"""


def test_a_task_killed_while_it_writes_leaves_the_last_committed_value(core_store, tmp_path):
    blobs = tmp_path / "blobs"
    process = _start(KILLED, blobs, core_store)
    deadline = time.monotonic() + 30
    with connect(str(blobs), core_store, inline_limit=200) as stores:
        task_store = stores.task_store("dag", "run", "task")
        while (task_store.get("checkpoint") or {"step": 0})["step"] < 3:
            assert time.monotonic() < deadline
        process.kill()
        process.communicate()
        value = task_store.get("checkpoint")
        assert value["rows"] == list(range(5000))
        assert value["step"] >= 3
        task_store.set("checkpoint", BIG)
        assert task_store.get("checkpoint") == BIG
