from __future__ import annotations

import pytest

from offload_backend.errors import ConfigError, ForeignRefError
from offload_backend.location import (
    checked_name,
    checked_prefix,
    location_of,
    relative_name,
    shown,
    without_user,
)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://conn_id@bucket/prefix/", "s3://bucket/prefix"),
        ("s3://user@bucket/a@b", "s3://bucket/a@b"),
        ("/mnt/@home/state:1", "file:///mnt/@home/state:1"),
        ("sftp://conn@host:22/state", "sftp://host:22/state"),
        ("s3://arn:aws:s3:eu-west-1:123456789012:accesspoint:name/p",) * 2,
        ("S3A://Bucket/Prefix", "s3://Bucket/Prefix"),
        ("s3n://bucket/p", "s3://bucket/p"),
        ("gcs://bucket/p", "gs://bucket/p"),
        ("abfss://conn@container/p", "abfs://container/p"),
        ("file:///shared/state/", "file:///shared/state"),
        ("file://localhost/shared", "file:///shared"),
        ("/shared/state", "file:///shared/state"),
        ("memory://name", "memory://name"),
        ("hdfs://namenode:8020/state", "hdfs://namenode:8020/state"),
        ("hdfs:///state", "hdfs:///state"),
        ("s3://bucket/100%25/é", "s3://bucket/100%25/é"),
    ],
)
def test_one_place_has_one_location(path, location):
    assert location_of(path) == location
    assert location_of(location) == location


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("relative/state", "not an absolute path"),
        ("file://relative/state", "not an absolute path"),
        ("file:///", "not an absolute path"),
        ("/", "not an absolute path"),
        ("", "not an absolute path"),
        ("./state", "not an absolute path"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://conn_id@/prefix", "names no bucket"),
        ("memory://", "names no name"),
        ("s3://bucket//prefix", "segment"),
        ("s3://bucket/a/../b", "segment"),
        ("/shared/./state", "segment"),
        ("s3://bucket/a b", "not a storage URL"),
        ("s3://bucket/a?versionId=1", "not a storage URL"),
        ("s3://bucket/a#b", "not a storage URL"),
        ("://bucket", "not a storage URL"),
    ],
)
def test_a_path_that_names_no_single_place_is_refused_with_an_example(path, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        location_of(path)
    assert "[offload_backend] path" in caught.value.hint


@pytest.mark.parametrize(
    "path",
    [
        "s3://user:hunter2@bucket//x",
        "s3://user:hun/ter2@bucket/x",
        "s3://user:hun//ter2@bucket/x",
        "s3://user:hunter2/x",
        "user:hun/ter2@bucket/x",
        "abfss://user:hun/ter2@account/x",
        "sftp://user:hun/ter2@host/x",
        "sftp://user:hun@/ter2@host//x",
    ],
)
def test_a_refusal_shows_no_password(path):
    with pytest.raises(ConfigError) as caught:
        location_of(path)
    assert not any(piece in str(caught.value) for piece in ("hun", "ter2"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://bucket/v1/a", "s3://bucket/v1/a"),
        ("s3://user:hunter2@bucket/v1/a", "s3://bucket/v1/a"),
        ("s3://user:hun/ter2@bucket/v1/a", "s3://…bucket/v1/a"),
        ("s3://user:hun?ter2@bucket/v1/a", "s3://…"),
        ("https://host/a?X-Amz-Signature=hunter2", "https://host/a"),
        ("https://host/a?user=a@b&secret=hunter2", "https://…"),
        ("https://host/a#hunter2", "https://host/a"),
        ("/shared/state", "/shared/state"),
        ("s3://bucket/" + "x" * 1000, "s3://bucket/" + "x" * 288 + "…"),
    ],
)
def test_a_message_shows_of_a_url_what_cannot_be_a_secret(url, text):
    assert shown(url) == text


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://bucket/prefix/v1/a/b.json.zst", "v1/a/b.json.zst"),
        ("S3A://bucket/prefix/x", "x"),
        ("s3://bucket/prefix/%2E%2E/x", "%2E%2E/x"),
        ("s3://bucket/prefix", None),
        ("s3://bucket/prefix/", None),
        ("s3://bucket/prefix2/x", None),
        ("s3://bucket/prefix-old/x", None),
        ("s3://bucket/prefi/x", None),
        ("s3://bucket/prefix//x", None),
        ("s3://bucket/prefix/x/", None),
        ("s3://bucket/prefix/../x", None),
        ("s3://bucket/prefix/a/../../x", None),
        ("s3://bucket/prefix/./x", None),
        ("s3://bucket/prefix/..", None),
        ("s3://bucket/other/../prefix/x", None),
        ("s3://Bucket/prefix/x", None),
        ("s3://bucket2/prefix/x", None),
        ("s3://conn@bucket/prefix/x", None),
        ("gs://bucket/prefix/x", None),
        ("https://bucket/prefix/x", None),
        ("file:///bucket/prefix/x", None),
        ("s3:/bucket/prefix/x", None),
        ("/bucket/prefix/x", None),
        ("s3://bucket/prefix/x?versionId=1", None),
        ("s3://bucket/prefix/x\n", None),
        ("s3://bucket/prefix/x\\..\\y", None),
        ("", None),
    ],
)
def test_only_what_lies_strictly_below_a_location_has_a_name(url, name):
    assert relative_name(url, "s3://bucket/prefix") == name


def test_a_file_outside_the_location_has_no_name():
    assert relative_name("file:///shared/state/v1/x", "file:///shared/state") == "v1/x"
    assert relative_name("file:///etc/passwd", "file:///shared/state") is None
    assert relative_name("file:///shared/state/../../etc/passwd", "file:///shared/state") is None
    assert relative_name("file://shared/state/v1/x", "file:///shared/state") is None


def test_only_the_user_of_a_bucket_is_taken_off_a_url():
    assert without_user("s3://conn_id@bucket/a@b/c") == "s3://bucket/a@b/c"
    assert without_user("s3://bucket/a@b") == "s3://bucket/a@b"
    assert without_user("file:///a@b") == "file:///a@b"
    assert without_user("no url @ all") == "no url @ all"


def test_a_name_is_checked_and_returned():
    assert checked_name("v1/a") == "v1/a"
    with pytest.raises(ForeignRefError):
        checked_name("v1/../a")
    assert [checked_prefix(prefix) for prefix in ("", "v1", "v1/", "v1/.")] == ["", "v1", "v1/", "v1/."]
    with pytest.raises(ForeignRefError):
        checked_prefix("v1//")
