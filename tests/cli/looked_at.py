"""A deployment with state of every sort, for the verbs that look."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, text

from offload_backend import NEVER_EXPIRE, connect
from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.ref import parse_ref
from offload_backend.row import envelope
from tests.cli.deployments import OnDisk

FIT = TaskAddress("train", "r1", "fit")
PART = TaskAddress("train", "r2", "fit", 3)
LOAD = TaskAddress("etl[new]", "r1", "load")
ORDERS = AssetAddress(name="orders")
URI = AssetAddress(uri="s3://lake/orders")
CHECKPOINT = {"epoch": 3, "weights": np.arange(40_000, dtype="float64"), "seen": (1, 2)}
HISTORY = [{"epoch": number, "loss": number / 7} for number in range(5000)]


class State(OnDisk):
    """Rows of tasks and assets, large and small, JSON and not."""

    def stores(self, **settings):
        return connect(self.path, self.core_store, reclaim="never", inline_limit=200, **settings)

    def fill(self) -> State:
        with self.stores() as stores:
            self.task(stores, FIT).set("checkpoint", CHECKPOINT, retention=timedelta(days=7))
            self.task(stores, FIT).set("history", HISTORY)
            self.task(stores, FIT).set("note", {"small": True})
            self.task(stores, PART).set("checkpoint", b"\x00\xff" * 2000, retention=NEVER_EXPIRE)
            self.task(stores, LOAD).set("page", ["p"] * 300)
            stores.asset_store(name="orders").set("watermarks", list(range(20_000)))
            stores.asset_store(uri=str(URI.uri)).set("watermarks", ["w"] * 200)
        return self

    def task(self, stores, address: TaskAddress):
        return stores.task_store(address.dag_id, address.run_id, address.task_id, address.map_index)

    def put(self, ref: str, key: str, address: StateAddress = LOAD) -> None:
        """A row with this ref, whoever could have made it."""
        rows = SqlCoreStore(self.core_store)
        rows.set(address, key, envelope(ref), expires_at=None)
        rows.close()

    def ref(self, key: str, address: StateAddress = FIT) -> str:
        rows = SqlCoreStore(self.core_store)
        found = rows.get(address, key)
        rows.close()
        assert found is not None
        return str(json.loads(found.text)["__airflow_state_ref__"])

    def blob(self, key: str, address: StateAddress = FIT) -> Path:
        """The file of a row's blob."""
        return Path(parse_ref(self.ref(key, address)).url.removeprefix("file://"))

    def age(self, key: str, age: timedelta) -> None:
        """Rows of this key were written so long ago."""
        then = datetime.now(timezone.utc) - age
        engine = create_engine(self.core_store)
        with engine.begin() as connection:
            for table in ("offload_task_state", "offload_asset_state"):
                statement = text(f"UPDATE {table} SET updated_at = :then WHERE key = :key")
                connection.execute(statement, {"then": then.strftime("%Y-%m-%d %H:%M:%S.%f"), "key": key})
        engine.dispose()

    def listed(self, *options: str) -> list[tuple[str, str]]:
        """Whose and which key, as ``offload ls`` lists them."""
        found = self.as_json("ls", *options)
        assert len(found["rows"]) <= found["matched"]
        return [(_whose(row), row["key"]) for row in found["rows"]]


def _whose(row: dict) -> str:
    if "asset" in row:
        return str(row["asset"].get("name") or row["asset"]["uri"])
    task = row["task"]
    return f"{task['dag']}/{task['run']}/{task['task']}/{task['index']}"


def damage(blob: Path, at: int) -> None:
    """One bit of the file is another."""
    data = bytearray(blob.read_bytes())
    data[at] ^= 1
    blob.write_bytes(data)
