"""What the verbs that look ask of S3, over HTTP: so many requests for so much, and what a refusal looks like."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from offload_backend.cli.main import app
from tests.cli.looked_at import CHECKPOINT, FIT, HISTORY, State
from tests.s3 import KEY, S3, SECRET, serve


class OnS3(State):
    """Blobs in a bucket."""

    path = "s3://bucket/state"


@pytest.fixture(scope="module")
def s3():
    with serve() as recorder:
        server = S3(recorder.endpoint, "bucket")
        server.client.create_bucket(Bucket="bucket")
        recorder.servers["*"] = server
        yield server


@pytest.fixture
def state(no_configuration, monkeypatch, tmp_path, s3):
    options = {"endpoint_url": s3.endpoint, "key": KEY, "secret": SECRET, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__STORAGE_OPTIONS", json.dumps(options))
    state = OnS3(tmp_path)
    with state.stores() as stores:
        state.task(stores, FIT).set("history", HISTORY)
        state.task(stores, FIT).set("checkpoint", CHECKPOINT)
    yield state
    s3.faults.clear()


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (["ls"], []),
        (["show", "--key", "history"], ["GetObject"] * 2),  # the seal, the header
        (["show", "--key", "checkpoint"], ["GetObject"] * 3),  # and the structure
        (["cat", "--key", "history"], ["GetObject"]),
        (["cat", "--key", "history", "--raw"], ["GetObject"] * 2),  # the seal first
        (["stats"], ["ListObjects"]),
    ],
    ids=lambda part: " ".join(part) if part else "nothing",
)
def test_so_many_requests_and_no_more(state, s3, line, asked):
    with s3.recorded() as found:
        done = state.offload(*line)
    assert done.exit_code == 0, done.output
    assert found == asked
    assert SECRET not in done.output


def test_what_comes_out_is_the_value(state):
    assert json.loads(state.offload("cat", "--key", "history").stdout) == HISTORY


@pytest.mark.parametrize("verb", [["show"], ["cat"], ["cat", "--raw"]], ids=" ".join)
def test_an_object_that_is_gone_is_exit_code_5(state, s3, verb):
    s3.client.delete_object(
        Bucket="bucket", Key=state.ref("history").partition("#")[0].removeprefix("s3://bucket/")
    )
    done = state.offload(*verb, "--key", "history")
    assert done.exit_code == 5
    assert "Hint" in done.stderr


@pytest.mark.parametrize("verb", [["show"], ["cat"], ["cat", "--raw"]], ids=" ".join)
def test_a_store_that_denies_is_exit_code_1_and_no_secret_is_told(state, s3, verb):
    s3.fail("GetObject", 403, "AccessDenied")
    done = state.offload(*verb, "--key", "history")
    assert done.exit_code == 1
    assert "s3:GetObject" in done.stderr
    assert SECRET not in done.output


def test_sums_need_no_store(state, s3):
    s3.fail("ListObjects", 403, "AccessDenied")
    done = CliRunner().invoke(app, ["stats", "--path", state.path, "--core-store", state.core_store])
    assert done.exit_code == 0
    assert "in blobs" in done.stdout
    assert "marks could not be read" in done.stderr
