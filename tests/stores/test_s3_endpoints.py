"""Where the direct transport sends a request, and as whom: where boto3 would, or it leaves the work to boto3."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from boto3.session import Session
from botocore.awsrequest import AWSResponse

from offload_backend.errors import ConfigError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.stores.s3_boto3 import Boto3Objects
from offload_backend.stores.s3_client import client_config, client_maker
from offload_backend.stores.s3_configured import configured
from offload_backend.stores.s3_credentials import credentials_of
from offload_backend.stores.s3_direct import DirectObjects
from offload_backend.stores.s3_endpoint import endpoint_of

KEYS = {"key": "option-key", "secret": "option-secret"}
PROFILES = """
[default]
region = eu-north-1
[profile plain]
region = ap-south-1
output = json
endpoint_url = http://profile.example:9000
[profile "two words"]
region = sa-east-1
[profile checked]
request_checksum_calculation = when_required
[profile styled]
region = eu-west-1
s3 =
  addressing_style = virtual
[profile served]
services = mine
[profile dual]
region = eu-west-1
use_dualstack_endpoint = true
[services mine]
s3 =
  endpoint_url = http://services.example
"""
SECRETS = """
[plain]
aws_access_key_id = profile-key
aws_secret_access_key = profile-secret
aws_session_token = profile-token
[two words]
aws_access_key_id = words-key
aws_secret_access_key = words-secret
"""


@pytest.fixture
def clean(aws_environment, monkeypatch):
    """No proxies, endpoints or bundles from outside."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_PROFILE", "AWS_REQUEST_CHECKSUM_CALCULATION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def files(clean, monkeypatch, tmp_path):
    """AWS's own files, with some profiles."""
    for variable, text in (("AWS_CONFIG_FILE", PROFILES), ("AWS_SHARED_CREDENTIALS_FILE", SECRETS)):
        file = tmp_path / variable
        file.write_text(text)
        monkeypatch.setenv(variable, str(file))


def by_boto3(bucket, options):
    """The URL, region and access key of boto3's request for the object ``a b/~é``."""
    seen = []

    def send(request, **_):
        seen.append(request)
        return AWSResponse(request.url, 200, {}, type("Raw", (BytesIO,), {"stream": lambda self: [b""]})())

    client = client_maker(options)(client_config(Settings()))
    client.meta.events.register("before-send.s3", send)
    client.put_object(Bucket=bucket, Key="a b/~é", Body=b"x")
    scope = re.search(rb"Credential=([^/]+)/\d+/([^/]+)/s3", seen[0].headers["Authorization"])
    # Neither botocore's signature nor its Host header names the port that goes without saying.
    url = re.sub(r"^(https://[^/]*):443/|^(http://[^/]*):80/", r"\1\2/", seen[0].url)
    return url, scope[2].decode(), scope[1].decode()


def directly(bucket, options):
    """The same of the direct transport, or ``None`` where it leaves the work to boto3."""
    settings = configured(options)
    endpoint = settings and endpoint_of(bucket, settings)
    if not endpoint:
        return None
    scheme = "http" if endpoint.host.tls is None else "https"
    assert endpoint.netloc.startswith(endpoint.host.name)
    url = f"{scheme}://{endpoint.netloc}{endpoint.path('a b/~é')}"
    return url, endpoint.region, credentials_of(settings)().key


CASES = [
    ("bucket", {"region_name": "eu-west-1"}, {}),
    ("bucket", {"region_name": "ap-southeast-2", **KEYS}, {"AWS_DEFAULT_REGION": "eu-west-1"}),
    ("bucket", {"region_name": "cn-north-1"}, {}),
    ("bucket", {"region_name": "us-gov-west-1"}, {}),
    ("bucket.with.dots", {"region_name": "eu-west-1"}, {}),
    ("bucket-s3alias", {"region_name": "eu-west-1"}, {}),
    ("bucket", {"endpoint_url": "http://minio.example:9000"}, {"AWS_ENDPOINT_URL": "http://other.example"}),
    ("bucket", {"endpoint_url": "https://minio.example"}, {}),
    ("bucket", {"endpoint_url": "https://minio.example:443/base/"}, {}),
    ("bucket", {"client_kwargs": {"endpoint_url": "http://kwargs.example:80", "region_name": "mars"}}, {}),
    ("bucket", {}, {"AWS_ENDPOINT_URL": "http://all.example", "AWS_ENDPOINT_URL_S3": "http://s3.example:1"}),
    ("bucket", {}, {"AWS_ENDPOINT_URL": "http://all.example", "AWS_SESSION_TOKEN": "token"}),
    ("bucket", {"endpoint_url": "http://minio.example"}, {"https_proxy": "http://proxy.example:3128"}),
    ("bucket", {"endpoint_url": "http://minio.example"}, {"http_proxy": "http://p", "no_proxy": "minio.example"}),
]
FILED = [
    ("bucket", {"profile": "plain"}, {}),
    ("bucket", {"profile": "plain"}, {"AWS_ENDPOINT_URL": "http://all.example"}),
    ("bucket", {"profile": "two words"}, {"AWS_DEFAULT_REGION": ""}),
    ("bucket", {}, {"AWS_PROFILE": "plain", "AWS_DEFAULT_REGION": ""}),
    ("bucket", {}, {"AWS_PROFILE": "plain", "AWS_DEFAULT_PROFILE": "two words", "AWS_DEFAULT_REGION": ""}),
    ("bucket", {}, {"AWS_DEFAULT_REGION": ""}),
    ("bucket", {**KEYS, "profile": "checked", "region_name": "eu-west-1"}, {}),
]


