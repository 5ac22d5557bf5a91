"""``offload doctor`` on a bucket: rules, versions, leftovers, who asks; and servers that are dead or strange."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone

import pytest

from offload_backend.cli import examining, installed
from tests.cli.doctors import examined
from tests.dead_servers import dead_server

OURS = "state/v1/default/"
STORE_CHECKS = {"put", "get", "range", "list", "delete", "store-clock", "identity", "abort"}
ABORT = {"ID": "abort", "Status": "Enabled", "Filter": {"Prefix": ""}}
ABORT |= {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}


@pytest.fixture(params=["direct", "boto3", "fsspec"])
def transport(request):
    return request.param


@pytest.fixture
def doctor(bucket, no_configuration, monkeypatch):
    """Examines the path in a bucket, without rows, and without Airflow."""
    monkeypatch.setattr(installed, "_is_installed", lambda name: False)
    monkeypatch.setattr(examining, "PATIENCE", timedelta(seconds=25))  # for a machine that is busy
    monkeypatch.setattr(examining, "_READ", 25.0)

    def examine(*arguments, **settings):
        options = {**bucket.options, "endpoint_url": settings.pop("endpoint_url", bucket.endpoint_url)}
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__STORAGE_OPTIONS", json.dumps(options))
        for name, value in settings.items():
            monkeypatch.setenv(f"AIRFLOW__OFFLOAD_BACKEND__{name.upper()}", value)
        return examined("--path", f"{bucket.url}/state", *arguments)

    return examine


def with_rules(bucket, *rules):
    bucket.client.put_bucket_lifecycle_configuration(
        Bucket=bucket.name, LifecycleConfiguration={"Rules": [{"Status": "Enabled", **rule} for rule in rules]}
    )


def with_versions(bucket):
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})


def test_a_bucket_in_which_all_is_well(doctor, bucket, transport):
    with_rules(bucket, ABORT)
    found = doctor(transport=transport)
    assert found.code == 0
    assert found.with_status("fail") == set()
    if transport != "fsspec":
        assert found.with_status("warn") == {"owner"}
        assert found.with_status("ok") >= {*STORE_CHECKS, "versioning", "rules", "abort-rule", "uploads"}
        assert "arn:aws" in found.only("identity", "ok")["seen"]
    assert bucket.all_keys() == set()


def test_options_of_s3fs_alone_hide_the_bucket_and_nothing_else(doctor, bucket, monkeypatch):
    monkeypatch.setattr(bucket.__class__, "options", {**bucket.options, "anon": False})
    found = doctor(transport="fsspec")
    assert {"put", "get", "range", "list", "delete", "store-clock"} <= found.with_status("ok")
    assert {"identity", "abort", "versioning", "rules", "abort-rule", "uploads"} <= found.with_status("unknown")


HARMLESS = {
    "other": {"Filter": {"Prefix": "other/"}, "Expiration": {"Days": 7}},
    "another deployment": {"Filter": {"Prefix": "state/v1/staging/"}, "Expiration": {"Days": 7}},
    "tagged": {"Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 7}},
    "off": {"Filter": {"Prefix": ""}, "Expiration": {"Days": 7}, "Status": "Disabled"},
    "at once readable": {"Filter": {"Prefix": ""}, "Transitions": [{"Days": 9, "StorageClass": "GLACIER_IR"}]},
}
HARMFUL = {
    "all": {"Filter": {"Prefix": ""}, "Expiration": {"Days": 7}},
    "old form": {"Prefix": "state/", "Expiration": {"Days": 7}},
    "some": {"Filter": {"Prefix": f"{OURS}task/etl/"}, "Expiration": {"Days": 7}},
    "large": {
        "Filter": {"And": {"Prefix": "state/", "ObjectSizeGreaterThan": 1000}},
        "Expiration": {"Days": 7},
    },
    "one day": {"Filter": {"Prefix": ""}, "Expiration": {"Date": datetime(2030, 1, 1, tzinfo=timezone.utc)}},
    "archive": {"Filter": {"Prefix": ""}, "Transitions": [{"Days": 9, "StorageClass": "GLACIER"}]},
}


def test_rules_that_would_delete_or_archive_live_blobs_and_those_that_would_not(doctor, bucket):
    with_rules(bucket, *({"ID": name, **rule} for name, rule in HARMLESS.items()))
    doctor().only("rules", "ok")
    with_rules(bucket, *({"ID": name, **rule} for name, rule in (HARMLESS | HARMFUL).items()))
    found = doctor()
    assert found.code == 1
    rules = found.all("rules")
    assert {each["seen"].split("'")[1]: each["status"] for each in rules} == dict.fromkeys(HARMFUL, "fail")
    assert all(OURS in each["mend"] for each in rules)


@pytest.mark.parametrize(("retention", "status"), [("30", "warn"), ("90", "fail"), ("0", "fail")])
def test_an_expiration_is_compared_with_how_long_rows_live(doctor, bucket, monkeypatch, retention, status):
    monkeypatch.setenv("AIRFLOW__STATE_STORE__DEFAULT_RETENTION_DAYS", retention)
    with_rules(bucket, {"ID": "mine", "Filter": {"Prefix": ""}, "Expiration": {"Days": 60}})
    assert "'mine'" in doctor().only("rules", status)["seen"]


@pytest.mark.parametrize(
    ("rules", "window", "status"),
    [
        ([], "6h", "warn"),
        ([{**ABORT, "Filter": {"Prefix": f"{OURS}task/"}}], "6h", "warn"),
        ([{**ABORT, "Filter": {"Prefix": "state/"}}], "6h", "ok"),
        ([{**ABORT, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}], "36h", "fail"),
    ],
)
def test_a_rule_that_removes_what_killed_uploads_leave(doctor, bucket, rules, window, status):
    if rules:
        with_rules(bucket, *rules)
    found = doctor(commit_window=window).only("abort-rule", status)
    if status == "warn":
        rule = json.loads(found["mend"].partition(": ")[2])
        with_rules(bucket, rule)
        doctor().only("abort-rule", "ok")


def test_versions_that_are_kept_for_ever_or_not_long_enough(doctor, bucket):
    assert "off" in doctor().only("versioning", "ok")["seen"]
    with_versions(bucket)
    assert "NoncurrentVersionExpiration" in doctor().only("versioning", "warn")["mend"]
    rule = {"ID": "old", "Filter": {"Prefix": ""}, "NoncurrentVersionExpiration": {"NoncurrentDays": 3}}
    with_rules(bucket, rule)
    assert "gc_quarantine" in doctor().only("versioning", "warn")["means"]
    with_rules(bucket, {**rule, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}})
    doctor().only("versioning", "ok")
    versions = bucket.client.list_object_versions(Bucket=bucket.name)
    for each in (*versions["Versions"], *versions["DeleteMarkers"]):
        bucket.client.delete_object(Bucket=bucket.name, Key=each["Key"], VersionId=each["VersionId"])


def begun(bucket, name):
    key = f"state/{name}"
    upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]
    bucket.client.upload_part(Bucket=bucket.name, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)


BLOB = "v1/default/task/etl/run/load/-1/key/01999999-9999-7aaa-8bbb-cccccccccc00.json.zst"


def test_uploads_that_nobody_finished_are_aborted_when_asked_to_and_only_ours(doctor, bucket):
    foreign = ["v1/staging/task/etl/run/load/-1/key/01999999-9999-7aaa-8bbb-cccccccccc00.json.zst"]
    foreign += ["v1/default/somebody/elses", "v1/default.zst"]
    for name in (BLOB, *foreign):
        begun(bucket, name)
    found = doctor().only("uploads", "warn")
    assert "1 unfinished upload older" in found["seen"]
    assert "2010-11-10; 1,000 bytes" in found["seen"], "which is what moto says of every upload"
    assert len(bucket.unfinished_uploads()) == 4
    fixed = doctor("--fix").only("uploads", "ok")
    assert fixed["fixed"] == "1 upload aborted"
    assert sorted(bucket.unfinished_uploads()) == sorted(f"state/{name}" for name in foreign)


def test_uploads_on_many_pages(doctor, bucket, fault_proxy):
    begun(bucket, BLOB)
    pages = [b"</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"]

    def first_goes_on(status, headers, body):
        if b"<ListMultipartUploadsResult" in body and pages:
            body = body.replace(b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true" + pages.pop())
        return status, headers, body

    fault_proxy.change("ListObjectsV2", first_goes_on, times=0)
    fault_proxy.answer("HeadBucket", 200, "", times=0, Date=dated(datetime.now(timezone.utc)))
    found = doctor(endpoint_url=fault_proxy.url)
    assert "2 unfinished uploads" in found.only("uploads", "warn")["seen"], "the same again, on the second page"
    assert any("key-marker=k" in request.path for request in fault_proxy.requests)
    bucket.client.abort_multipart_upload(
        Bucket=bucket.name,
        Key=f"state/{BLOB}",
        UploadId=bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"][0]["UploadId"],
    )


def edited(pattern, text):
    """An edit of an answer's body."""
    return lambda status, headers, body: (status, headers, re.sub(pattern, text, body))


