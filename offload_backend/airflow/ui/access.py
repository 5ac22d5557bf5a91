"""Who may see what: Airflow's own answers, of its auth manager, for the user of the request."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AssetDetails, DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep  # noqa: TC002  # FastAPI asks for it
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_asset, requires_access_dag
from airflow.models.asset_state_store import AssetStateStoreModel
from fastapi import Depends, HTTPException, Request
from sqlalchemy import select

__all__ = ["ReadableAssets", "ReadableDags", "may_read_assets", "may_read_tasks", "signed_in"]

signed_in = Depends(get_user)
"""Somebody whom Airflow knows."""

may_read_tasks = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_INSTANCE))
"""As Airflow's own API of task state: the right to read task instances, of ``dag_id`` if the request names one."""


def _require_plain_id(request: Request) -> None:
    """An auth manager gets the id as it is spelt: to it ``+7`` or ``7.0`` might be another asset than ``7``."""
    spelt = request.path_params.get("asset_id", "0")
    if not (spelt.isascii() and spelt.isdecimal() and spelt == str(int(spelt))):
        raise HTTPException(404, "there is no such asset")


def _require_asset(
    _plain: Annotated[None, Depends(_require_plain_id)],
    _allowed: Annotated[None, Depends(requires_access_asset(method="GET"))],
) -> None:
    """First the one, then the other."""


may_read_assets = Depends(_require_asset)
"""As Airflow's own API of asset state: the right to read assets, or the one whose id is in the path."""


def _readable_dags(user: GetUserDep) -> set[str]:
    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def _readable_assets(user: GetUserDep, session: SessionDep) -> set[int]:
    """Of the assets that have state: Airflow 3.3 has no list of those that a user may read."""
    manager = get_auth_manager()
    if hasattr(manager, "get_authorized_assets"):
        return set(manager.get_authorized_assets(user=user, method="GET"))
    ids = session.scalars(select(AssetStateStoreModel.asset_id).distinct())
    return {
        each
        for each in ids
        if manager.is_authorized_asset(method="GET", details=AssetDetails(id=str(each)), user=user)
    }


ReadableDags = Annotated[set[str], Depends(_readable_dags)]
ReadableAssets = Annotated[set[int], Depends(_readable_assets)]
