"""What a collector's run says, against what it reports; by OpenTelemetry's own SDK."""

from __future__ import annotations

import time

import pytest

from offload_backend.errors import RefusedError
from offload_backend.lifecycle.metering import Metering
from tests.cli.collected import Site


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "no-airflow"))
    site = Site(tmp_path / "site").fill()
    assert site.run("gc", "adopt").exit_code == 0
    return site


def collector(telemetry) -> dict[str, float]:
    return {
        name.removeprefix("collector."): value
        for name, value in telemetry.counts().items()
        if name.startswith("collector.")
    }


def test_a_run_is_measured_as_it_is_reported(telemetry, site):
    before = time.time()
    done = site.json("gc", "run", "--delete")["mark"]["counts"]
    marked = collector(telemetry)
    assert (marked["live_blobs"], marked["live_bytes"]) == (20, done["live"]["bytes"])
    assert (marked["candidates"], marked["candidate_bytes"]) == (2, done["marked"]["bytes"])
    assert marked["dangling"] == 0
    assert before <= marked["last_mark_seconds"] <= time.time()
    assert "purged_blobs" not in marked

    site.age_marks(days=8)
    done = site.json("gc", "run", "--delete")["purge"]
    purged = collector(telemetry)
    assert (purged["purged_blobs"], purged["purged_bytes"]) == (2, done["deleted"]["bytes"])
    assert (purged["mark_duration"], purged["purge_duration"]) == (2, 2)
    assert before <= purged["last_purge_seconds"] <= time.time()
    assert not purged.keys() & {"refused", "purge_failed"}
    assert dict(telemetry.points()["collector.candidates"][0].attributes) == {"deployment": "prod"}


def test_a_refusal_is_one_however_many_reasons_it_has(telemetry, site):
    site.database.unlink()
    assert site.run("gc", "run", "--delete").exit_code != 0
    with site.stores() as stores:
        stores.task_store("d", "r", "t").set("k", 1)
    assert site.run("gc", "run", "--delete").exit_code == 3
    assert collector(telemetry) == {"refused": 1}


def test_a_meter_that_fails_refuses_no_run(caplog):
    class Broken:
        def count(self, name, amount, tags):
            raise RuntimeError("canary")

    Metering(Broken(), "prod").on_refused(RefusedError([]).refusals)
    assert caplog.messages == ["metrics are lost: RuntimeError"]
