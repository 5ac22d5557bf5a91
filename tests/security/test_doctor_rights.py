"""``offload doctor`` names exactly the right that is missing, says who is denied it, and tells no secret."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from offload_backend.cli import installed
from tests.cli.doctors import examined
from tests.security.canaries import Canaries
from tests.security.policies import documented, without

POLICIES = documented()
WORKER, OPERATOR = POLICIES["Worker"], POLICIES["Operator"]
OWN = "AIRFLOW__OFFLOAD_BACKEND__"
PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"
LOOK = json.loads(PAGE.read_text(encoding="utf-8").partition("```json\n")[2].partition("```")[0])
DOCTOR = {"Statement": [*OPERATOR["Statement"], *LOOK["Statement"]]}


@pytest.fixture(params=["direct", "fsspec"])
def transport(request):
    return request.param


@pytest.fixture
def doctor(guarded, monkeypatch, transport):
    """Examines a bucket with the rights of a policy."""
    monkeypatch.setattr(installed, "_is_installed", lambda name: False)

    def examine(policy, *arguments):
        monkeypatch.setenv(f"{OWN}STORAGE_OPTIONS", json.dumps(guarded.user(policy)))
        monkeypatch.setenv(f"{OWN}TRANSPORT", transport)
        return examined("--path", guarded.path, *arguments)

    return examine


def test_with_the_policy_of_a_worker_nothing_fails(doctor, guarded):
    found = doctor(WORKER)
    assert found.code == 0
    assert {"put", "get", "range", "delete", "abort"} <= found.with_status("ok")
    assert "s3:ListBucket" in found.only("list", "warn")["mend"]
    assert "s3:GetBucketVersioning" in found.only("versioning", "unknown")["mend"]
    for check in ("rules", "abort-rule"):
        assert "s3:GetLifecycleConfiguration" in found.only(check, "unknown")["mend"]
    assert "s3:ListBucketMultipartUploads" in found.only("uploads", "unknown")["mend"]
    assert guarded.objects() == []


def test_with_the_rights_of_the_page_everything_is_seen(doctor, guarded):
    key = "airflow-state/v1/default/task/etl/run/load/-1/key/01999999-9999-7aaa-8bbb-cccccccccc00.json.zst"
    client = guarded.server.client("s3")
    upload = client.create_multipart_upload(Bucket=guarded.name, Key=key)["UploadId"]
    client.upload_part(Bucket=guarded.name, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    assert "1,000 bytes" in doctor(DOCTOR).only("uploads", "warn")["seen"]
    found = doctor(DOCTOR, "--fix")
    assert guarded.unfinished_uploads() == 0
    assert {"list", "store-clock", "versioning", "rules", "uploads"} <= found.with_status("ok")
    assert found.with_status("unknown") == {"core-store"}
    assert ":user/" in found.only("identity", "ok")["seen"]


@pytest.mark.parametrize(
    ("right", "check", "status"),
    [
        ("s3:PutObject", "put", "fail"),
        ("s3:GetObject", "get", "fail"),
        ("s3:DeleteObject", "delete", "warn"),
        ("s3:AbortMultipartUpload", "abort", "warn"),
        ("s3:ListBucket", "list", "warn"),
    ],
)
def test_the_right_that_is_missing_is_named_and_no_other(doctor, guarded, right, check, status):
    found = doctor(without(DOCTOR, right))
    told = found.only(check, status)
    assert right in f"{told['seen']} {told['mend']}"
    assert found.code == (1 if status == "fail" else 0)
    failing = found.with_status("fail") | found.with_status("warn")
    expected = {check, *(["range"] if check == "get" else []), "abort-rule", "owner"}
    assert failing - {"owner"} == expected - {"owner"}
    assert len(guarded.objects()) == (1 if check == "delete" else 0)


def test_an_old_location_that_may_not_be_read_is_not_called_well(doctor, guarded, monkeypatch):
    monkeypatch.setenv(f"{OWN}READ_PATHS", f"s3://{guarded.name}/elsewhere")
    assert "s3:GetObject" in doctor(WORKER).only("read-paths", "unknown")["mend"]


def test_without_the_right_to_see_parts_their_size_is_not_told(doctor, guarded):
    key = "airflow-state/v1/default/task/etl/run/load/-1/key/01999999-9999-7aaa-8bbb-cccccccccc00.json.zst"
    guarded.server.client("s3").create_multipart_upload(Bucket=guarded.name, Key=key)
    policy = without(without(DOCTOR, "s3:ListMultipartUploadParts"), "s3:AbortMultipartUpload")
    assert "may not be seen" in doctor(policy).only("uploads", "warn")["seen"]
    assert "0 uploads aborted" in doctor(policy, "--fix").only("uploads", "warn")["fixed"]


def test_credentials_that_are_not_known_are_a_failure_once(doctor, guarded, monkeypatch, transport):
    monkeypatch.setattr(
        type(guarded),
        "user",
        lambda self, policy: {**self.server.user(policy), "secret": "wrong-secret-1234567890"},
    )
    found = doctor(WORKER)
    assert "credentials" in found.only("put", "fail")["mend"]
    assert "wrong-secret" not in found.printed


def test_no_secret_comes_out_whatever_is_wrong(guarded, monkeypatch, transport):
    canaries = Canaries()

    def planted(what):
        return canaries.plant(what, f"{what}-{secrets.token_hex(12)}")

    options = {
        "endpoint_url": guarded.server.url,
        "key": planted("key"),
        "secret": planted("secret"),
        "region_name": "us-east-1",
    }
    monkeypatch.setenv("A_KEY", planted("half-of-a-key"))
    monkeypatch.setenv("OFFLOAD_AIRFLOW_TOKEN", planted("token"))
    monkeypatch.setenv(f"{OWN}TRANSPORT", transport)
    monkeypatch.setenv(f"{OWN}STORAGE_OPTIONS", json.dumps(options))
    monkeypatch.setenv(f"{OWN}ENCRYPTION_KEYS", "k1=env:A_KEY")
    monkeypatch.setenv(f"{OWN}SIGNING_KEYS", "k1=env:A_KEY")
    bad = planted("password")
    wrong = [
        ["--core-store", f"postgresql://me:{bad}@127.0.0.1:1/db"],
        ["--core-store", f"airflow-rest+http://me:{bad}@127.0.0.1:1"],
        ["--path", f"s3://me:{bad}@bucket/state"],
        ["--path", f"s3://bucket/state?{bad}"],
        ["--deployment", f"{bad}!"],
    ]
    for arguments in wrong:
        found = examined(*(["--path", guarded.path] if "--path" not in arguments else []), *arguments)
        assert found.code != 0
        assert canaries.in_text(found.printed) == set(), arguments
    monkeypatch.setenv(
        f"{OWN}STORAGE_OPTIONS", json.dumps({"endpoint_url": f"http://u:{bad}@127.0.0.1:1", **options})
    )
    monkeypatch.setenv(f"{OWN}HOOKS", planted("hooks").replace("-", "_"))
    assert canaries.in_text(examined("--path", guarded.path).printed) <= {"hooks"}
