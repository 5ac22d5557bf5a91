"""Rows that vanish when a task instance succeeds or is cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.airflow.vanishing.values import FORGETFUL

if TYPE_CHECKING:
    from tests.airflow.harness import Run
    from tests.airflow.vanishing.site import Fate, Site

SUCCESS = {"new_state": "success"}


def a_task_instance_marked_success_under_clear_on_success(site: Site) -> Fate:
    run = site.write(end="failed")
    lost = site.of(run)
    site.airflow.rest_with(FORGETFUL).ask("PATCH", site.state(run), json=SUCCESS)
    return site.fate(lost)


def task_instances_marked_success_in_bulk_under_clear_on_success(site: Site) -> Fate:
    run = site.write(end="failed")
    lost = site.of(run)
    action = {"action": "update", "entities": [{"task_id": "write", **SUCCESS}]}
    path = site.state(run).rpartition("/")[0]
    answer = site.airflow.rest_with(FORGETFUL).ask("PATCH", path, json={"actions": [action]})
    assert not answer["update"]["errors"], answer
    return site.fate(lost)


def a_task_group_marked_success_under_clear_on_success(site: Site) -> Fate:
    run = site.write("vanishing_group", end="failed")
    lost = site.of(run)
    assert len(lost) == 6
    path = f"/api/v2/dags/vanishing_group/dagRuns/{run.run_id}/taskGroupInstances/group"
    site.airflow.rest_with(FORGETFUL).ask("PATCH", path, json=SUCCESS)
    return site.fate(lost)


def a_success_under_clear_on_success_of_a_worker_that_may_not_delete(site: Site) -> Fate:
    env = {**FORGETFUL, "AIRFLOW__OFFLOAD_BACKEND__RECLAIM": "never"}
    lost = site.new_blobs(lambda: succeed(site, env))
    assert len(lost) == 2
    return site.fate(lost)


def a_success_when_only_the_server_clears(site: Site) -> Fate:
    url = f"{site.airflow.rest_with(FORGETFUL).url}/execution/"
    lost = site.new_blobs(lambda: succeed(site, {"AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url}))
    assert len(lost) == 2
    return site.fate(lost)


def task_instances_cleared_in_3_4(site: Site) -> Fate | None:
    if not site.airflow.has_regions:
        return None
    discarded, kept_on_request = site.write(), site.write()
    lost, kept = site.of(discarded), site.of(kept_on_request)
    clear(site, discarded)
    clear(site, kept_on_request, keep_task_state=True)
    return site.fate(lost, kept)


def succeed(site: Site, env: dict[str, str]) -> Run:
    """A run that ends well, with other settings."""
    run = site.write(env=env)
    assert run.state == "success", run.log
    return run


def clear(site: Site, run: Run, **options: bool | list[str]) -> None:
    """Clear a run's task instances through REST: all, unless the options say which."""
    body = {"dry_run": False, "only_failed": False, "dag_run_id": run.run_id, **options}
    answer = site.airflow.rest.ask("POST", f"/api/v2/dags/{run.dag_id}/clearTaskInstances", json=body)
    assert answer["total_entries"] > 0, answer


PRODUCERS = (
    a_task_instance_marked_success_under_clear_on_success,
    task_instances_marked_success_in_bulk_under_clear_on_success,
    a_task_group_marked_success_under_clear_on_success,
    a_success_under_clear_on_success_of_a_worker_that_may_not_delete,
    a_success_when_only_the_server_clears,
    task_instances_cleared_in_3_4,
)
