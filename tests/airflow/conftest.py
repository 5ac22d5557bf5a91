"""One Airflow for all tests of this folder. Skips, with the reason, where Airflow is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.airflow.harness import Airflow
    from tests.airflow.rest_site import RestSite
    from tests.s3 import S3


@pytest.fixture(scope="session")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the backends under test keep their blobs unless a test says otherwise."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def booted_airflow(tmp_path_factory: pytest.TempPathFactory, state_folder: Path) -> Iterator[Airflow]:
    if find_spec("airflow.executors") is None:
        pytest.skip("apache-airflow is not installed here: run `make test`")
    from tests.airflow.harness import boot
    from tests.seam import OURS

    env = {
        "AIRFLOW__WORKERS__STATE_STORE_BACKEND": OURS,
        "AIRFLOW__OFFLOAD_BACKEND__PATH": state_folder.as_uri(),
    }
    with boot(tmp_path_factory.mktemp("airflow"), env) as airflow:
        yield airflow


@pytest.fixture
def airflow(booted_airflow: Airflow, request: pytest.FixtureRequest) -> Iterator[Airflow]:
    """A real Airflow; the logs of its servers are printed when the test fails."""
    yield booted_airflow
    report = getattr(request.node, "call_report", None)
    if report is not None and report.failed:
        print(booted_airflow.log_tails())


@pytest.fixture(scope="session")
def rest_site(booted_airflow: Airflow) -> Iterator[RestSite]:
    """The same Airflow's API, from a server with accounts of different rights."""
    from tests.airflow.rest_site import serve

    with serve(booted_airflow) as site:
        yield site


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """moto over HTTP with one bucket; every request of every process is recorded with its signer."""
    from tests.s3 import S3, serve

    with serve() as recorder:
        server = S3(recorder.endpoint, "state")
        server.client.create_bucket(Bucket="state")
        recorder.servers["*"] = server
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.when == "call":
        item.call_report = report
    return report
