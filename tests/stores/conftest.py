from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from offload_backend.settings import Settings
from offload_backend.stores import opening
from offload_backend.stores.opening import open_store
from offload_backend.stores.patience import Patience
from tests.fault_proxy import FaultProxy

MIB = 1024 * 1024


@pytest.fixture
def tries(monkeypatch):
    """To be called with how often a request without progress is to be tried, at once, in place of a time."""

    def limit(most):
        def pause(patience, _seconds, _at_least=0.0):
            made, moved = getattr(patience, "made", (0, patience._moved))
            patience.made = 1 if patience._moved > moved else made + 1, patience._moved
            return patience.made[0] < most and not patience.is_cut

        monkeypatch.setattr(Patience, "pause", pause)
        monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        monkeypatch.setattr(opening, "_tries", lambda _: most)

    return limit


@pytest.fixture
def s3_transport():
    """The transport that :func:`open_through` chooses; a module of tests may have several."""
    return "direct"


@pytest.fixture
def open_through(bucket, fault_proxy, s3_transport, request):
    """A store of the bucket whose requests go through the proxy, tried so often; arguments are settings."""

    def open_it(path="", *, tries=3, **settings):
        if tries:
            request.getfixturevalue("tries")(tries)
        options = {**bucket.options, "endpoint_url": fault_proxy.url}
        values = {"transport": s3_transport, "storage_options": options, "part_size": 5 * MIB}
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


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, signed by itself, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(tz=timezone.utc)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


@pytest.fixture
def tls_proxy(s3_server, certificate):
    """As ``fault_proxy``, behind TLS; its authority is the first file of ``certificate``."""
    with FaultProxy(s3_server, certificate) as proxy:
        yield proxy
