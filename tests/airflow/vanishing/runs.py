"""Rows that vanish with their DAG run or their DAG."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.airflow.vanishing.site import Fate, Site


def a_dag_run_deleted_through_rest(site: Site) -> Fate:
    doomed, spared = site.write(), site.write()
    lost, kept = site.of(doomed), site.of(spared)
    site.airflow.rest.ask("DELETE", f"/api/v2/dags/vanishing/dagRuns/{doomed.run_id}")
    return site.fate(lost, kept)


def dag_runs_deleted_in_bulk_through_rest(site: Site) -> Fate:
    runs = [site.write(), site.write()]
    lost = site.of(*runs)
    action = {"action": "delete", "entities": [{"dag_run_id": run.run_id} for run in runs]}
    answer = site.airflow.rest.ask("PATCH", "/api/v2/dags/vanishing/dagRuns", json={"actions": [action]})
    assert len(answer["delete"]["success"]) == 2, answer
    return site.fate(lost)


def a_dag_deleted_through_rest(site: Site) -> Fate:
    lost = site.of(site.write("vanishing_by_rest"), site.write("vanishing_by_rest"))
    site.airflow.rest.ask("DELETE", "/api/v2/dags/vanishing_by_rest")
    return site.fate(lost)


def a_dag_deleted_by_the_command_airflow_dags_delete(site: Site) -> Fate:
    lost = site.of(site.write("vanishing_by_command"))
    site.command("dags", "delete", "--yes", "vanishing_by_command")
    return site.fate(lost)


def dag_runs_that_airflow_db_clean_removes(site: Site) -> Fate:
    lost = site.of(site.write("vanishing_by_age"))
    before = site.archives()
    clean(site, "dag_run", "--dag-ids", "vanishing_by_age")
    assert site.archives() == before, "a cascade archives nothing"
    return site.fate(lost)


def the_throw_away_run_of_airflow_tasks_test(site: Site) -> Fate:
    lost = site.new_blobs(lambda: site.command("tasks", "test", "vanishing", "write", "2031-01-01"))
    return site.fate(lost)


def the_run_that_a_second_airflow_dags_test_replaces(site: Site) -> Fate:
    again = ("dags", "test", "vanishing", "2031-01-02")
    written = site.new_blobs(lambda: site.commands(again, again))
    kept = written & site.live()
    assert (len(written), len(kept)) == (4, 2)
    return site.fate(written - kept, kept)


def clean(site: Site, table: str, *options: str) -> None:
    """Run ``airflow db clean`` for everything before now."""
    now = datetime.now(timezone.utc).isoformat()
    site.command("db", "clean", "--yes", "--tables", table, "--clean-before-timestamp", now, *options)


PRODUCERS = (
    a_dag_run_deleted_through_rest,
    dag_runs_deleted_in_bulk_through_rest,
    a_dag_deleted_through_rest,
    a_dag_deleted_by_the_command_airflow_dags_delete,
    dag_runs_that_airflow_db_clean_removes,
    the_throw_away_run_of_airflow_tasks_test,
    the_run_that_a_second_airflow_dags_test_replaces,
)
