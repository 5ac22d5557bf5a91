"""Airflow's simple auth manager, but the account "narrow" may see neither one DAG nor one asset."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.models.asset import AssetModel
from airflow.utils.session import create_session

HIDDEN_DAG = "asset_watermark"
HIDDEN_ASSET = "probe_b"


class NarrowAuthManager(SimpleAuthManager):
    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
        if user.username == "narrow" and details is not None and details.id == HIDDEN_DAG:
            return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)

    def is_authorized_asset(self, *, method, user, details=None):
        if user.username == "narrow" and details is not None and details.id is not None:
            with create_session() as session:
                asset = session.get(AssetModel, int(details.id))
            if asset is not None and asset.name == HIDDEN_ASSET:
                return False
        return super().is_authorized_asset(method=method, user=user, details=details)

    if hasattr(BaseAuthManager, "get_authorized_assets"):  # from Airflow 3.4 on: asset by asset, as others do
        get_authorized_assets = BaseAuthManager.get_authorized_assets
