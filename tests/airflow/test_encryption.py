"""In Airflow: keys as its configuration says, fernet keys among them; and encryption by S3."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests import seam as seams
from tests.airflow.test_connections import BIG, s3  # noqa: F401 - a fixture
from tests.airflow.test_imports import first_use
from tests.s3 import S3

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.mark.parametrize("keys", ["f1=fernet", "k1=env:MY_KEY f1=fernet"])
def test_the_accessors_of_airflow_encrypt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: str) -> None:
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ENCRYPTION_KEYS", keys)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", f"{KEY},{KEY}")
    monkeypatch.setenv("MY_KEY", "ab" * 32)
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    assert seam.task().get("k") == BIG
    [blob] = tmp_path.rglob("*.json.enc")
    assert b"xxxxx" not in blob.read_bytes()
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ENCRYPTION_KEYS", "f1=fernet k1=env:MY_KEY")
    seam.restart()
    assert seam.task().get("k") == BIG


def test_the_fernet_key_may_come_from_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from offload_backend.airflow.configuration import load_settings
    from offload_backend.crypto import Keyring

    monkeypatch.delenv("AIRFLOW__CORE__FERNET_KEY", raising=False)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY_CMD", f"echo {KEY}")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ENCRYPTION_KEYS", "f1=fernet")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"file://{tmp_path}")
    settings = load_settings()
    key_id, secret = Keyring("encryption_keys", settings.encryption_keys, settings).to_write()
    assert (key_id, secret.key) == ("f1", b"k" * 32)
    assert KEY not in repr(settings)


def test_who_does_not_encrypt_imports_nothing_for_it(tmp_path: Path) -> None:
    told = first_use(BIG, ["cryptography.hazmat.primitives.kdf.hkdf"], f"file://{tmp_path}")
    assert told.row == "file:"
    assert not [name for name in told.imported if "offload_backend.crypto" in name or name.endswith("encrypted")]


def test_who_encrypts_with_a_key_at_hand_needs_no_sdk(tmp_path: Path) -> None:
    told = first_use(
        BIG,
        ["boto3", "botocore"],
        f"file://{tmp_path}",
        AIRFLOW__OFFLOAD_BACKEND__ENCRYPTION_KEYS="k1=env:MY_KEY",
        MY_KEY="ab" * 32,
    )
    assert "offload_backend.blobfile.encrypted" in told.imported
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".enc"]


@pytest.mark.parametrize("role", [False, True])
def test_server_side_encryption_by_a_connection(
    s3: S3,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    role: bool,
) -> None:
    told = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/state"}
    extra: dict[str, Any] = {"endpoint_url": s3.endpoint, "region_name": "us-east-1", "s3_additional_kwargs": told}
    if role:
        pytest.importorskip("airflow.providers.amazon", reason="roles are assumed by Airflow's AWS provider")
        extra["role_arn"] = "arn:aws:iam::123456789012:role/worker"
        extra["service_config"] = {"sts": {"endpoint_url": s3.endpoint}}
    connection = {"conn_type": "aws", "login": "mine", "password": "secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", f"s3://lab@{s3.bucket}/state")
    seam = seams.start(monkeypatch, seams.OURS)
    seam.task().set("k", BIG)
    assert seam.task().get("k") == BIG
    [name] = s3.names()
    head = s3.client.head_object(Bucket=s3.bucket, Key=name)
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/state")
