"""The root source in memory keeps the contract."""

from __future__ import annotations

import pytest

from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.testing.root_source import RootSourceContract


class TestMemoryRoots(RootSourceContract):
    @pytest.fixture
    def core_store(self):
        return MemoryCoreStore()

    @pytest.fixture
    def root_source(self, core_store):
        return MemoryRootSource(core_store)

    @pytest.fixture
    def put_row(self, core_store):
        return lambda address, key, text: core_store.set(address, key, text, expires_at=None)

    @pytest.fixture
    def drop_row(self, core_store):
        return core_store.delete
