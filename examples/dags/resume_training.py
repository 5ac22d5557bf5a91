"""A model is trained; the next attempt of a task that was killed goes on from the last checkpoint.

A value holds what the loop needs to go on, all of it, so that one `set` commits one whole state: model, step,
and the state of the random numbers. Arrays, tensors and dictionaries of them are stored as they are.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

STEPS, SAVE_EVERY = 60, 10


def new_state():
    import numpy  # here: DAG files are read often, by processes that train nothing

    return {"step": 0, "weights": numpy.zeros((200, 100)), "chance": numpy.random.default_rng(7)}


def learn(state):
    """One step, in place."""
    batch = state["chance"].normal(1.0, 0.1, state["weights"].shape)
    state["weights"] += 0.1 * (batch - state["weights"])
    state["step"] += 1


with DAG("resume_training", schedule=None, default_args={"retries": 3}):

    @task
    def train(task_state_store=None):
        state = task_state_store.get("checkpoint") or new_state()
        began_at = state["step"]
        while state["step"] < STEPS:
            learn(state)
            if state["step"] % SAVE_EVERY == 0:
                task_state_store.set("checkpoint", state)
        return {"began_at": began_at, "mean": float(state["weights"].mean())}

    train()
