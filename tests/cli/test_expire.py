from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offload_backend.address import TaskAddress
from offload_backend.blobstore import DeleteReport
from offload_backend.cli.main import app
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.stores.local import LocalBlobStore
from tests.cli.deployments import PAST


def size_of(*refs: str) -> int:
    parsed = [parse_ref(ref) for ref in refs]
    return sum(ref.size for ref in parsed if isinstance(ref, BlobRef))


def test_a_dry_run_tells_what_would_go_and_touches_nothing(deployment):
    refs = [deployment.set(key, expires_at=PAST) for key in "ab"]
    deployment.set("never")
    told = deployment.offload("expire")
    assert told.exit_code == 0
    assert f"2 rows would go, 2 blobs, {size_of(*refs):,} bytes" in told.stdout
    assert "dry run" in told.stdout
    assert deployment.keys() == {"a", "b", "never"}
    assert len(deployment.blobs()) == 3


def test_with_delete_rows_and_their_blobs_are_gone(deployment):
    refs = [deployment.set(key, expires_at=PAST) for key in "ab"]
    deployment.set("never")
    told = deployment.offload("expire", "--delete")
    assert told.exit_code == 0
    assert f"2 rows removed, 2 blobs, {size_of(*refs):,} bytes" in told.stdout
    assert f"etl: 2 rows, 2 blobs, {size_of(*refs):,} bytes" in told.stdout
    assert "dry run" not in told.stdout
    assert deployment.keys() == {"never"}
    assert [path.parent.name for path in deployment.blobs()] == ["never"]


def test_json_tells_the_same_to_programs(deployment):
    ref = deployment.set("a", expires_at=PAST)
    other = deployment.set("b", TaskAddress("other", "run", "load"), expires_at=PAST)
    told = deployment.as_json("expire", "--delete")
    assert told["deleted"] is True
    assert told["total"] == {"rows": 2, "blobs": 2, "bytes": size_of(ref, other)}
    assert told["dags"] == {
        "etl": {"rows": 1, "blobs": 1, "bytes": size_of(ref)},
        "other": {"rows": 1, "blobs": 1, "bytes": size_of(other)},
    }
    assert told["places"] == {"rows": deployment.core_store, "blobs": deployment.path}


def test_the_largest_dags_come_first_and_the_rest_is_counted(deployment):
    for number in range(12):
        for index in range(2 if number == 7 else 1):
            deployment.set("k", TaskAddress(f"dag{number}", "run", "load", index), expires_at=PAST)
    lines = deployment.offload("expire").stdout.splitlines()
    assert lines[3].startswith("  dag7: 2 rows, 2 blobs")
    assert "  and 2 more; --output json has them all" in lines


def test_a_dag_whose_name_is_made_for_terminals_does_nothing_to_one(deployment):
    deployment.set("k", TaskAddress("d\x1b[2J\n12 rows", "run", "load"), expires_at=PAST)
    lines = deployment.offload("expire").stdout.splitlines()
    assert any(line.startswith("  d�[2J�12 rows: 1 rows") for line in lines)


def test_batches_are_those_of_airflows_setting(deployment, monkeypatch):
    for key in "abc":
        deployment.set(key, expires_at=PAST)
    monkeypatch.setenv("AIRFLOW__STATE_STORE__STATE_CLEANUP_BATCH_SIZE", "2")
    sizes = []
    remove = SqlCoreStore.remove
    monkeypatch.setattr(
        SqlCoreStore, "remove", lambda rows, doomed: sizes.append(len(doomed)) or remove(rows, doomed)
    )
    assert deployment.offload("expire", "--delete").exit_code == 0
    assert sizes == [2, 1]


def test_reclaim_never_removes_rows_and_says_that_blobs_stay(deployment, monkeypatch):
    deployment.set("a", expires_at=PAST)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__RECLAIM", "never")
    told = deployment.offload("expire", "--delete")
    assert told.exit_code == 0
    assert "1 rows removed, 0 blobs" in told.stdout
    assert "1 blobs stay, as reclaim = never says" in told.stdout
    assert deployment.keys() == set()
    assert len(deployment.blobs()) == 1


def denied(store, names):
    return DeleteReport(failed=dict.fromkeys(names, "access denied"))


def test_blobs_that_cannot_be_deleted_end_with_exit_code_4_and_their_reasons(deployment, monkeypatch):
    for key in "abc":
        deployment.set(key, expires_at=PAST)
    monkeypatch.setenv("AIRFLOW__STATE_STORE__STATE_CLEANUP_BATCH_SIZE", "2")
    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobStore, "delete", denied)
        told = deployment.offload("expire", "--delete")
    assert told.exit_code == 4
    assert "2 rows removed, 0 blobs" in told.stdout
    assert "2 blobs of rows that are gone could not be deleted: access denied" in told.stderr
    assert "run the command again for the other rows" in told.stderr
    assert "offload gc" in told.stderr
    assert len(deployment.keys()) == 1
    assert deployment.offload("expire", "--delete").exit_code == 0
    assert len(deployment.blobs()) == 2


def test_a_location_that_cannot_be_used_is_told_before_rows_go(deployment, monkeypatch):
    deployment.set("a", expires_at=PAST)
    arguments = ["expire", "--delete", "--core-store", deployment.core_store, "--path", "s3://bucket//x"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 2
    assert deployment.keys() == {"a"}


@pytest.mark.parametrize("verb", [["expire"], ["erase", "--dag", "etl"]], ids=["expire", "erase"])
@pytest.mark.parametrize("form", ["airflow-rest+https://airflow.example", "roots+file:///nowhere.jsonl.gz"])
def test_where_rows_cannot_be_compared_and_removed_it_refuses_and_says_what_to_do(deployment, verb, form):
    told = CliRunner().invoke(app, [*verb, "--delete", "--path", deployment.path, "--core-store", form])
    assert told.exit_code == 3
    assert "--core-store airflow+postgresql://" in told.stderr
    assert "Traceback" not in told.output


def test_progress_is_shown_on_a_terminal_and_never_in_the_output(deployment):
    deployment.set("a", expires_at=PAST)
    offload = Path(sys.executable).parent / "offload"
    places = ["--path", deployment.path, "--core-store", deployment.core_store]
    terminal, stderr = pty.openpty()
    try:
        done = subprocess.run(
            [offload, "expire", *places, "--output", "json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
        )
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(stderr)
        os.close(terminal)
    assert json.loads(done.stdout)["total"]["rows"] == 1
    assert "rows, 1 blobs" in shown
    assert deployment.offload("expire").stderr == ""


@pytest.mark.parametrize("delete", [[], ["--delete"]])
def test_a_copy_of_the_database_deletes_nothing_of_the_adopted_one(deployment, delete):
    deployment.set("a", expires_at=PAST)
    deployment.make_old()
    copy = shutil.copy(deployment.directory / "state.db", deployment.directory / "copy.db")
    blobs = deployment.blobs()
    told = deployment.offload("expire", *delete, "--core-store", f"sqlite:///{copy}")
    assert told.exit_code == 3
    assert "the blobs belong to the database" in told.stderr
    assert deployment.blobs() == blobs
    assert deployment.keys() == {"a"}
    assert deployment.offload("expire", "--delete").exit_code == 0
    assert deployment.keys() == set()
