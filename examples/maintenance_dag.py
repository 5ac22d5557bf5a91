"""The collector as a DAG: expired rows daily, then mark and purge, the listing spread over workers; verify weekly.

Tasks in Airflow 3 have no access to Airflow's database, so its address is given to these, and to no others, as
the password of a connection (which Airflow encrypts, and masks in logs):

    AIRFLOW_CONN_OFFLOAD_CORE_STORE='{"password": "airflow+postgresql://collector:…@database/airflow"}'

Where workers cannot reach the database at all, airflow-rest+https://user:…@api-server does for everything here
but expire. The account and its rights: docs/lifecycle.md. Run `offload gc adopt` once before the first run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pendulum
from airflow.sdk import DAG, Connection, task

from offload_backend.cli.opening import Deployment, open_deployment
from offload_backend.errors import IncompleteError
from offload_backend.lifecycle import expire, mark, purge, verify
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.hooks import load_hooks
from offload_backend.lifecycle.preflight import Run

WORKERS = 4  # how many tasks list the store at the same time


def deployment() -> Deployment:
    return open_deployment(core_store=Connection.get("offload_core_store").password)


@contextmanager
def collector() -> Iterator[Collector]:
    here = deployment()
    with here.roots() as roots:
        yield Collector(here.settings, here.store(), roots, load_hooks(here.settings))


@task
def expire_rows(params: dict[str, Any] | None = None) -> dict[str, int]:
    """Refuses unless these rows are in the database that has adopted the deployment: ``offload gc adopt``."""
    opened = deployment()
    with collector() as here, opened.rows() as rows:
        report = expire.expire(here, rows, batch_size=opened.batch_size, delete=params["delete"])
    if report.failed:
        raise IncompleteError(f"{len(report.failed)} blobs could not be deleted", report.failed)
    return {"rows": report.total.rows, "blobs": report.total.blobs}


@task
def begin() -> dict[str, Any]:
    """A refusal fails the task here, in conclude or in purge; its log says what to do. Nothing was deleted."""
    with collector() as here:
        return mark.begin(here).as_json()


@task
def shards() -> list[list[str]]:
    """All prefixes, in as many groups as there are to be workers."""
    found = mark.shards(deployment().settings.deployment)
    return [list(found[first::WORKERS]) for first in range(WORKERS)]


@task
def list_shards(run: dict[str, Any], prefixes: list[str]) -> int:
    with collector() as here:
        return sum(mark.list_shard(here, Run.from_json(run), prefix) for prefix in prefixes)


# Not tried again: a second try would find its run concluded, and say that instead of what refused or broke
# the first. Clear the whole DAG run, from begin on, to retry.
@task(retries=0)
def conclude(run: dict[str, Any]) -> dict[str, Any]:
    with collector() as here:
        return mark.conclude(here, Run.from_json(run)).as_json()


# Nor is this: the log of the only try is the one that tells what was deleted, and what was refused.
@task(retries=0)
def purge_matured(params: dict[str, Any] | None = None) -> dict[str, Any]:
    with collector() as here:
        return purge.purge(here, delete=params["delete"]).as_json()


@task
def verify_refs() -> dict[str, Any]:
    with collector() as here:
        report = verify.verify(here, contents=False)
    if report.dangling or report.corrupt:
        raise RuntimeError(f"refs dangle: {[found.holder for found in report.found[:10]]}")
    return report.as_json()


# Until "delete" is true, the daily run only reports, in the XComs of its tasks.
with DAG(
    "offload_maintenance",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1},
    params={"delete": False},
) as maintenance:
    run = begin()
    listed = list_shards.partial(run=run).expand(prefixes=shards())
    expire_rows() >> run
    listed >> conclude(run) >> purge_matured()

with DAG(
    "offload_verification",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
) as verification:
    verify_refs()
