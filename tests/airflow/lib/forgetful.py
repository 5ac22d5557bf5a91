"""A server-side backend that an operator might have: it loses rows by a rule of its own."""

from __future__ import annotations

from airflow.state import BaseStoreBackend
from airflow.state.metastore import MetastoreBackend


class ForgetfulBackend(BaseStoreBackend):
    """Airflow's own tables, but of one DAG's keys ``a`` is dropped as soon as ``b`` is written."""

    def __init__(self):
        self._metastore = MetastoreBackend()

    def get(self, scope, key, *, session=None):
        return self._metastore.get(scope, key, session=session)

    def set(self, scope, key, value, *, expires_at=None, session=None):
        self._metastore.set(scope, key, value, expires_at=expires_at, session=session)
        if key == "b" and getattr(scope, "dag_id", None) == "vanishing_forgotten":
            self._metastore.delete(scope, "a", session=session)

    def delete(self, scope, key, *, session=None):
        self._metastore.delete(scope, key, session=session)

    def clear(self, scope, *, all_map_indices=False, session=None):
        self._metastore.clear(scope, all_map_indices=all_map_indices, session=session)

    async def aget(self, scope, key, *, session=None):
        raise NotImplementedError

    async def aset(self, scope, key, value, *, expires_at=None, session=None):
        raise NotImplementedError

    async def adelete(self, scope, key, *, session=None):
        raise NotImplementedError

    async def aclear(self, scope, *, all_map_indices=False, session=None):
        raise NotImplementedError
