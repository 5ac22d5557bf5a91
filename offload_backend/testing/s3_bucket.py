"""S3 for tests: moto's server over HTTP, and buckets in it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies

import pytest
from boto3.session import Session
from moto.server import ThreadedMotoServer

__all__ = ["S3Bucket", "fresh_bucket", "serving"]

_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
_OF_THE_MACHINE = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
_PAGE = 1000


@dataclass(frozen=True)
class S3Bucket:
    """An empty bucket. ``client`` is a plain boto3 client of its server."""

    name: str
    endpoint_url: str
    client: Any

    @property
    def path(self) -> str:
        """What ``[offload_backend] path`` may be; the environment has the credentials and the endpoint."""
        return f"s3://{self.name}/state"

    def keys(self) -> list[str]:
        """The keys of all objects there are."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]


@contextmanager
def serving() -> Iterator[str]:
    """A server on this machine alone, on a free port, as long as the block lasts; its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def fresh_bucket(endpoint_url: str, no_file: str) -> Iterator[S3Bucket]:
    """A bucket as long as the block lasts, which every S3 client finds that asks the environment.

    ``no_file`` is a path where nothing is: so that nobody finds the machine's own credentials.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in _OF_THE_MACHINE:
            patch.delenv(name, raising=False)
        here = {"AWS_ENDPOINT_URL_S3": endpoint_url, "AWS_EC2_METADATA_DISABLED": "true"}
        files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), no_file)
        past_proxies = dict.fromkeys(("NO_PROXY", "no_proxy"), f"{getproxies().get('no', '')},127.0.0.1")
        for name, value in {**_KEYS, **here, **files, **past_proxies}.items():
            patch.setenv(name, value)
        client = Session().client("s3", endpoint_url=endpoint_url)
        bucket = S3Bucket(f"offload-{uuid.uuid4().hex}", endpoint_url, client)
        client.create_bucket(Bucket=bucket.name)
        yield bucket
        keys = bucket.keys()
        for start in range(0, len(keys), _PAGE):
            objects = [{"Key": key} for key in keys[start : start + _PAGE]]
            client.delete_objects(Bucket=bucket.name, Delete={"Objects": objects})
        client.delete_bucket(Bucket=bucket.name)
