"""The last three checkpoints are kept, and the loop goes back to the oldest when the model has diverged.

The checkpointer saves every 10 steps, or after a minute if they take longer. What it tells people, under the key
"model", is readable in Airflow's UI while the task runs: {"step": 50, "checkpoints": [{"step": 30, …}, …], …}.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

from offload_backend import Checkpointer

STEPS = 100


def new_model():
    import numpy

    return {"weights": numpy.ones((200, 100)), "rate": 0.5, "loss": 1.0}


def learn(model):
    """One step, in place; the loss. The rate grows by itself, until at last it is too large."""
    model["weights"] *= 1 - model["rate"]
    model["rate"] *= 1.02
    return float((model["weights"] ** 2).mean())


with DAG("keep_last_three", schedule=None, default_args={"retries": 3}):

    @task
    def train(task_state_store=None):
        with Checkpointer(task_state_store, "model", every=10, seconds=60, keep=3) as checkpoint:
            model = checkpoint.resume(start=new_model)
            began_at = checkpoint.step
            while checkpoint.step < STEPS:
                loss = learn(model)
                if loss > model["loss"]:  # diverged: its changes are not offered, so they are in no checkpoint
                    rate = model["rate"] / 4
                    oldest = min(checkpoint.saved_steps, default=None)
                    model = checkpoint.resume(start=new_model, step=oldest)
                    model["rate"] = rate
                    continue
                model["loss"] = loss
                checkpoint.offer(model)
        return {"began_at": began_at, "saved": checkpoint.saved_steps, "rate": round(model["rate"], 6)}

    train()
