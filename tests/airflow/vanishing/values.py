"""Rows of tasks that vanish one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.airflow.vanishing.runs import clean
from tests.airflow.vanishing.site import CLEAR

if TYPE_CHECKING:
    from tests.airflow.vanishing.site import Fate, Site

FORGETFUL = {**CLEAR, "AIRFLOW__STATE_STORE__BACKEND": "forgetful.ForgetfulBackend"}
"""One API server serves the tests of both settings."""


def expired_rows_that_airflow_db_clean_removes_without_an_archive(site: Site) -> Fate:
    expired, spared = site.write(seconds=0), site.write()
    lost, kept = site.of(expired), site.of(spared)
    clean(site, "task_state_store", "--skip-archive")
    return site.fate(lost, kept)


def expired_rows_that_airflow_state_store_clean_removes(site: Site) -> Fate:
    lost = site.of(site.write(seconds=0))
    assert "skipping" in site.command("state-store", "clean", env=FORGETFUL), "it declines only there"
    assert lost <= site.live()
    site.command("state-store", "clean")
    return site.fate(lost)


def a_key_deleted_through_rest(site: Site) -> Fate:
    run = site.write()
    lost, kept = site.of(run, key="a"), site.of(run, key="b")
    site.airflow.rest.ask("DELETE", f"{site.state(run)}/state-store/a")
    return site.fate(lost, kept)


def a_task_instance_cleared_of_its_state_through_rest(site: Site) -> Fate:
    run = site.write("vanishing_group")
    lost = site.of(run, map_index=1)
    kept = site.of(run) - lost
    site.airflow.rest.ask("DELETE", f"{site.state(run, 'group.each')}/state-store", params={"map_index": 1})
    return site.fate(lost, kept)


def all_map_indices_cleared_of_their_state_through_rest(site: Site) -> Fate:
    run = site.write("vanishing_group")
    lost = site.of(run)
    assert len(lost) == 6
    site.airflow.rest.ask(
        "DELETE", f"{site.state(run, 'group.each')}/state-store", params={"all_map_indices": True}
    )
    return site.fate(lost)


def a_ref_overwritten_by_put_through_rest(site: Site) -> Fate:
    run = site.write()
    lost, kept = site.of(run, key="a"), site.of(run, key="b")
    site.airflow.rest.ask("PUT", f"{site.state(run)}/state-store/a", json={"value": "plain"})
    return site.fate(lost, kept)


def a_ref_overwritten_by_patch_through_rest(site: Site) -> Fate:
    run = site.write()
    lost, kept = site.of(run, key="a"), site.of(run, key="b")
    site.airflow.rest.ask("PATCH", f"{site.state(run)}/state-store/a", json={"value": "plain"})
    return site.fate(lost, kept)


def a_row_that_a_server_side_backend_of_the_users_own_drops(site: Site) -> Fate:
    run_ids: list[str] = []
    written = site.new_blobs(
        lambda: run_ids.append(site.write("vanishing_forgotten", FORGETFUL, end="failed").run_id)
    )
    kept = site.live() & written
    assert len(written) == 2
    assert len(kept) == 1
    return site.fate(written - kept, kept)


PRODUCERS = (
    expired_rows_that_airflow_db_clean_removes_without_an_archive,
    expired_rows_that_airflow_state_store_clean_removes,
    a_key_deleted_through_rest,
    a_task_instance_cleared_of_its_state_through_rest,
    all_map_indices_cleared_of_their_state_through_rest,
    a_ref_overwritten_by_put_through_rest,
    a_ref_overwritten_by_patch_through_rest,
    a_row_that_a_server_side_backend_of_the_users_own_drops,
)
