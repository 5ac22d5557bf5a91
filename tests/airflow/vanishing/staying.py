"""What looks like an end and is none: the rows stay, so the blobs have to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.airflow.vanishing.attempts import SUCCESS, clear, succeed
from tests.airflow.vanishing.site import CLEAR
from tests.airflow.vanishing.values import FORGETFUL

if TYPE_CHECKING:
    from tests.airflow.harness import Run
    from tests.airflow.vanishing.site import Fate, Site


def a_task_instance_deleted_through_rest(site: Site) -> Fate:
    run = site.write()
    kept = site.of(run)
    site.airflow.rest.ask("DELETE", site.state(run))
    return site.fate(kept=kept)


def a_dag_run_cleared_through_rest(site: Site) -> Fate:
    run = site.write()
    kept = site.of(run)
    path = f"/api/v2/dags/vanishing/dagRuns/{run.run_id}/clear"
    site.airflow.rest.ask("POST", path, json={"dry_run": False, "only_failed": False})
    return site.fate(kept=kept)


def task_instances_cleared_in_3_3(site: Site) -> Fate | None:
    if site.airflow.has_regions:
        return None
    run = site.write()
    kept = site.of(run)
    clear(site, run)
    return site.fate(kept=kept)


def task_instances_cleared_by_the_command_airflow_tasks_clear(site: Site) -> Fate:
    run = site.write("vanishing_resized", end="failed")
    kept = site.of(run)
    site.command("tasks", "clear", "--yes", "vanishing_resized")
    return site.fate(kept=kept)


def a_task_instance_marked_failed_under_clear_on_success(site: Site) -> Fate:
    run = site.write()
    kept = site.of(run)
    site.airflow.rest_with(FORGETFUL).ask("PATCH", site.state(run), json={"new_state": "failed"})
    return site.fate(kept=kept)


def a_dag_run_marked_success_under_clear_on_success(site: Site) -> Fate:
    run = site.write(end="failed")
    kept = site.of(run)
    path = f"/api/v2/dags/vanishing/dagRuns/{run.run_id}"
    site.airflow.rest_with(FORGETFUL).ask("PATCH", path, json={"state": "success"})
    return site.fate(kept=kept)


def a_task_instance_marked_success_without_clear_on_success(site: Site) -> Fate:
    run = site.write(end="failed")
    kept = site.of(run)
    site.airflow.rest.ask("PATCH", site.state(run), json=SUCCESS)
    return site.fate(kept=kept)


def a_task_that_skips_itself_under_clear_on_success(site: Site) -> Fate:
    kept = site.of(site.write(env=FORGETFUL, end="skipped"))
    assert kept
    return site.fate(kept=kept)


def a_success_when_only_the_worker_clears(site: Site) -> Fate:
    url = f"{site.airflow.rest.url}/execution/"
    kept = site.of(succeed(site, {**CLEAR, "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url}))
    return site.fate(kept=kept)


def mapped_task_instances_that_the_next_attempt_no_longer_has(site: Site) -> Fate:
    run = site.write("vanishing_resized")
    superseded = site.of(run, map_index=0)
    kept = site.of(run) - superseded
    clear_but_keep(site, run)
    for task_id, map_index in (*run.ready(), ("resized", 0)):
        run.attempt(task_id, map_index)
    return site.fate(superseded, kept)


def iterations_of_a_loop_that_a_clear_forks_in_3_4(site: Site) -> Fate | None:
    if not site.airflow.has_regions:
        return None
    run = site.write("vanishing_loop")
    kept = site.of(run)
    clear(site, run, keep_task_state=True, task_ids=["again.__loop_gate"])
    while due := run.ready():
        for task_id, map_index in due:
            run.attempt(task_id, map_index)
    forked = site.of(run) - kept
    assert (len(kept), len(forked)) == (4, 2), run.log
    return site.fate(kept=kept | forked)


def clear_but_keep(site: Site, run: Run) -> None:
    """Clear a run's task instances as 3.3 does and 3.4 does on request: their state stays."""
    clear(site, run, **({"keep_task_state": True} if site.airflow.has_regions else {}))


PRODUCERS = (
    a_task_instance_deleted_through_rest,
    a_dag_run_cleared_through_rest,
    task_instances_cleared_in_3_3,
    task_instances_cleared_by_the_command_airflow_tasks_clear,
    a_task_instance_marked_failed_under_clear_on_success,
    a_dag_run_marked_success_under_clear_on_success,
    a_task_instance_marked_success_without_clear_on_success,
    a_task_that_skips_itself_under_clear_on_success,
    a_success_when_only_the_worker_clears,
    mapped_task_instances_that_the_next_attempt_no_longer_has,
    iterations_of_a_loop_that_a_clear_forks_in_3_4,
)
