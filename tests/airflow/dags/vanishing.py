"""DAGs whose tasks write state that the server then loses, or does not.

Every value tells where it was written, so that a test knows what a row has to resolve to. A run's ``conf``
may say how the task ends (``"end"``: ``failed`` or ``skipped``), how long the rows last (``"seconds"``) and
what to read instead of writing (``"read"``: a key; what it holds becomes the task's XCom).
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

KEYS = ("a", "b")
ENDS = {"failed": AirflowFailException, "skipped": AirflowSkipException}
NAMES = ("kept", "trimmed", "cleared", "put", "swept", "erased")
KEPT, *ASSETS, SWEPT, ERASED = (Asset(f"vanishing_{name}", uri=f"s3://vanishing/{name}") for name in NAMES)


def write(ti, dag_run, task_state_store):
    """Write both keys, unless the run only reads and finds something."""
    conf = dag_run.conf or {}
    found = task_state_store.get(conf["read"]) if "read" in conf else None
    options = {"retention": timedelta(seconds=conf["seconds"])} if "seconds" in conf else {}
    for key in KEYS if found is None else ():
        value = [ti.dag_id, dag_run.run_id, ti.task_id, ti.map_index, key]
        task_state_store.set(key, value, **options)
    if "end" in conf:
        raise ENDS[conf["end"]](conf["end"])
    return found


for dag_id in ("vanishing", "vanishing_by_rest", "vanishing_by_command", "vanishing_by_age", "vanishing_forgotten"):
    with DAG(dag_id, schedule=None):
        task(task_id="write")(write)()

with DAG("vanishing_group", schedule=None):

    @task_group(group_id="group")
    def group():
        @task
        def each(number, ti=None, dag_run=None, task_state_store=None):
            write(ti, dag_run, task_state_store)

        each.expand(number=[0, 1, 2])

    group()

with DAG("vanishing_resized", schedule=None):

    @task
    def numbers(ti=None):
        return list(range(3 if ti.try_number == 1 else 1))

    @task
    def resized(number, ti=None, dag_run=None, task_state_store=None):
        write(ti, dag_run, task_state_store)

    resized.expand(number=numbers())


def write_assets(asset_state_store, assets):
    """Write both keys of every asset."""
    for asset in assets:
        for key in KEYS:
            asset_state_store[asset].set(key, [asset.name, key])


with DAG("vanishing_assets", schedule=None):

    @task(outlets=[KEPT, *ASSETS])
    def touch(dag_run=None, asset_state_store=None):
        if "read" in dag_run.conf:
            return asset_state_store[KEPT].get(dag_run.conf["read"])
        return write_assets(asset_state_store, [KEPT, *ASSETS])

    touch()

for asset in (SWEPT, ERASED):
    with DAG(asset.name, schedule=None):

        @task(outlets=[asset])
        def touch_one(task=None, asset_state_store=None):
            write_assets(asset_state_store, task.outlets)

        touch_one()
