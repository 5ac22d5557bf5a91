"""Which files have been loaded, and in which version: a large table that belongs to the asset, not to a run.

A task has the state of the assets among its inlets and outlets, by `asset_state_store[ORDERS]`; where there is
only one of them, `asset_state_store` alone is enough. It never expires. Runs that overlap would overwrite each
other's table, for a table is read, changed and written: hence max_active_runs=1.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

ORDERS = Asset("example_orders", uri="s3://shop/example-orders")
BATCH = 1_000


def listing(days):
    """Stands for the listing of a bucket: each file's name and version."""
    return {f"orders/{day:03}/{number:04}.parquet": f"v{day % 3}" for day in range(days) for number in range(1_000)}


def load(file):
    """Loads one file, so that to do it twice does no harm: its rows replace those of an earlier version."""


with DAG("asset_watermarks", schedule=None, max_active_runs=1, default_args={"retries": 3}):

    @task(outlets=[ORDERS])
    def load_what_is_new(dag_run=None, asset_state_store=None):
        seen = asset_state_store[ORDERS].get("seen", default={})
        found = listing((dag_run.conf or {}).get("days", 3))
        new = [file for file, version in found.items() if seen.get(file) != version]
        for first in range(0, len(new), BATCH):
            batch = new[first : first + BATCH]
            for file in batch:
                load(file)
            seen |= {file: found[file] for file in batch}
            asset_state_store[ORDERS].set("seen", seen)
        return {"loaded": len(new), "seen": len(seen)}

    load_what_is_new()

with DAG("asset_watermarks_report", schedule=[ORDERS]):

    @task(inlets=[ORDERS])
    def report(asset_state_store=None):
        return len(asset_state_store.get("seen", default={}))

    report()
