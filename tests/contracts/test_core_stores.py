from __future__ import annotations

import pytest

from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.testing.core_store import CoreStoreContract
from tests.postgres_server import postgres_url

__all__ = ["postgres_url"]


class TestMemory(CoreStoreContract):
    @pytest.fixture
    def core_store(self):
        return MemoryCoreStore()


class TestSqliteFile(CoreStoreContract):
    @pytest.fixture
    def core_store(self, tmp_path):
        store = SqlCoreStore(f"sqlite:///{tmp_path}/state.db")
        yield store
        store.close()


class TestPostgres(CoreStoreContract):
    @pytest.fixture
    def core_store(self, postgres_url):
        store = SqlCoreStore(postgres_url)
        yield store
        store.close()
