"""How the task of dags/resume_training.py is tested: an attempt is a call, and storage fails when it is told to.

pip install 'offload-backend[airflow,testing]' numpy
pytest examples/test_resume_training.py
"""

from __future__ import annotations

import pytest
from dags import resume_training

from offload_backend.errors import StoreError


@pytest.fixture
def train(offload_airflow):
    task = offload_airflow.task("train", dag_id="resume_training")
    return lambda: task.run(resume_training.train)


@pytest.fixture
def undisturbed(offload_airflow):
    return offload_airflow.task("train", run_id="undisturbed").run(resume_training.train)


@pytest.mark.offload_leaves("orphans")  # the fourth checkpoint has a blob, and no row
def test_a_kill_costs_what_was_done_since_the_last_checkpoint(undisturbed, train, offload_faults):
    assert undisturbed["began_at"] == 0
    offload_faults.kill_before_row(after=3)
    with pytest.raises(offload_faults.Killed):
        train()
    assert train() == {"began_at": 30, "mean": undisturbed["mean"]}


def test_storage_that_fails_fails_the_attempt_and_the_next_one_goes_on(undisturbed, train, offload_faults):
    offload_faults.fail_upload(after=2)
    with pytest.raises(StoreError):
        train()
    assert train() == {"began_at": 20, "mean": undisturbed["mean"]}
