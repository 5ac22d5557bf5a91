from __future__ import annotations

import os
import socket
from contextlib import contextmanager

import pytest

from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

MIB = 1024 * 1024


@pytest.fixture
def no_backoff(monkeypatch):
    """Retries as many as ever, without the pauses between them."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("offload_backend.stores.s3_read._PAUSE", 0)
    monkeypatch.setattr("offload_backend.stores.s3_requests._PAUSE", 0)


@pytest.fixture
def s3_transport():
    """The transport that :func:`open_through` chooses; a module of tests may have several."""
    return "direct"


@pytest.fixture
def open_through(bucket, fault_proxy, no_backoff, s3_transport):
    """A store of the bucket whose requests go through the proxy; arguments are settings."""

    def open_it(path="", **settings):
        options = {**bucket.options, "endpoint_url": fault_proxy.url}
        values = {"transport": s3_transport, "storage_options": options, "part_size": 5 * MIB, "max_attempts": 3}
        values |= settings
        return open_store(path or f"{bucket.url}/state", Settings(**values))

    return open_it


@pytest.fixture
def closed_port():
    """An endpoint where nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def without_rights(*paths):
    """Nobody may enter or read the paths meanwhile, not even the superuser who may run the tests."""
    modes = {path: path.stat().st_mode for path in paths}
    superuser = os.geteuid() == 0
    for path in paths:
        path.chmod(0)
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
