"""A loop, which Airflow has since 3.4: each iteration has state of its own."""

from __future__ import annotations

from airflow import sdk

if hasattr(sdk, "LoopDecision"):
    with sdk.DAG("vanishing_loop", schedule=None):

        @sdk.task_group(group_id="again")
        def again():
            @sdk.task
            def step(*, loop, ti=None, dag_run=None, task_state_store=None):
                value = [ti.dag_id, dag_run.run_id, ti.task_id, loop.index]
                for key in ("a", "b"):
                    if task_state_store.get(key) is None:
                        task_state_store.set(key, [*value, key])

            step()

        again.loop(max_iterations=2)
