from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.blobstore import DeleteReport
from offload_backend.cli.main import app
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.stores.local import LocalBlobStore
from tests.cli.deployments import TASK

ETL = ("erase", "--dag", "etl")


@pytest.fixture
def old(deployment):
    """A dag's rows and an asset's, all blobs two days old."""
    deployment.set("a")
    deployment.set("b", TaskAddress("etl", "other", "load", 3))
    deployment.set("watermark", AssetAddress(name="orders"))
    deployment.set("watermark", AssetAddress(uri="s3://orders"))
    deployment.make_old()
    return deployment


def test_a_dry_run_lists_rows_and_blobs_and_what_is_out_of_reach(old):
    told = old.offload(*ETL)
    assert told.exit_code == 0
    assert "row   task etl.load run run key 'a'" in told.stdout
    assert "v1/default/task/etl/run/load/-1/a/" in told.stdout
    assert "2 rows and 2 blobs" in told.stdout
    assert "older versions" in told.stdout
    assert "task logs" in told.stdout
    assert "dry run" in told.stdout
    assert len(old.blobs()) == 4


def test_a_task_whose_name_is_made_for_terminals_does_nothing_to_one(deployment):
    deployment.set("a", TaskAddress("etl", "run", "l\x1b[2J\nkept: 0"))
    told = deployment.offload(*ETL).stdout
    assert "  row   task etl.l�[2J�kept: 0 run run key 'a'\n" in told


def test_with_delete_they_are_gone_and_the_rest_is_not(old):
    told = old.offload(*ETL, "--delete")
    assert told.exit_code == 0
    assert "2 rows and 2 blobs" in told.stdout
    assert "dry run" not in told.stdout
    assert old.keys() == {"watermark"}
    assert len(old.blobs()) == 2


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--dag", "etl", "--run", "other"], 3),
        (["--dag", "etl", "--task", "load", "--map-index", "3"], 3),
        (["--dag", "etl", "--task", "load", "--key", "a"], 3),
        (["--dag", "etl", "--task", "nothing"], 4),
        (["--asset", "orders"], 3),
        (["--asset-uri", "s3://orders", "--key", "watermark"], 3),
        (["--asset", "orders", "--key", "other"], 4),
    ],
)
def test_each_option_narrows_what_is_meant(old, options, left):
    assert old.offload("erase", *options, "--delete").exit_code == 0
    assert len(old.blobs()) == left


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--run", "run"],
        ["--dag", "etl", "--asset", "orders"],
        ["--asset", "orders", "--asset-uri", "s3://orders"],
        ["--asset", "orders", "--run", "run"],
        ["--asset", "orders", "--task", "load"],
        ["--dag", "etl", "--map-index", "3"],
        ["--dag", ""],
        ["--dag", "etl", "--run", ""],
        ["--dag", "etl", "--key", ""],
        ["--dag", "etl", "--accept", "everything"],
    ],
)
def test_options_that_mean_nothing_or_everything_are_refused(old, options):
    told = old.offload("erase", *options, "--delete")
    assert told.exit_code == 2
    assert "Traceback" not in told.output
    assert len(old.blobs()) == 4


def test_what_may_be_in_flight_is_refused_until_it_is_accepted(deployment):
    deployment.set("a")
    for arguments in (ETL, (*ETL, "--delete")):
        told = deployment.offload(*arguments)
        assert told.exit_code == 3
        assert "commit_window" in told.stderr
        assert "--accept running" in told.stderr
        assert deployment.keys() == {"a"}
        assert len(deployment.blobs()) == 1
    assert deployment.offload(*ETL, "--delete", "--accept", "running").exit_code == 0
    assert deployment.blobs() == []


def test_the_log_holds_exactly_what_was_erased_and_is_continued(old, tmp_path):
    blobs = {str(path.relative_to(old.directory / "blobs")): path.stat().st_size for path in old.blobs()}
    log = tmp_path / "erased.jsonl"
    old.offload(*ETL, "--log", str(log))
    assert not log.exists()
    old.offload(*ETL, "--delete", "--log", str(log))
    old.offload("erase", "--asset", "orders", "--delete", "--log", str(log))
    events = [json.loads(line) for line in log.read_text().splitlines()]
    erased = {
        item["name"]: item["size"] for each in events if each["event"] == "blobs-erased" for item in each["items"]
    }
    assert erased == {name: size for name, size in blobs.items() if "uri=" not in name}
    assert [each["event"] for each in events].count("ended") == 2
    assert all(each["at"] for each in events)


def test_a_log_that_cannot_be_written_stops_it_before_anything_is_gone(old, tmp_path):
    told = old.offload(*ETL, "--delete", "--log", str(tmp_path / "nowhere" / "log"))
    assert told.exit_code == 2
    assert "nothing was erased" in told.stderr
    assert len(old.blobs()) == 4


def test_json_tells_everything_to_programs(old):
    told = old.as_json(*ETL, "--delete")
    assert told["counts"] == {
        "rows": 2,
        "blobs": 2,
        "bytes": sum(blob["size"] for blob in told["blobs"]),
        "kept": 0,
        "failed": 0,
        "changed": 0,
    }
    assert {row["address"] for row in told["rows"]} == {str(TASK), "task etl.load [3] run other"}
    assert told["places"]["deployment"] == "default"
    assert len(told["not_erased"]) > 3


def test_what_could_not_be_deleted_is_exit_code_4(old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            LocalBlobStore, "delete", lambda _, names: DeleteReport(failed=dict.fromkeys(names, "access denied"))
        )
        told = old.offload(*ETL, "--delete")
    assert told.exit_code == 4
    assert "2 blobs could not be deleted: access denied" in told.stderr
    assert old.offload(*ETL, "--delete").exit_code == 0
    assert len(old.blobs()) == 2


def test_another_deployments_blobs_stay(old):
    assert old.offload("gc", "adopt", "--deployment", "other").exit_code == 0
    told = old.offload(*ETL, "--delete", "--deployment", "other")
    assert told.exit_code == 0
    assert len(old.blobs()) == 4


def test_without_a_path_it_is_told_before_rows_go(old):
    told = CliRunner().invoke(app, [*ETL, "--delete", "--core-store", old.core_store])
    assert told.exit_code == 2
    assert "no location for blobs" in told.stderr
    assert {"a", "b"} < old.keys()


def test_a_row_that_was_written_anew_meanwhile_is_exit_code_4(old, monkeypatch):
    remove = SqlCoreStore.remove

    def written_meanwhile(rows, doomed):
        rows.set(TASK, "a", "[1]", expires_at=None)
        return remove(rows, doomed)

    monkeypatch.setattr(SqlCoreStore, "remove", written_meanwhile)
    told = old.offload(*ETL, "--delete")
    assert told.exit_code == 4
    assert "1 rows were written anew meanwhile and stay" in told.stderr
    assert old.keys() == {"a", "watermark"}


@pytest.mark.parametrize("delete", [[], ["--delete"]])
def test_a_copy_of_the_database_deletes_nothing_of_the_adopted_one(deployment, delete):
    deployment.set("a")
    deployment.make_old()
    copy = shutil.copy(deployment.directory / "state.db", deployment.directory / "copy.db")
    blobs = deployment.blobs()
    told = deployment.offload("erase", "--dag", "etl", *delete, "--core-store", f"sqlite:///{copy}")
    assert told.exit_code == 3
    assert "the blobs belong to the database" in told.stderr
    assert deployment.blobs() == blobs
    assert deployment.keys() == {"a"}
    assert deployment.offload("erase", "--dag", "etl", "--delete").exit_code == 0
    assert deployment.keys() == set()
