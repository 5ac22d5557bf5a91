from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from offload_backend import NEVER_EXPIRE
from offload_backend.address import TaskAddress
from offload_backend.errors import ConfigError, InvalidKeyError, UnsupportedValueError
from tests.state.conftest import BIG

TASK = TaskAddress("dag", "run", "task")
SOON = timedelta(seconds=5)


def expiry(local, key="key"):
    """When the row expires, as seconds from now."""
    expires_at = local.core_store.get(TASK, key).expires_at
    return None if expires_at is None else expires_at - datetime.now(timezone.utc)


@pytest.mark.parametrize("value", [False, 0, "", [], {}, "text", 1.5, {"a": [1, None, "é"]}, BIG], ids=repr)
def test_get_returns_what_was_set(places, value):
    with places.open() as stores:
        stores.task_store("dag", "run", "task").set("key", value)
    with places.open() as stores:
        got = stores.task_store("dag", "run", "task").get("key")
    assert got == value
    assert type(got) is type(value)


def test_a_missing_key_gives_none_or_the_default(task_store):
    assert task_store.get("key") is None
    assert task_store.get("key", "default") == "default"


@pytest.mark.parametrize("value", [False, 0, "", [], {}])
def test_a_falsy_value_is_not_the_default(task_store, value):
    task_store.set("key", value)
    assert task_store.get("key", "default") == value


def test_none_is_refused_as_a_value(task_store, local):
    with pytest.raises(ValueError, match="None"):
        task_store.set("key", None)
    assert list(local.core_store.rows()) == []


def test_a_value_that_nothing_holds_is_refused_and_nothing_changes(task_store, local):
    task_store.set("key", BIG)
    with pytest.raises(UnsupportedValueError, match=r'value\["rows"\]\[3\]') as caught:
        task_store.set("key", {"rows": [1, 2, 3, object()]})
    assert (caught.value.address, caught.value.key) == (TASK, "key")
    assert task_store.get("key") == BIG
    assert len(local.blobs()) == 1


def test_values_survive_retries_and_are_invisible_to_other_runs_and_tasks(places):
    first_attempt = places.open().task_store("dag", "run", "task")
    first_attempt.set("key", BIG)
    assert places.open().task_store("dag", "run", "task").get("key") == BIG
    for other in [("dag", "run2", "task"), ("dag", "run", "task2"), ("dag2", "run", "task")]:
        assert places.open().task_store(*other).get("key") is None


def test_map_indices_and_regions_do_not_see_each_other(stores):
    region = UUID("01890000-0000-7000-8000-000000000001")
    for index in (-1, 0, 1):
        stores.task_store("dag", "run", "task", index).set("key", index)
        stores.task_store("dag", "run", "task", index, region_id=region).set("key", [index])
    for index in (-1, 0, 1):
        assert stores.task_store("dag", "run", "task", map_index=index).get("key") == index
        assert stores.task_store("dag", "run", "task", index, region_id=region).get("key") == [index]


def test_delete_does_nothing_for_a_missing_key(task_store):
    task_store.set("other", 1)
    task_store.delete("key")
    task_store.set("key", BIG)
    task_store.delete("key")
    task_store.delete("key")
    assert task_store.get("key") is None
    assert task_store.get("other") == 1


def test_clear_clears_this_map_index_only(stores):
    for index in (0, 1):
        stores.task_store("dag", "run", "task", index).set("a", BIG)
        stores.task_store("dag", "run", "task", index).set("b", index)
    stores.task_store("dag", "run", "task", 0).clear()
    assert stores.task_store("dag", "run", "task", 0).get("a") is None
    assert stores.task_store("dag", "run", "task", 0).get("b") is None
    assert stores.task_store("dag", "run", "task", 1).get("a") == BIG


def test_clear_of_all_map_indices_clears_every_one_of_this_task_and_run(stores):
    for index in (-1, 0, 1):
        stores.task_store("dag", "run", "task", index).set("key", BIG)
    stores.task_store("dag", "run2", "task").set("key", BIG)
    stores.task_store("dag", "run", "task", 0).clear(all_map_indices=True)
    assert [stores.task_store("dag", "run", "task", index).get("key") for index in (-1, 0, 1)] == [None] * 3
    assert stores.task_store("dag", "run2", "task").get("key") == BIG


def test_a_key_expires_after_its_retention(task_store, local):
    task_store.set("key", 1, retention=timedelta(hours=6))
    assert timedelta(hours=6) - SOON < expiry(local) <= timedelta(hours=6)


def test_a_key_never_expires_if_the_retention_says_so(task_store, local):
    task_store.set("key", 1)
    task_store.set("key", 1, retention=NEVER_EXPIRE)
    assert expiry(local) is None


def test_a_key_expires_after_thirty_days_by_default(task_store, local):
    task_store.set("key", 1)
    assert timedelta(days=30) - SOON < expiry(local) <= timedelta(days=30)


def test_a_default_of_no_days_is_never(local):
    local.open(default_retention_days=0).task_store("dag", "run", "task").set("key", 1)
    assert expiry(local) is None


def test_a_retention_counts_even_if_the_default_is_never(local):
    stores = local.open(default_retention_days=0)
    stores.task_store("dag", "run", "task").set("key", 1, retention=timedelta(days=2))
    assert timedelta(days=2) - SOON < expiry(local) <= timedelta(days=2)


@pytest.mark.parametrize("days", ["-1", "three", "1.5"])
def test_a_default_that_is_no_number_of_days_is_an_error(local, monkeypatch, days):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS", days)
    with pytest.raises(ConfigError, match="default_retention_days") as caught:
        local.open()
    assert isinstance(caught.value, ValueError)