@pytest.mark.parametrize(("bucket", "options", "environment"), CASES)
def test_requests_go_where_those_of_boto3_go(clean, monkeypatch, bucket, options, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert directly(bucket, options) == by_boto3(bucket, options)


@pytest.mark.parametrize(("bucket", "options", "environment"), FILED)
def test_profiles_mean_what_they_mean_to_boto3(files, monkeypatch, bucket, options, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    assert directly(bucket, options) == by_boto3(bucket, options)


def test_without_a_region_requests_begin_in_the_one_where_buckets_are_looked_up(clean, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert directly("bucket", {}) == (
        "https://bucket.s3.us-east-1.amazonaws.com/a%20b/~%C3%A9",
        "us-east-1",
        "test-key",
    )
    assert by_boto3("bucket", {})[1:] == ("us-east-1", "test-key")


@pytest.mark.parametrize(
    ("bucket", "options", "environment"),
    [
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/mine", {}, {}),
        ("bucket--euw1-az1--x-s3", {}, {}),
        ("bucket--ol-s3", {}, {}),
        ("Bucket_Name", {}, {}),
        ("bucket", {"region_name": "us-iso-east-1"}, {}),
        ("bucket", {"region_name": "nowhere"}, {}),
        ("bucket", {"region_name": 5}, {}),
        ("bucket", {"endpoint_url": "minio.example:9000"}, {}),
        ("bucket", {"endpoint_url": "https://user:hunter2@minio.example"}, {}),
        ("bucket", {"endpoint_url": "https://minio.example/?x=1"}, {}),
        ("bucket", {"endpoint_url": "https://s3-accelerate.amazonaws.com"}, {}),
        ("bucket", {"profile": "no-such-profile"}, {}),
        ("bucket", {"profile": "styled"}, {}),
        ("bucket", {"profile": "served"}, {}),
        ("bucket", {"profile": "dual"}, {}),
        ("bucket", {}, {"AWS_PROFILE": "served"}),
        ("bucket", {}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
        ("bucket", {}, {"AWS_USE_FIPS_ENDPOINT": "true"}),
        ("bucket", {}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
        ("bucket", {}, {"AWS_REQUEST_CHECKSUM_CALCULATION": "never"}),
        ("bucket", {}, {"https_proxy": "http://proxy.example:3128"}),
        ("bucket", {}, {"ALL_PROXY": "socks5://proxy.example:1080"}),
        ("bucket", {"endpoint_url": "http://minio.example"}, {"HTTP_PROXY": "", "http_proxy": "http://proxy"}),
    ],
)
def test_what_is_unusual_is_left_to_boto3(files, monkeypatch, bucket, options, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert directly(bucket, options) is None
    store = open_store(f"s3://{bucket}/state", Settings(storage_options=options))
    assert isinstance(store._transport(), Boto3Objects)


@pytest.mark.parametrize("half", [{"key": "only-a-key"}, {"secret": "only-a-secret"}])
def test_half_of_a_key_is_refused_without_being_repeated(half):
    with pytest.raises(ConfigError) as caught:
        open_store("s3://bucket/state", Settings(storage_options=half))
    assert "only-a" not in str(caught.value)


def test_a_damaged_file_of_aws_is_left_to_boto3(clean, monkeypatch, tmp_path):
    for data in (b"[default]\nregion = a\nregion = b\n", b"no section", b"\xff\xfe"):
        (tmp_path / "config").write_bytes(data)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        assert configured({}) is None


def test_an_ordinary_store_is_served_directly(clean):
    store = open_store("s3://bucket/state", Settings(storage_options={"region_name": "eu-west-1"}))
    assert isinstance(store._transport(), DirectObjects)


@pytest.mark.parametrize(
    ("environment", "profile", "expected"),
    [
        ({}, {}, True),
        ({"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}, {}, False),
        ({"AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_SUPPORTED"}, {"profile": "checked"}, True),
        ({}, {"profile": "checked"}, False),
    ],
)
def test_checksums_can_be_switched_off_as_for_boto3(files, monkeypatch, environment, profile, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert configured({**profile, **KEYS}).checksums is expected


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {}, True),
        ({"verify": False}, {"AWS_CA_BUNDLE": "bundle"}, False),
        ({"verify": "mine"}, {"AWS_CA_BUNDLE": "bundle"}, "mine"),
        ({}, {"AWS_CA_BUNDLE": "bundle", "REQUESTS_CA_BUNDLE": "other"}, "bundle"),
        ({}, {"REQUESTS_CA_BUNDLE": "other"}, "other"),
        ({"verify": True}, {"AWS_CA_BUNDLE": "bundle"}, True),
    ],
)
def test_certificates_are_checked_by_what_boto3_checks_them_by(clean, monkeypatch, options, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert configured(options).verify == expected
    session = Session(region_name="eu-west-1", **dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "x"))
    verify = session.client("s3", **options)._endpoint.http_session._verify
    assert verify == expected


def test_credentials_that_expire_are_those_that_botocore_renews(clean, monkeypatch):
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2099-01-01T00:00:00Z")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "first")
    settings = configured({})
    assert settings.credentials is None
    credentials = credentials_of(settings)
    assert credentials() == ("test-key", "test-secret", "first")
