"""The example DAG, as it stands in ``examples/``: this folder is Airflow's dags folder."""

from __future__ import annotations

from airflow.sdk import DAG

from examples import maintenance_dag

DAGS = maintenance, verification = maintenance_dag.maintenance, maintenance_dag.verification
assert all(isinstance(dag, DAG) for dag in DAGS)
