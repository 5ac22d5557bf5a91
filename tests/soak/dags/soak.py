"""The DAGs of the soak. Dice are thrown for each try anew: some are killed, some fail, all resume and check."""

from __future__ import annotations

import random
from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher, BaseOperator, task

from tests.soak.triggers import WATCHED, Nap, Watch
from tests.soak.witness import BRIEF, KEYS, SHARED, Witness, die_soon, writer_of

ORDERS = Asset("soak_orders", uri="s3://soak/orders")
FEED = Asset("soak_feed", uri="s3://soak/feed", watchers=[AssetWatcher(name="feed", trigger=Watch())])
DOOMED_TRIES, TRIES = 3, 8
ARGS = {"retries": TRIES, "retry_delay": timedelta(seconds=1)}
BRIEFLY = timedelta(seconds=20)


def begun(ti) -> tuple[Witness, random.Random]:
    """The witness of this task instance, and the dice of this try."""
    writer = writer_of(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
    witness = Witness(writer)
    return witness, random.Random(f"{writer} {ti.try_number} {witness.memory.count}")


def hard_work(ti, store, assets) -> int:
    """Resume, set and check; perhaps without an end."""
    witness, dice = begun(ti)
    for key in KEYS:
        witness.check(store, key)
    witness.check_shared(assets[ORDERS], SHARED[0])
    doomed = ti.try_number <= DOOMED_TRIES
    if doomed and dice.random() < 0.35:
        die_soon(dice)
    for _ in range(4):
        key = dice.choice(KEYS)
        witness.set(store, key, dice)
        witness.check(store, key)
    if dice.random() < 0.2:
        witness.delete(store, dice.choice(KEYS))
    witness.set(store, BRIEF, dice, retention=BRIEFLY)
    witness.set(assets[ORDERS], dice.choice(SHARED), dice)
    witness.check_shared(assets[ORDERS], dice.choice(SHARED))
    if doomed and dice.random() < 0.1:
        raise RuntimeError("as the dice fell")
    return witness.memory.count


class Deferring(BaseOperator):
    """Sets a checkpoint, leaves for the triggerer, and finds the checkpoint again."""

    def __init__(self, number, **options):
        super().__init__(**options)
        self.number = number

    def execute(self, context):
        witness, dice = begun(context["ti"])
        for key in KEYS:
            witness.check(context["task_state_store"], key)
            witness.set(context["task_state_store"], key, dice)
        self.defer(trigger=Nap(seconds=dice.uniform(1.0, 6.0)), method_name="resume")

    def resume(self, context, event):
        witness, dice = begun(context["ti"])
        for key in KEYS:
            witness.check(context["task_state_store"], key)
        if context["ti"].try_number <= DOOMED_TRIES and dice.random() < 0.3:
            die_soon(dice)
        witness.set(context["task_state_store"], KEYS[0], dice)
        witness.check(context["task_state_store"], KEYS[0])
        return event["slept"]


def count_of(dag_run, what):
    return list(range((dag_run.conf or {}).get(what, 1)))


for dag_id in ("soak", "soak_old"):
    with DAG(dag_id, schedule=None, default_args=ARGS, max_active_tasks=64, max_active_runs=8):

        @task
        def workers(dag_run=None):
            return count_of(dag_run, "workers")

        @task
        def nappers(dag_run=None):
            return count_of(dag_run, "nappers")

        @task(outlets=[ORDERS])
        def work(number, ti=None, task_state_store=None, asset_state_store=None):
            return hard_work(ti, task_state_store, asset_state_store)

        work.expand(number=workers())
        Deferring.partial(task_id="nap").expand(number=nappers())

with DAG("soak_reader", schedule=[FEED], default_args=ARGS, max_active_runs=2):

    @task(inlets=[FEED])
    def read_watched(ti=None, asset_state_store=None):
        witness, _ = begun(ti)
        witness.check_shared(asset_state_store[FEED], WATCHED)

    read_watched()
