"""Backends of others, by dotted path as in Airflow."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import ClassVar

import pytest

from offload_backend import connect
from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.custom import BackendCoreStore
from offload_backend.errors import ConfigError, CoreStoreError, UnsupportedValueError
from offload_backend.row import ENVELOPE_KEY
from tests.state.conftest import BIG

needs_airflow = pytest.mark.skipif(find_spec("airflow") is None, reason="needs an installed Airflow")
TASK = TaskAddress("dag", "run", "task", 3)
ORDERS = AssetAddress(name="orders")


class Hooks:
    """The hooks by their released names; remembers what it was called with."""

    def __init__(self):
        self.calls = []
        self.values = {}

    def serialize_task_state_store_to_ref(self, *, value, key, scope):
        return self._keep("task", value, key, scope)

    def deserialize_task_state_store_from_ref(self, stored):
        return self.values[stored]

    def serialize_asset_state_store_to_ref(self, *, value, key, scope):
        return self._keep("asset", value, key, scope)

    def deserialize_asset_state_store_from_ref(self, stored):
        return self.values[stored]

    def _keep(self, kind, value, key, scope):
        self.calls.append((kind, key, scope))
        self.values[f"my://{kind}/{key}"] = value
        return f"my://{kind}/{key}"

    def delete(self, scope, key):
        self.calls.append(("delete", key, scope))

    def clear(self, scope, *, all_map_indices=False):
        self.calls.append(("clear", all_map_indices, scope))


class OlderHooks(Hooks):
    """The hooks by the names of the design documents."""

    serialize_task_store_to_ref = Hooks.serialize_task_state_store_to_ref
    deserialize_task_store_from_ref = Hooks.deserialize_task_state_store_from_ref
    serialize_asset_store_to_ref = Hooks.serialize_asset_state_store_to_ref
    deserialize_asset_store_from_ref = Hooks.deserialize_asset_state_store_from_ref
    serialize_task_state_store_to_ref = deserialize_task_state_store_from_ref = None
    serialize_asset_state_store_to_ref = deserialize_asset_state_store_from_ref = None


class KeepsInline(Hooks):
    def _keep(self, kind, value, key, scope):
        return None


class ReturnsNothing(Hooks):
    def _keep(self, kind, value, key, scope):
        return ""


class NoHooks:
    def delete(self, scope, key): ...

    def clear(self, scope): ...


class NeedsArguments(Hooks):
    def __init__(self, path):
        super().__init__()


class Rows:
    """A server-side backend."""

    made: ClassVar = []

    def __init__(self):
        self.rows = {}
        self.expiry = {}
        self.made.append(self)

    def get(self, scope, key):
        return self.rows.get((scope, key))

    def set(self, scope, key, value, *, expires_at=None):
        self.rows[scope, key] = value
        self.expiry[key] = expires_at

    def delete(self, scope, key):
        self.rows.pop((scope, key), None)

    def clear(self, scope, *, all_map_indices=False):
        self.rows = {place: text for place, text in self.rows.items() if place[0] != scope}


def not_a_class():
    return Hooks()


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This module by a dotted path; as if Airflow had not been imported, unless a test does so."""
    module = ModuleType("mine")
    module.__dict__.update({name: value for name, value in globals().items() if not name.startswith("__")})
    monkeypatch.setitem(sys.modules, "mine", module)
    Rows.made.clear()


@pytest.fixture
def worker(monkeypatch):
    def name(class_path, variable="AIRFLOW__WORKERS__STATE_STORE_BACKEND"):
        monkeypatch.setenv(variable, class_path)
        rows = MemoryCoreStore()
        return connect(core_store=rows), rows

    return name


@pytest.mark.parametrize("class_path", ["mine.Hooks", "mine.OlderHooks"])
@pytest.mark.parametrize("option", ["STATE_STORE_BACKEND", "STATE_BACKEND"])
def test_a_custom_backend_stores_the_values_and_its_refs_are_in_the_rows(worker, class_path, option):
    stores, rows = worker(class_path, f"AIRFLOW__WORKERS__{option}")
    task_store, asset_store = stores.task_store("dag", "run", "task", 3), stores.asset_store(name="orders")
    task_store.set("key", BIG)
    asset_store.set("mark", [BIG])
    assert json.loads(rows.get(TASK, "key").text) == {"__airflow_state_ref__": "my://task/key"}
    assert json.loads(rows.get(ORDERS, "mark").text) == {"__airflow_state_ref__": "my://asset/mark"}
    assert task_store.get("key") == BIG
    assert asset_store.get("mark") == [BIG]


