"""Who is measured, and how each is configured: as its user would, by Airflow's settings alone."""

from __future__ import annotations

import json

__all__ = ["NAMES", "environment"]

OURS = "offload_backend.airflow.OffloadStateBackend"
PEER = "airflow.providers.common.io.state_store.backend.StateStoreObjectStorageBackend"
NAMES = {
    "none": "no backend",
    "ours": "offload-backend",
    "peer": "common-io",
    "peer-gzip": "common-io, gzip",
    "peer-zstd": "common-io, zstd",
    "transport": "common-io's transport alone",
    "tcp": "raw TCP",
}
_COMPRESSIONS = {"peer-gzip": "gzip", "peer-zstd": "zstd"}
_PEER_SETTING = "AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE"


def environment(contestant: str, endpoint: str, bucket: str, *, inline: bool | None = None) -> dict[str, str]:
    """Both get their credentials from the same Airflow connection, the peer's way.

    ``inline`` asks for small values in rows, or for none in rows; ``None`` leaves the defaults alone.
    """
    connection = {
        "conn_type": "aws",
        "login": "benchmark",
        "password": "benchmark-secret",
        "extra": {"endpoint_url": endpoint, "region_name": "us-east-1"},
    }
    path = f"s3://bench@{bucket}/state"
    common = {"AIRFLOW_CONN_BENCH": json.dumps(connection), "AIRFLOW__WORKERS__STATE_STORE_BACKEND": ""}
    if contestant in ("none", "tcp"):
        return common
    if contestant == "ours":
        limit = {} if inline is not False else {"AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT": "0"}
        own = {"AIRFLOW__WORKERS__STATE_STORE_BACKEND": OURS, "AIRFLOW__OFFLOAD_BACKEND__PATH": path}
        return {**common, **own, **limit}
    return {
        **common,
        "AIRFLOW__WORKERS__STATE_STORE_BACKEND": PEER,
        f"{_PEER_SETTING}_PATH": path,
        f"{_PEER_SETTING}_COMPRESSION": _COMPRESSIONS.get(contestant, ""),
        f"{_PEER_SETTING}_THRESHOLD": "65536" if inline else "0",
    }
