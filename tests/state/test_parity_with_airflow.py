"""The same calls on Airflow's own accessors and on ours: the same values, or the same kind of error."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

pytest.importorskip("airflow.sdk.state")

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetNameRef, AssetUriRef
from airflow.sdk.execution_time import context, task_runner

from offload_backend import NEVER_EXPIRE
from offload_backend.address import TaskAddress
from tests.seam import TASK, Supervisor, TaskScope

ERRORS = (KeyError, TypeError, ValueError)


class Recording(Supervisor):
    """Also keeps the expiry that Airflow's worker computed."""

    def send(self, message):
        if type(message).__name__ == "SetTaskStateStore":
            self.expires_at = message.expires_at
        return super().send(message)


@pytest.fixture
def supervisor(monkeypatch):
    supervisor = Recording()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    monkeypatch.setattr(context, "_get_worker_state_store_backend", lambda: None)
    return supervisor


@pytest.fixture
def theirs(supervisor):
    return context.TaskStateStoreAccessor(ti_id=TASK, scope=TaskScope("dag", "run", "task"))


def outcome(call, *subjects):
    """What the call gives, or the kind of its error."""
    try:
        return call(*subjects)
    except ERRORS as error:
        return next(kind for kind in ERRORS if isinstance(error, kind))


VALUES = [None, False, 0, 1.5, "", "text", [], {}, {"a": [1, None, {"b": "é"}]}]
TASK_CALLS = {
    "missing key": lambda store: store.get("key"),
    "missing key with default": lambda store: store.get("key", {"a": 1}),
    "delete missing": lambda store: store.delete("key"),
    "clear nothing": lambda store: store.clear(),
    **{
        f"set {value!r}": lambda store, value=value: (store.set("key", value), store.get("key", "-"))
        for value in VALUES
    },
    "overwrite": lambda store: (store.set("key", 1), store.set("key", {"a": 2}), store.get("key")),
    "delete": lambda store: (store.set("key", 1), store.delete("key"), store.get("key", "gone")),
    "delete another": lambda store: (store.set("key", 1), store.delete("other"), store.get("key")),
    "clear": lambda store: (store.set("a", 1), store.set("b", 2), store.clear(), store.get("a"), store.get("b")),
    "positional retention": lambda store: store.set("key", 1, timedelta(1)),
}


@pytest.mark.parametrize("name", TASK_CALLS)
def test_a_task_store_does_what_airflows_does(task_store, theirs, name):
    assert outcome(TASK_CALLS[name], task_store) == outcome(TASK_CALLS[name], theirs)


RETENTIONS = [
    None,
    NEVER_EXPIRE,
    timedelta(hours=6),
    timedelta(0),
    timedelta(days=-3),
    30,
    True,
    1.5,
    "30",
    datetime(2031, 1, 1, tzinfo=timezone.utc),
]


@pytest.fixture(params=["30", "0", "1", "-1"])
def days(request, monkeypatch):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS", request.param)
    return request.param


@pytest.mark.parametrize("retention", RETENTIONS, ids=repr)
def test_a_key_expires_when_it_does_in_airflow(days, retention, local, theirs):
    def ours_expires():
        local.open().task_store("dag", "run", "task").set("key", 1, retention=retention)
        return local.core_store.get(TaskAddress("dag", "run", "task"), "key").expires_at

    def theirs_expires():
        theirs.set("key", 1, retention=retention)
        return task_runner.SUPERVISOR_COMMS.expires_at

    ours, expected = outcome(ours_expires), outcome(theirs_expires)
    if days == "-1" and retention is not None:
        # Airflow notices the wrong setting only when it needs it; connect() at once.
        assert ours is ValueError
    elif isinstance(expected, datetime):
        assert abs(ours - expected) < timedelta(seconds=5)
    else:
        assert ours == expected


ORDERS = Asset("orders", uri="s3://lake/orders")
BY_NAME, BY_URI = AssetNameRef("invoices"), AssetUriRef("s3://lake/raw")
PLACES = {
    "none": ([], []),
    "one inlet": ([ORDERS], []),
    "one outlet": ([], [ORDERS]),
    "the same on both sides": ([ORDERS], [ORDERS]),
    "the same by reference": ([ORDERS], [AssetNameRef("orders")]),
    "its uri on the other side": ([ORDERS], [AssetUriRef("s3://lake/orders")]),
    "one by uri": ([BY_URI], []),
    "one of each": ([ORDERS, BY_URI], [BY_NAME]),
    "an alias among the outlets": ([ORDERS], [AssetAlias("later")]),
    "only an alias": ([], [AssetAlias("later")]),
}
ASSET_CALLS = {
    "shorthand": lambda stores: (
        stores.set("key", 1),
        stores.get("key"),
        stores.delete("key"),
        stores.get("key", "-"),
    ),
    "shorthand clear": lambda stores: (stores.set("a", 1), stores.clear(), stores.get("a")),
    "shorthand None": lambda stores: stores.set("key", None),
    **{
        f"by {asset!r}": lambda stores, asset=asset: (stores[asset].set("key", 1), stores[asset].get("key"))
        for asset in (ORDERS, AssetNameRef("orders"), AssetUriRef("s3://lake/orders"), BY_NAME, BY_URI)
    },
    "by alias": lambda stores: stores[AssetAlias("later")],
    "by number": lambda stores: stores[1],
    "retention": lambda stores: stores.set("key", 1, retention=None),
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", ASSET_CALLS)
def test_asset_stores_do_what_airflows_do(stores, supervisor, name, places):
    ours = stores.asset_stores(*PLACES[places])
    theirs = context.AssetStateStoreAccessors(*PLACES[places])
    assert outcome(ASSET_CALLS[name], ours) == outcome(ASSET_CALLS[name], theirs)


def test_never_expire_is_the_very_object_that_airflow_compares_with():
    assert context.NEVER_EXPIRE is NEVER_EXPIRE
