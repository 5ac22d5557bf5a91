"""Rows of assets that vanish."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.airflow.vanishing.site import Fate, Site


def a_key_of_an_asset_deleted_through_rest(site: Site) -> Fate:
    path = _written(site, "trimmed")
    lost, kept = site.of_asset("vanishing_trimmed", "a"), site.of_asset("vanishing_trimmed", "b")
    site.airflow.rest.ask("DELETE", f"{path}/a")
    return site.fate(lost, kept | site.of_asset("vanishing_kept"))


def an_asset_cleared_of_its_state_through_rest(site: Site) -> Fate:
    path = _written(site, "cleared")
    lost = site.of_asset("vanishing_cleared")
    site.airflow.rest.ask("DELETE", path)
    return site.fate(lost, site.of_asset("vanishing_kept"))


def a_ref_of_an_asset_overwritten_through_rest(site: Site) -> Fate:
    path = _written(site, "put")
    lost, kept = site.of_asset("vanishing_put", "a"), site.of_asset("vanishing_put", "b")
    site.airflow.rest.ask("PUT", f"{path}/a", json={"value": "plain"})
    return site.fate(lost, kept)


def an_asset_deleted_from_the_database(site: Site) -> Fate:
    site.write("vanishing_erased")
    lost = site.of_asset("vanishing_erased")
    site.airflow.sql("DELETE FROM asset_active WHERE name = 'vanishing_erased'")
    site.airflow.sql("DELETE FROM asset WHERE name = 'vanishing_erased'")
    return site.fate(lost)


def an_asset_that_the_scheduler_sweeps_after_its_dag_was_deleted(site: Site) -> Fate:
    site.write("vanishing_swept")
    lost = site.of_asset("vanishing_swept")
    site.airflow.rest.ask("DELETE", "/api/v2/dags/vanishing_swept")
    assert lost <= site.live(), "the DAG alone takes no asset's row along"
    site.airflow.ask("sweep")
    return site.fate(lost, site.of_asset("vanishing_kept"))


def _written(site: Site, name: str) -> str:
    """Where the REST API has the state of an asset that has some."""
    if not site.of_asset("vanishing_kept"):
        site.write("vanishing_assets")
    (found,) = site.airflow.sql("SELECT id FROM asset WHERE name = :name", name=f"vanishing_{name}")
    return f"/api/v2/assets/{found[0]}/state-store"


PRODUCERS = (
    a_key_of_an_asset_deleted_through_rest,
    an_asset_cleared_of_its_state_through_rest,
    a_ref_of_an_asset_overwritten_through_rest,
    an_asset_deleted_from_the_database,
    an_asset_that_the_scheduler_sweeps_after_its_dag_was_deleted,
)
