"""Whose credentials sign: an Airflow connection's keys, profile or role, or the ordinary AWS chain."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offload_backend.errors import ConfigError, StoreError
from tests import s3 as s3_server
from tests import seam as seams

BIG = ["x" * 70_000]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3_server.S3]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with s3_server.serve() as recorder:
        server = s3_server.S3(recorder.endpoint, f"b{uuid.uuid4().hex[:12]}")
        server.client.create_bucket(Bucket=server.bucket)
        recorder.servers[server.bucket] = server
        yield server


def signers(s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch, user: str, **connection: Any) -> set[str]:
    """Store and read back through a path; the access keys that signed."""
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"s3://{user}{s3.bucket}/state")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GIVE_UP_AFTER", "60s")
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps({"conn_type": "aws", **connection}))
    seam = seams.start(monkeypatch, seams.OURS)
    start = len(s3.requests)
    seam.task().set("k", BIG)
    assert seam.task().get("k") == BIG
    return {request.signed_by for request in s3.requests[start:]}


@pytest.mark.parametrize("transport", ["direct", "boto3", "fsspec"])
def test_login_and_password_of_the_connection_sign(
    s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__TRANSPORT", transport)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
    extra = {"endpoint_url": s3.endpoint, "region_name": "us-east-1"}
    assert signers(s3, monkeypatch, "lab@", login="mine", password="secret", extra=extra) == {"mine"}


def test_keys_and_service_endpoint_may_stand_in_the_extra(
    s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {
        "aws_access_key_id": "in-extra",
        "aws_secret_access_key": "secret",
        "endpoint_url": "http://127.0.0.1:9/not-this-one",
        "service_config": {"s3": {"endpoint_url": s3.endpoint}},
    }
    assert signers(s3, monkeypatch, "lab@", extra=extra) == {"in-extra"}


def test_the_profile_of_the_connection_signs(
    s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = of-profile\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    extra = {"endpoint_url": s3.endpoint, "profile_name": "lab"}
    assert signers(s3, monkeypatch, "lab@", extra=extra) == {"of-profile"}


def test_the_role_of_the_connection_signs(s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.amazon", reason="roles are assumed by Airflow's AWS provider")
    extra = {
        "endpoint_url": s3.endpoint,
        "region_name": "us-east-1",
        "role_arn": "arn:aws:iam::123456789012:role/offload",
        "service_config": {"sts": {"endpoint_url": s3.endpoint}},
    }
    (signer,) = signers(s3, monkeypatch, "lab@", login="mine", password="secret", extra=extra)
    assert signer.startswith("ASIA")  # temporary credentials from STS


def test_without_a_connection_the_ordinary_chain_signs(s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert signers(s3, monkeypatch, "") == {"ambient"}


def test_storage_options_complete_the_connection(s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__STORAGE_OPTIONS", json.dumps({"endpoint_url": s3.endpoint}))
    assert signers(s3, monkeypatch, "lab@", login="mine", password="secret") == {"mine"}


def test_no_credentials_at_all_is_an_error_and_never_an_anonymous_request(
    s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError) as caught:
        signers(s3, monkeypatch, "lab@", extra={"endpoint_url": s3.endpoint})
    assert caught.value.reason == "no-credentials"
    assert not [request for request in s3.requests if request.operation == "PutObject"]


def test_a_password_in_the_path_is_refused_without_being_repeated(
    s3: s3_server.S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError) as caught:
        signers(s3, monkeypatch, "lab:hunter2@")
    assert "hunter2" not in str(caught.value)


def test_another_schemes_connection_is_opened_by_airflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps({"conn_type": "fs"}))
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", "nosuchscheme://lab@bucket/state")
    seam = seams.start(monkeypatch, seams.OURS)
    with pytest.raises(ConfigError, match="provider"):
        seam.task().set("k", BIG)
