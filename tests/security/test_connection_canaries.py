"""An Airflow connection's password and extra come out nowhere, whatever is wrong with it."""

from __future__ import annotations

import json
import logging
import secrets

import pytest

from offload_backend.errors import OffloadError
from tests.security.canaries import Canaries, watching

pytest.importorskip("airflow.sdk", reason="connections are Airflow's: run `make test`")

QUIET = {"botocore": logging.INFO}
NOBODY = "http://127.0.0.1:9"
BAD_CONNECTIONS = {
    "unreachable": {"conn_type": "aws", "login": "me", "password": "{}", "extra": {"endpoint_url": NOBODY}},
    "a password in the endpoint": {"conn_type": "aws", "extra": {"endpoint_url": "http://u:{}@127.0.0.1:9"}},
    "half of the keys": {"conn_type": "aws", "password": "{}", "extra": {"region_name": "us-east-1"}},
    "a line feed": {"conn_type": "aws", "login": "{}\n", "password": "{}\n", "extra": {"endpoint_url": NOBODY}},
    "an odd endpoint": {"conn_type": "aws", "login": "me", "password": "p", "extra": {"endpoint_url": "{}"}},
    "an odd region": {"conn_type": "aws", "login": "me", "password": "p", "extra": {"region_name": "{}!"}},
    "an unknown option": {"conn_type": "aws", "password": "{}", "extra": {"nonsense": "{}", "role_arn": "{}"}},
    "a role": {
        "conn_type": "aws",
        "login": "me",
        "password": "{}",
        "extra": {"role_arn": "arn:aws:iam::1:role/r", "service_config": {"sts": {"endpoint_url": NOBODY}}},
    },
    "extra that is no JSON": {"conn_type": "aws", "login": "me", "password": "{}", "extra": "{not JSON: {}"},
    "another type": {"conn_type": "fs", "password": "{}"},
    "no JSON": '{"conn_type": "aws", "password": "{}"',
    "a URI": "aws://me:{}@/?region_name=us-east-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A9",
    "an odd URI": "aws://me:{}@[host/?x",
}


@pytest.mark.parametrize(
    ("bad", "transport"),
    [(bad, "direct") for bad in BAD_CONNECTIONS]
    + [(bad, "fsspec") for bad in ("unreachable", "a line feed", "an odd endpoint", "a role")],
)
def test_a_connection_that_cannot_be_used_tells_no_secret(*, bad, transport, no_machine, monkeypatch, capfd):
    from tests import seam as seams

    canaries = Canaries()
    secret = canaries.plant("password", f"pass-{secrets.token_hex(12)}")
    connection = BAD_CONNECTIONS[bad]
    text = connection if isinstance(connection, str) else json.dumps(connection)
    monkeypatch.setenv("AIRFLOW_CONN_LAB", text.replace("{}", secret))
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", "s3://lab@bucket/state")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__TRANSPORT", transport)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GIVE_UP_AFTER", "1s")
    task = seams.start(monkeypatch, seams.OURS).task()
    with watching(canaries, capfd, QUIET) as watch:
        with watch.failing(OffloadError):
            task.set("key", ["x" * 70_000])
        assert watch.found() == set()
