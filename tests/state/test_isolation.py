"""A ref that somebody copied into another row: it is not read there, and with that row no blob goes."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.errors import ForeignRefError
from tests.state.conftest import BIG

REGION = UUID(int=7)
ROW = (TaskAddress("dag", "run", "task"), "mine")
ASSET = (AssetAddress(name="orders"), "mine")
OTHERS = [
    (TaskAddress("dag", "run", "task"), "another key"),
    (TaskAddress("dag", "run", "task", 1), "mine"),
    (TaskAddress("dag", "run", "task", -1, REGION), "mine"),
    (TaskAddress("dag", "run", "other"), "mine"),
    (TaskAddress("dag", "other", "task"), "mine"),
    (TaskAddress("other", "run", "task"), "mine"),
    (TaskAddress("d" * 200, "run", "task"), "mine"),
    (AssetAddress(name="orders"), "mine"),
    (AssetAddress(uri="orders"), "mine"),
    (AssetAddress(name="orders"), "another key"),
]


def store_of(stores, address):
    if isinstance(address, AssetAddress):
        return stores.asset_store(name=address.name, uri=address.uri)
    task = stores.task_store(address.dag_id, address.run_id, address.task_id, map_index=address.map_index)
    task._namespace.address = address  # without Airflow there are no regions, but rows of Airflow's have them
    return task


def forge(places, victim, row):
    """The victim's value; and then the row's text is a copy of the victim's row's."""
    stores = places.open()
    store_of(stores, victim[0]).set(victim[1], BIG)
    copied = places.core_store.get(*victim).text
    places.core_store.set(*row, copied, expires_at=None)
    return stores


COPIES = [(victim, row) for victim in OTHERS for row in (ROW, ASSET) if victim != row]


@pytest.mark.parametrize(("victim", "row"), COPIES, ids=str)
def test_a_ref_resolves_in_its_own_row_alone(local, victim, row):
    stores = forge(local, victim, row)
    with pytest.raises(ForeignRefError) as caught:
        store_of(stores, row[0]).get(row[1])
    assert "isolation" in caught.value.hint
    assert store_of(stores, victim[0]).get(victim[1]) == BIG


def test_under_isolation_by_deployment_a_ref_resolves_in_any_row(local):
    forge(local, OTHERS[5], ROW)
    assert store_of(local.open(isolation="deployment"), ROW[0]).get("mine") == BIG


def is_spared(victim, row, act):
    """Whether the victim's own row is none of those that go."""
    if act == "clear all" and isinstance(victim[0], TaskAddress):
        return (victim[0].dag_id, victim[0].run_id, victim[0].task_id) != ("dag", "run", "task")
    return victim[0] != row[0] or act in ("delete", "overwrite", "overwrite by inline")


ACTS = [
    *((act, row) for act in ("delete", "overwrite", "overwrite by inline", "clear") for row in (ROW, ASSET)),
    *((act, ROW) for act in ("clear all", "succeed")),
]
FATES = [(victim, row, act) for act, row in ACTS for victim in OTHERS if (victim, row) in COPIES]


@pytest.mark.parametrize(("victim", "row", "act"), [fate for fate in FATES if is_spared(*fate)], ids=str)
def test_whatever_becomes_of_a_forged_row_the_victims_blob_stays(local, victim, row, act):
    forge(local, victim, row)
    stores = local.open(isolation="deployment")  # where it would even be read
    do(act, store_of(stores, row[0]), row[1])
    assert store_of(stores, victim[0]).get(victim[1]) == BIG


def do(act, store, key):
    match act:
        case "delete":
            store.delete(key)
        case "overwrite":
            store.set(key, [BIG])
        case "overwrite by inline":
            store.set(key, 1)
        case "clear":
            store.clear()
        case "clear all":
            store.clear(all_map_indices=True)
        case "succeed":
            store._clear_on_success = True
            with store:
                pass


def test_what_is_ones_own_goes_with_its_row(places):
    stores = places.open()
    for number, address in enumerate([*(address for address, _ in OTHERS[:3]), AssetAddress(uri="x" * 300)]):
        store = store_of(stores, address)
        for key in ("gone", "replaced", "cleared"):
            store.set(key, [BIG, number])
        store.delete("gone")
        store.set("replaced", number)
        assert len(places.blobs()) == 1, address
        store.clear()
        assert places.blobs() == []


def test_clearing_all_map_indices_gives_back_the_space_of_every_region(places):
    stores = places.open()
    for address, _ in OTHERS[:5]:
        store_of(stores, address).set("k", [BIG, str(address)])
    store_of(stores, ROW[0]).clear(all_map_indices=True)
    assert {path.parts[-5] for path in places.blobs()} == {"run", "other"}
    assert len(places.blobs()) == 2


THEIRS = {
    "dag/run/task/-1/mine": True,
    "dag/run/task/-1/mine.gz": True,
    "above/their/path/dag/run/task/-1/mine": True,
    "dag/run/task/1/mine": False,
    "dag/run/region=00000000-0000-0000-0000-000000000007/task/-1/mine": False,
    "dag/run/other/-1/mine": False,
    "dag/other/task/-1/mine": False,
    "other/run/task/-1/mine": False,
    "assets/orders/mine": False,
    "assets/run/task/-1/mine": False,
    "run/task/-1/mine": False,
    "dag/run/task/-1/deeper/mine": False,
    "mine": False,
}


@pytest.mark.parametrize(("name", "is_own"), THEIRS.items())
def test_a_bare_url_of_the_peers_resolves_for_the_task_in_its_name(local, name, is_own):
    file = Path(local.path, name)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(BIG))
    row = json.dumps({"__airflow_state_ref__": file.as_uri()})
    local.core_store.set(*ROW, row, expires_at=None)
    task = local.open().task_store("dag", "run", "task")
    if is_own:
        assert task.get("mine") == BIG
    else:
        with pytest.raises(ForeignRefError):
            task.get("mine")


@pytest.mark.parametrize("asset", [{"name": "s3://a/é"}, {"uri": "s3://a/é"}], ids=str)
def test_a_bare_url_of_the_peers_resolves_for_the_asset_whose_name_or_uri_it_has(local, asset):
    file = Path(local.path, "assets", "s3%3A%2F%2Fa%2F%C3%A9", "mine")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(BIG))
    row = json.dumps({"__airflow_state_ref__": f"file://{file}"})
    local.core_store.set(AssetAddress(**asset), "mine", row, expires_at=None)
    assert local.open().asset_store(**asset).get("mine") == BIG


def test_a_bare_url_with_a_region_resolves_for_the_task_in_that_region(local):
    file = Path(local.path, f"dag/run/region={REGION}/task/3/mine")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(BIG))
    address = TaskAddress("dag", "run", "task", 3, REGION)
    local.core_store.set(address, "mine", json.dumps({"__airflow_state_ref__": f"file://{file}"}), expires_at=None)
    assert store_of(local.open(), address).get("mine") == BIG