def test_a_custom_backend_is_told_whose_state_it_is_and_what_was_removed(worker, monkeypatch):
    monkeypatch.delitem(sys.modules, "airflow.sdk.state", raising=False)
    stores, _ = worker("mine.Hooks")
    task_store, asset_store = stores.task_store("dag", "run", "task", 3), stores.asset_store(name="orders")
    task_store.set("key", 1)
    asset_store.set("mark", 1)
    task_store.delete("key")
    task_store.clear()
    task_store.clear(all_map_indices=True)
    asset_store.clear()
    assert stores._values._backend.calls == [
        ("task", "key", TASK),
        ("asset", "mark", ORDERS),
        ("delete", "key", TASK),
        ("clear", False, TASK),
        ("clear", True, TASK),
        ("clear", False, ORDERS),
    ]


def test_a_hook_that_returns_none_keeps_the_value_in_the_row(worker):
    stores, rows = worker("mine.KeepsInline")
    stores.task_store("dag", "run", "task", 3).set("key", {"a": [1, "é"]})
    assert json.loads(rows.get(TASK, "key").text) == {"a": [1, "é"]}
    assert stores.task_store("dag", "run", "task", 3).get("key") == {"a": [1, "é"]}


def test_a_value_kept_in_the_row_that_would_read_as_a_ref_is_refused(worker):
    stores, rows = worker("mine.KeepsInline")
    store = stores.task_store("dag", "run", "task", 3)
    with pytest.raises(UnsupportedValueError, match=ENVELOPE_KEY):
        store.set("key", {ENVELOPE_KEY: "s3://other/secret", "n": 1})
    assert list(rows.rows()) == []
    store.set("key", [{ENVELOPE_KEY: "below"}])
    assert store.get("key") == [{ENVELOPE_KEY: "below"}]


def test_a_hook_that_returns_no_text_is_an_error_and_no_lost_value(worker):
    stores, rows = worker("mine.ReturnsNothing")
    with pytest.raises(ConfigError, match="no ref"):
        stores.task_store("dag", "run", "task").set("key", 1)
    assert list(rows.rows()) == []


@pytest.mark.parametrize("option", ["STATE_STORE_BACKEND", "STATE_BACKEND"])
@pytest.mark.parametrize(
    ("class_path", "complaint"),
    [
        ("mine.Missing", "cannot be imported"),
        ("no_such_package.Backend", "cannot be imported"),
        ("Backend", "cannot be imported"),
        ("mine.not_a_class", "is not a class but function"),
        ("mine.NoHooks", "has no method serialize_task_state_store_to_ref, deserialize_task_state_store_from_ref"),
        ("mine.NeedsArguments", "cannot be built without arguments"),
    ],
)
def test_a_worker_backend_of_the_wrong_kind_is_an_error_that_names_setting_and_class(
    worker, class_path, complaint, option
):
    with pytest.raises(ConfigError, match=complaint) as caught:
        worker(class_path, f"AIRFLOW__WORKERS__{option}")
    assert f"[workers] {option.lower()}: {class_path} " in caught.value.message


