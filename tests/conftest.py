"""An S3 server over HTTP, and buckets in it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fault_proxy import FaultProxy

CREDENTIALS = {"key": "test-key", "secret": "test-secret", "region_name": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket; ``client`` is a plain boto3 client, ``options`` are storage_options for it."""

    name: str
    endpoint_url: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def options(self) -> dict[str, str]:
        return {"endpoint_url": self.endpoint_url, **CREDENTIALS}

    def all_keys(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {found["Key"] for page in pages for found in page.get("Contents", ())}

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def unfinished_uploads(self) -> list[str]:
        return [found["Key"] for found in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]


@pytest.fixture(scope="session")
def s3_server():
    """The endpoint URL of a moto server that lives as long as the test run."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_server):
    """A plain boto3 client of that server; making one takes longer than most tests."""
    from boto3.session import Session

    session = Session(
        aws_access_key_id=CREDENTIALS["key"],
        aws_secret_access_key=CREDENTIALS["secret"],
        region_name=CREDENTIALS["region_name"],
    )
    return session.client("s3", endpoint_url=s3_server)


@pytest.fixture
def aws_environment(monkeypatch, tmp_path):
    """Credentials in the environment, and nothing of this machine's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS["secret"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", CREDENTIALS["region_name"])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))


@pytest.fixture
def bucket(s3_server, s3_client, aws_environment, monkeypatch):
    """A fresh :class:`Bucket`; the environment alone is enough to reach it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    name = f"bucket-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    bucket = Bucket(name, s3_server, s3_client)
    yield bucket
    keys = sorted(bucket.all_keys())
    for start in range(0, len(keys), 1000):
        objects = [{"Key": key} for key in keys[start : start + 1000]]
        s3_client.delete_objects(Bucket=name, Delete={"Objects": objects})
    s3_client.delete_bucket(Bucket=name)


@pytest.fixture
def fault_proxy(s3_server):
    """A :class:`FaultProxy` in front of the S3 server: counts requests, and fails them when told to."""
    with FaultProxy(s3_server) as proxy:
        yield proxy