def dated(when):
    return f"{when:%a, %d %b %Y %H:%M:%S} GMT"


def stamp(when):
    return f"{when:%Y-%m-%dT%H:%M:%S}.000Z".encode()


def test_an_upload_that_may_be_running_is_left_alone(doctor, bucket, fault_proxy):
    begun(bucket, BLOB)
    now = datetime.now(timezone.utc)
    initiated = rb"<Initiated>[^<]*"
    fault_proxy.change(
        "ListObjectsV2", edited(initiated, b"<Initiated>" + stamp(now - timedelta(hours=23))), times=0
    )
    fault_proxy.answer("HeadBucket", 200, "", times=0, Date=dated(now))
    found = doctor("--fix", endpoint_url=fault_proxy.url)
    assert "1 younger than 1d" in found.only("uploads", "ok")["seen"]
    assert len(bucket.unfinished_uploads()) == 1


@pytest.mark.parametrize("minutes", [-7, 7])
def test_a_stores_clock_that_differs_by_the_probes_date(doctor, fault_proxy, minutes):
    wrong = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    modified = rb"<LastModified>[^<]*"
    fault_proxy.change("ListObjectsV2", edited(modified, b"<LastModified>" + stamp(wrong)), times=0)
    found = doctor(endpoint_url=fault_proxy.url)
    seen = found.only("store-clock", "fail")["seen"]
    assert ("ahead of" if minutes < 0 else "behind") in seen
    assert found.code == 1