def test_our_own_class_means_our_own_storage(worker, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", str(tmp_path / "blobs"))
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT", "0")
    stores, _ = worker("offload_backend.airflow.OffloadStateBackend")
    stores.task_store("dag", "run", "task").set("key", 1)
    assert len(list((tmp_path / "blobs").rglob("*.json.zst"))) == 1


def test_a_path_argument_means_our_own_storage_too(worker, tmp_path):
    worker("mine.Hooks")
    with connect(tmp_path / "blobs", "memory://", inline_limit=0) as stores:
        stores.task_store("dag", "run", "task").set("key", 1)
    assert len(list((tmp_path / "blobs").rglob("*.json.zst"))) == 1


@pytest.fixture
def rows_backend(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", "mine.Rows")
    stores = connect(tmp_path / "blobs", inline_limit=200)
    return stores, Rows.made[0]


def test_a_custom_server_side_backend_holds_the_rows(rows_backend, tmp_path):
    stores, backend = rows_backend
    task_store, asset_store = stores.task_store("dag", "run", "task", 3), stores.asset_store(name="orders")
    task_store.set("key", BIG)
    asset_store.set("mark", 1)
    assert (task_store.get("key"), asset_store.get("mark"), task_store.get("other")) == (BIG, 1, None)
    assert backend.expiry["key"] is not None
    assert backend.expiry["mark"] is None
    task_store.delete("key")
    asset_store.clear()
    assert backend.rows == {}
    assert not (tmp_path / "data-home").exists()


def test_nothing_is_deleted_on_the_word_of_a_custom_server_side_backend(rows_backend, tmp_path):
    """It cannot tell what it replaced, and what was read before may have changed since."""
    task_store = rows_backend[0].task_store("dag", "run", "task")
    task_store.set("key", BIG)
    task_store.set("key", [BIG])
    task_store.delete("key")
    assert len(list((tmp_path / "blobs").rglob("*.json.zst"))) == 2


def test_a_custom_server_side_backend_cannot_list_its_rows():
    with pytest.raises(CoreStoreError, match="cannot list"):
        BackendCoreStore("mine.Rows").rows()


def test_airflows_own_database_means_the_embedded_core_store(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", "airflow.state.metastore.MetastoreBackend")
    with connect() as stores:
        stores.task_store("dag", "run", "task").set("key", 1)
    assert (tmp_path / "data-home" / "offload-backend" / "state.db").exists()


@pytest.mark.parametrize(
    ("class_path", "complaint"),
    [("mine.NoHooks", "has no method get, set"), ("mine.not_a_class", "is not a class"), ("mine.X", "imported")],
)
def test_a_server_side_backend_of_the_wrong_kind_is_an_error(monkeypatch, class_path, complaint):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__BACKEND", class_path)
    with pytest.raises(ConfigError, match=complaint) as caught:
        connect("memory://x")
    assert f"[state_store] backend: {class_path} " in caught.value.message


@needs_airflow
def test_airflows_own_object_storage_backend_works_here(worker, monkeypatch, tmp_path):
    pytest.importorskip("airflow.providers.common.io.state_store.backend")
    from airflow.providers.common.io.state_store import backend

    for cached in (backend._get_base_path, backend._get_compression, backend._get_threshold):
        cached.cache_clear()
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", f"file://{tmp_path}/peer")
    stores, rows = worker(f"{backend.__name__}.StateStoreObjectStorageBackend")
    task_store, asset_store = stores.task_store("dag", "run", "task", 3), stores.asset_store(name="orders")
    task_store.set("key", BIG)
    asset_store.set("mark", BIG)
    assert (tmp_path / "peer/dag/run/task/3/key").exists()
    assert (task_store.get("key"), asset_store.get("mark")) == (BIG, BIG)
    assert len(list(rows.rows())) == 2
    task_store.delete("key")
    asset_store.clear()
    assert [file for file in (tmp_path / "peer").rglob("*") if file.is_file()] == []


@needs_airflow
def test_a_class_with_the_older_names_is_not_shadowed_by_the_defaults_it_inherits(worker):
    from airflow.sdk.state import BaseStoreBackend, TaskScope

    def do_nothing(self, *args, **kwargs): ...

    abstract = dict.fromkeys(BaseStoreBackend.__abstractmethods__, do_nothing)
    names = ("serialize_task_store_to_ref", "deserialize_task_store_from_ref", "__init__", "_keep")
    own = {name: vars(OlderHooks).get(name) or vars(Hooks)[name] for name in names}
    sys.modules["mine"].Derived = type("Derived", (BaseStoreBackend,), {**abstract, **own})
    stores, _ = worker("mine.Derived")
    stores.task_store("dag", "run", "task", 3).set("key", BIG)
    assert stores._values._backend.calls == [("task", "key", TaskScope("dag", "run", "task", 3))]
    assert stores.task_store("dag", "run", "task", 3).get("key") == BIG


@needs_airflow
@pytest.mark.parametrize("module", ["airflow.sdk.state", "airflow.state"])
def test_a_backend_gets_the_scopes_of_the_airflow_it_was_written_for(monkeypatch, module):
    """The server's TaskScope and the SDK's are different classes, and backends match on them."""
    state = pytest.importorskip(module)

    def do_nothing(self, *args, **kwargs): ...

    abstract = dict.fromkeys(state.BaseStoreBackend.__abstractmethods__, do_nothing)
    sys.modules["mine"].Derived = type("Derived", (state.BaseStoreBackend,), {**abstract, **vars_of(Rows)})
    core_store = BackendCoreStore("mine.Derived")
    core_store.set(TASK, "key", "1", expires_at=None)
    core_store.set(ORDERS, "key", "2", expires_at=None)
    scopes = [scope for scope, _ in Rows.made[0].rows]
    assert scopes == [state.TaskScope("dag", "run", "task", 3), state.AssetScope(name="orders")]
    assert [type(scope) for scope in scopes] == [state.TaskScope, state.AssetScope]


def vars_of(kind):
    return {name: value for name, value in vars(kind).items() if callable(value) or name == "made"}
