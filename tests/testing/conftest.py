"""The state under test, with the stores of ``connect()`` and with Airflow's own."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(params=["offload_state", "offload_airflow"])
def state(request):
    if request.param == "offload_airflow" and find_spec("airflow") is None:
        pytest.skip("Airflow is not installed here: run `make test`")
    return request.getfixturevalue(request.param)