def test_where_nothing_is_listed_the_date_of_an_answer_tells_the_time(doctor, fault_proxy):
    fault_proxy.refuse("ListObjectsV2", 403, "AccessDenied", times=0)
    wrong = datetime.now(timezone.utc) - timedelta(minutes=8)
    fault_proxy.answer("HeadBucket", 403, "", times=0, Date=dated(wrong))
    found = doctor(endpoint_url=fault_proxy.url)
    assert "s3:ListBucket" in found.only("list", "warn")["mend"]
    assert "ahead of the store's" in found.only("store-clock", "fail")["seen"]
    assert {"versioning", "rules", "abort-rule", "uploads", "owner"} <= found.with_status("unknown")


def test_a_store_that_does_not_know_a_question_is_not_called_well(doctor, fault_proxy):
    fault_proxy.refuse("ListObjectsV2", 501, "NotImplemented", times=0)
    found = doctor(endpoint_url=fault_proxy.url)
    assert {"versioning", "rules", "abort-rule", "uploads"} <= found.with_status("unknown")


@pytest.mark.parametrize(
    ("transport", "kind"),
    [
        *(("direct", kind) for kind in ("connection refused", "never answers", "503 for ever")),
        ("direct", "an answer of one byte at a time"),
        ("boto3", "never answers"),
        ("fsspec", "never answers"),
    ],
)
def test_a_dead_store_is_waited_for_once(doctor, monkeypatch, transport, kind):
    monkeypatch.setattr(examining, "PATIENCE", timedelta(seconds=1))
    with dead_server(kind) as url:
        found = doctor(endpoint_url=url, transport=transport)
    found.only("put", "fail")
    assert found.code == 1
    assert "was not reached" in found.only("list", "skip")["seen"]
    assert found.with_status("fail") == {"put"}
    assert STORE_CHECKS - {"put"} <= found.with_status("skip")


def test_a_bucket_that_does_not_exist(doctor, bucket):
    found = doctor("--path", "s3://no-such-bucket-anywhere/state")
    assert "create the bucket" in found.only("put", "fail")["mend"]
    assert STORE_CHECKS - {"put"} <= found.with_status("skip")


def test_no_credentials(doctor, bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(
        bucket.__class__, "options", {"endpoint_url": bucket.endpoint_url, "region_name": "us-east-1"}
    )
    found = doctor()
    assert "credentials" in found.only("put", "fail")["seen"]
    assert found.with_status("fail") == {"put"}


def test_a_whole_bucket_is_warned_of(doctor, bucket):
    assert doctor("--path", bucket.url).statuses("path") == ["ok", "warn"]


def test_old_locations_that_may_or_may_not_be_read(doctor, bucket, fault_proxy):
    found = doctor(read_paths=f"{bucket.url}/old s3://no-such-bucket-anywhere/old")
    assert found.statuses("read-paths") == ["ok", "fail"]
