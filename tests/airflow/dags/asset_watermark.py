"""A watermark kept with an asset: written in one run, found by the next; and an asset that a watcher reports."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task
from watermark_trigger import WatermarkTrigger

ORDERS = Asset("orders", uri="s3://shop/orders")
FEED = Asset("feed", uri="s3://shop/feed", watchers=[AssetWatcher(name="feed", trigger=WatermarkTrigger())])

with DAG("asset_watermark", schedule=None):

    @task(outlets=[ORDERS])
    def load(dag_run=None, asset_state_store=None):
        before = asset_state_store.get("watermark", default=None)
        asset_state_store[ORDERS].set("watermark", dag_run.conf["watermark"])
        return before

    load()

# Airflow activates an asset, and starts its watchers, when a DAG is scheduled on it.
with DAG("watches_feed", schedule=[FEED]):

    @task
    def consume():
        pass

    consume()
