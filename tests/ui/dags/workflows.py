"""DAGs and assets whose state the page shows."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

ORDERS = Asset("orders", uri="s3://shop/orders")
HIDDEN = Asset("probe_b", uri="s3://probe/b")

with DAG("train_forecast", schedule=None):

    @task
    def fit():
        pass

    @task
    def evaluate(fold):
        pass

    fit()
    evaluate.expand(fold=[0, 1, 2])

with DAG("ingest_orders", schedule=None):

    @task(outlets=[ORDERS, HIDDEN])
    def load(asset_state_store=None, task_state_store=None):
        asset_state_store[ORDERS].set("watermark", {"rows": list(range(40_000)), "source": "really run"})
        task_state_store.set("pages", {"done": list(range(30_000))})

    load()

with DAG("asset_watermark", schedule=None):

    @task
    def payroll():
        pass

    payroll()
