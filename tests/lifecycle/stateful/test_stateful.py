"""Whatever happens to a deployment, all that is live resolves, quarantine is kept, and garbage goes in the end."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lifecycle.stateful.machine import MACHINES

LONG = os.environ.get("OFFLOAD_LONG") == "1"
CALM = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not LONG,
    database=None,
    print_blob=True,
)


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_live_is_lost_and_all_garbage_goes(machine) -> None:
    examples, steps = (2000, 80) if LONG else (25, 40)
    run_state_machine_as_test(machine, settings=settings(CALM, max_examples=examples, stateful_step_count=steps))
