from __future__ import annotations

from types import SimpleNamespace

import pytest

from offload_backend.address import AssetAddress
from tests.state.conftest import BIG


def test_an_asset_keeps_its_state_across_runs_and_never_expires(places):
    places.open().asset_store(name="orders").set("watermark", BIG)
    places.open().asset_store(uri="s3://lake/orders").set("watermark", 2)
    assert places.open().asset_store(name="orders").get("watermark") == BIG
    assert places.open().asset_store(uri="s3://lake/orders").get("watermark") == 2
    assert [row.expires_at for row in places.core_store.rows()] == [None, None]


def test_get_gives_the_default_for_a_missing_key(stores):
    assert stores.asset_store(name="orders").get("key") is None
    assert stores.asset_store(name="orders").get("key", 0) == 0


def test_two_assets_whose_name_and_uri_are_equal_strings_do_not_meet(stores):
    stores.asset_store(name="same").set("key", BIG)
    stores.asset_store(uri="same").set("key", [BIG])
    stores.asset_store(uri="same").clear()
    assert stores.asset_store(name="same").get("key") == BIG


def test_a_dag_named_assets_does_not_meet_an_asset(stores):
    stores.task_store("assets", "orders", "key").set("key", BIG)
    stores.asset_store(name="orders").set("key", [BIG])
    stores.asset_store(name="orders").clear()
    assert stores.task_store("assets", "orders", "key").get("key") == BIG


def test_delete_and_clear_concern_this_asset(stores, local):
    orders, other = stores.asset_store(name="orders"), stores.asset_store(name="other")
    for store in (orders, other):
        store.set("a", BIG)
        store.set("b", BIG)
    orders.delete("a")
    orders.delete("a")
    assert (orders.get("a"), orders.get("b")) == (None, BIG)
    orders.clear()
    assert orders.get("b") is None
    assert (other.get("a"), other.get("b")) == (BIG, BIG)
    assert len(local.blobs()) == 2


def test_an_asset_store_takes_no_retention_and_no_none(stores):
    with pytest.raises(TypeError, match="retention"):
        stores.asset_store(name="orders").set("key", 1, retention=None)
    with pytest.raises(ValueError, match="None"):
        stores.asset_store(name="orders").set("key", None)


@pytest.mark.parametrize("wrong", [{}, {"name": ""}, {"name": "a", "uri": "b"}])
def test_an_asset_has_either_a_name_or_a_uri(stores, wrong):
    with pytest.raises(ValueError, match="a name or a uri"):
        stores.asset_store(**wrong)


def test_inlets_and_outlets_are_available(stores):
    asset_stores = stores.asset_stores(inlets=["orders"], outlets=["invoices"])
    asset_stores["orders"].set("watermark", 1)
    asset_stores["invoices"].set("watermark", 2)
    assert stores.asset_store(name="orders").get("watermark") == 1
    assert stores.asset_store(name="invoices").get("watermark") == 2
    with pytest.raises(KeyError, match="payments"):
        asset_stores["payments"]


@pytest.mark.parametrize(
    "places",
    [{"inlets": ["orders"]}, {"outlets": ["orders"]}, {"inlets": ["orders"] * 2, "outlets": ["orders"]}],
)
def test_the_only_asset_need_not_be_named(stores, places):
    asset_stores = stores.asset_stores(**places)
    asset_stores.set("a", 1)
    asset_stores.set("b", 2)
    assert stores.asset_store(name="orders").get("a") == 1
    assert asset_stores.get("missing", "default") == "default"
    asset_stores.delete("a")
    assert (asset_stores.get("a"), asset_stores.get("b")) == (None, 2)
    asset_stores.clear()
    assert asset_stores.get("b") is None


@pytest.mark.parametrize("places", [{}, {"inlets": ["a", "b"]}, {"inlets": ["a"], "outlets": ["b"]}])
def test_without_exactly_one_concrete_asset_it_has_to_be_named(stores, places):
    asset_stores = stores.asset_stores(**places)
    for call in (
        lambda: asset_stores.get("key"),
        lambda: asset_stores.set("key", 1),
        lambda: asset_stores.delete("key"),
        asset_stores.clear,
    ):
        with pytest.raises(ValueError, match=rf"the task has {len(asset_stores)} concrete inlets and outlets"):
            call()


def test_airflows_own_asset_objects_are_understood(stores):
    sdk = pytest.importorskip("airflow.sdk")
    from airflow.sdk.definitions.asset import AssetNameRef, AssetUriRef

    orders = sdk.Asset("orders", uri="s3://lake/orders")
    asset_stores = stores.asset_stores([orders, AssetUriRef("s3://lake/raw")], [AssetNameRef("invoices")])
    for number, asset in enumerate((orders, AssetUriRef("s3://lake/raw"), AssetNameRef("invoices"))):
        asset_stores[asset].set("key", number)
    assert asset_stores[AssetNameRef("orders")].get("key") == 0
    assert stores.asset_store(uri="s3://lake/raw").get("key") == 1
    assert stores.asset_store(name="invoices").get("key") == 2
    with pytest.raises(KeyError):
        asset_stores[AssetUriRef("s3://lake/orders")]


def test_an_alias_is_not_a_concrete_asset(stores):
    sdk = pytest.importorskip("airflow.sdk")
    alias = sdk.AssetAlias("later")
    asset_stores = stores.asset_stores([alias, "orders"], [alias])
    asset_stores.set("key", 1)
    assert stores.asset_store(name="orders").get("key") == 1
    with pytest.raises(TypeError, match="alias"):
        asset_stores[alias]


def test_objects_with_a_name_or_a_uri_and_addresses_are_assets(stores):
    by_name, by_uri = SimpleNamespace(name="orders"), SimpleNamespace(name=None, uri="s3://lake/raw")
    asset_stores = stores.asset_stores([by_name], [by_uri])
    asset_stores[AssetAddress(name="orders")].set("key", 1)
    asset_stores[AssetAddress(uri="s3://lake/raw")].set("key", 2)
    assert asset_stores["orders"].get("key") == 1
    assert asset_stores[by_uri].get("key") == 2


@pytest.mark.parametrize("wrong", [1, "", object()])
def test_what_is_no_asset_is_a_type_error(stores, wrong):
    with pytest.raises(TypeError, match="an asset is a name"):
        stores.asset_stores([wrong])
    with pytest.raises(TypeError, match="an asset is a name"):
        stores.asset_stores(["orders"])[wrong]