def test_changing_the_default_leaves_written_rows_alone(local, monkeypatch):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS", "7")
    local.open().task_store("dag", "run", "task").set("old", 1)
    before = local.core_store.get(TASK, "old").expires_at
    monkeypatch.setenv("AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS", "90")
    local.open().task_store("dag", "run", "task").set("new", 1)
    assert local.core_store.get(TASK, "old").expires_at == before
    assert timedelta(days=6) < expiry(local, "old") < timedelta(days=8)
    assert timedelta(days=89) < expiry(local, "new") < timedelta(days=91)


@pytest.mark.parametrize("retention", [30, True, 1.5, "30", datetime(2031, 1, 1, tzinfo=timezone.utc)], ids=repr)
def test_a_retention_of_another_type_is_an_error_before_anything_is_written(task_store, local, retention):
    with pytest.raises(TypeError, match="timedelta or NEVER_EXPIRE"):
        task_store.set("key", BIG, retention=retention)
    assert list(local.core_store.rows()) == []
    assert local.blobs() == []


@pytest.mark.parametrize("retention", [timedelta(0), timedelta(days=-1)])
def test_a_key_without_time_left_has_expired_but_is_readable_until_it_is_removed(task_store, local, retention):
    task_store.set("key", 1, retention=retention)
    assert expiry(local) <= timedelta(0)
    assert task_store.get("key") == 1


def test_a_retention_beyond_the_calendar_says_what_to_use_instead(task_store, local):
    with pytest.raises(ValueError, match="NEVER_EXPIRE"):
        task_store.set("key", BIG, retention=timedelta(days=365 * 9000))
    assert local.blobs() == []


def test_success_keeps_the_state_by_default(stores, task_store):
    with stores.task_store("dag", "run", "task") as inside:
        inside.set("key", BIG)
    assert task_store.get("key") == BIG


def test_success_clears_the_task_store_only_if_so_configured(local, monkeypatch):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    stores = local.open()
    stores.task_store("dag", "run", "task", 1).set("key", BIG)
    with stores.task_store("dag", "run", "task", 0) as task_store:
        task_store.set("key", BIG)
        stores.asset_store(name="orders").set("watermark", BIG)
    assert stores.task_store("dag", "run", "task", 0).get("key") is None
    assert stores.task_store("dag", "run", "task", 1).get("key") == BIG
    assert stores.asset_store(name="orders").get("watermark") == BIG


def test_failure_keeps_the_state_for_the_retry(local):
    stores = local.open(clear_on_success=True)

    def fail():
        with stores.task_store("dag", "run", "task") as task_store:
            task_store.set("key", BIG)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert stores.task_store("dag", "run", "task").get("key") == BIG


def test_a_long_key_is_refused_before_anything_is_written(task_store, local):
    task_store.set("\U0001f600" * 512, BIG)
    with pytest.raises(InvalidKeyError, match="513"):
        task_store.set("k" * 513, BIG)
    assert len(local.blobs()) == 1


@pytest.mark.parametrize(
    "key", ["", ".", "..", "a/b", "../../etc/passwd", "x.gz", "x.zip", "line\nbreak", "\ud800", "nul\0"]
)
def test_any_key_works(places, key):
    task_store = places.open().task_store("dag", "run", "task")
    task_store.set(key, BIG)
    task_store.set("other", 1)
    assert task_store.get(key) == BIG
    task_store.delete(key)
    assert task_store.get(key) is None
    assert task_store.get("other") == 1


def test_a_key_of_another_type_is_an_error(task_store):
    with pytest.raises(TypeError, match="str"):
        task_store.set(1, "value")


def test_a_users_dictionary_that_looks_like_an_envelope_is_a_value(task_store):
    for value in ({"__airflow_state_ref__": "s3://bucket/key"}, {"a": {"__airflow_state_ref__": "1"}}):
        task_store.set("key", value)
        assert task_store.get("key") == value


def test_small_values_are_plain_json_in_the_row_and_large_ones_a_ref(task_store, local):
    task_store.set("small", {"step": 4})
    task_store.set("large", BIG)
    assert json.loads(local.core_store.get(TASK, "small").text) == {"step": 4}
    ref = json.loads(local.core_store.get(TASK, "large").text)["__airflow_state_ref__"]
    assert ref.startswith(f"file://{local.path}/v1/default/task/dag/run/task/-1/large/")


def test_superseded_deleted_and_cleared_blobs_go_at_once(task_store, local):
    for number in range(3):
        task_store.set("a", [BIG, number])
        assert len(local.blobs()) == 1
    task_store.set("b", BIG)
    task_store.set("a", "small")
    assert len(local.blobs()) == 1
    task_store.delete("b")
    assert local.blobs() == []
    task_store.set("a", BIG)
    task_store.set("b", BIG)
    task_store.clear()
    assert local.blobs() == []


def test_nothing_is_deleted_if_blobs_are_never_to_be_reclaimed(local):
    task_store = local.open(reclaim="never").task_store("dag", "run", "task")
    task_store.set("key", BIG)
    task_store.set("key", [BIG])
    task_store.delete("key")
    assert len(local.blobs()) == 2


def test_the_representations_name_the_state_and_hold_no_value(stores):
    assert repr(stores.task_store("dag", "run", "task", 3)) == "<TaskStore of task dag.task [3] run run>"
    assert repr(stores.asset_store(name="orders")) == "<AssetStore of asset 'orders'>"
    assert repr(stores.asset_stores(["orders"])) == "<AssetStores of asset 'orders'>"
