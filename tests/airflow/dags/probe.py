"""Runs the code in the run's ``conf``, so that a test can be read in one place.

The code sees ``store`` (task state), ``assets`` (asset state), ``context``, ``ti``, ``conf`` and the assets
``A`` and ``B``; what it assigns to ``result`` is the task's XCom.
"""

from __future__ import annotations

import asyncio
import textwrap
from datetime import timedelta

from airflow.sdk import DAG, Asset, task

A, B = Asset("probe_a", uri="s3://probe/a"), Asset("probe_b", uri="s3://probe/b")


def _names(context):
    return {
        "A": A,
        "B": B,
        "assets": context["asset_state_store"],
        "conf": context["dag_run"].conf,
        "context": context,
        "store": context["task_state_store"],
        "ti": context["ti"],
    }


with DAG("probe", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(0)}):

    @task(outlets=[A, B])
    def sync(**context):
        names = _names(context)
        exec(context["dag_run"].conf["code"], names)
        return names.get("result")

    @task(outlets=[A, B])
    async def on_a_loop(**context):
        names = _names(context)
        body = textwrap.indent(context["dag_run"].conf["code"], "    ")
        exec(f"async def main():\n{body}\n    return locals().get('result')", names)
        return await asyncio.wait_for(names["main"](), 60)

    @task
    def mapped(number, **context):
        names = {**_names({**context, "asset_state_store": None}), "number": number}
        exec(context["dag_run"].conf["code"], names)
        return names.get("result")

    sync()
    on_a_loop()
    mapped.expand(number=[0, 1, 2])
