"""Reading what somebody overwrites meanwhile, as Airflow's own backend does with every set; and what it costs."""

from __future__ import annotations

import fsspec
import pytest

from offload_backend.address import TaskAddress, blob_name, new_blob_id
from offload_backend.errors import BlobNotFoundError, StoreError
from offload_backend.stores.fsspec import FsspecBlobStore
from offload_backend.stores.fsspec_listing import version_of
from offload_backend.stores.local import LocalBlobStore
from tests.stores.conftest import MIB

THEIRS = "dag/run/task/-1/key"
OURS = blob_name("prod", TaskAddress("dag", "run", "task"), "key", new_blob_id(), "json.zst")
BLOCK = 5 * MIB
LONG = 2 * BLOCK + 100


@pytest.fixture
def open_s3fs(open_through):
    return lambda **settings: open_through(transport="fsspec", **settings)


@pytest.fixture
def put(bucket):
    return lambda name, data: bucket.client.put_object(Bucket=bucket.name, Key=f"state/{name}", Body=data)


@pytest.fixture(params=["directly", "through fsspec"])
def files(request, tmp_path):
    """A directory. Of what is in it, fsspec's driver tells the time alone."""
    if request.param == "directly":
        return LocalBlobStore(f"file://{tmp_path}")
    return FsspecBlobStore(f"file://{tmp_path}", fsspec.filesystem("file"), BLOCK)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / THEIRS
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    return path


def test_a_long_file_of_others_costs_its_version_and_a_block_more_than_a_blob(open_s3fs, put, fault_proxy):
    for name in (THEIRS, OURS):
        put(name, b"o" * LONG)
    assert b"".join(open_s3fs().get(OURS)) == b"o" * LONG
    assert fault_proxy.operations == ["GetObject"] * 3
    assert b"".join(open_s3fs().get(THEIRS)) == b"o" * LONG
    assert fault_proxy.operations[3:] == ["GetObject", "HeadObject", *["GetObject"] * 3, "HeadObject"]


@pytest.mark.parametrize("size", [0, 1, BLOCK])
def test_a_file_of_others_that_is_no_longer_than_a_block_is_one_request(open_s3fs, put, fault_proxy, size):
    put(THEIRS, b"o" * size)
    assert b"".join(open_s3fs().get(THEIRS)) == b"o" * size
    assert fault_proxy.operations == ["GetObject"]


def test_what_a_driver_remembers_of_a_file_says_nothing_of_its_version(open_s3fs, put, bucket):
    put(THEIRS, b"o" * LONG)
    store = open_s3fs(storage_options={**bucket.options, "use_listings_cache": True})
    chunks = store.get(THEIRS)
    next(chunks)
    assert store._filesystem.ls(f"{bucket.name}/state/{THEIRS.rpartition('/')[0]}")
    put(THEIRS, b"n" * LONG)
    with pytest.raises(StoreError, match="changed while it was read") as caught:
        b"".join(chunks)
    assert (caught.value.retryable, caught.value.location) == (True, f"{bucket.url}/state/{THEIRS}")


def test_what_is_deleted_while_it_is_read_is_not_found(open_s3fs, put, bucket):
    put(THEIRS, b"o" * LONG)
    chunks = open_s3fs().get(THEIRS)
    next(chunks)
    bucket.client.delete_object(Bucket=bucket.name, Key=f"state/{THEIRS}")
    with pytest.raises(BlobNotFoundError):
        b"".join(chunks)


def test_a_short_file_that_is_overwritten_in_place_is_not_taken_for_what_it_was(files, path):
    """Neither its length nor, where clocks are coarse, its time has to be another."""
    assert b"".join(files.get(THEIRS)) == b"old"
    chunks = files.get(THEIRS)
    assert next(chunks) == b"old"
    path.write_bytes(b"new")
    with pytest.raises(StoreError, match="changed while it was read") as caught:
        list(chunks)
    assert (caught.value.retryable, caught.value.location) == (True, f"{files.location}/{THEIRS}")


def test_a_blob_in_a_directory_is_read_once(files, tmp_path):
    """Its ref has digests: what is wrong with it does not stay unnoticed."""
    files.put(OURS, [b"old"])
    chunks = files.get(OURS)
    assert next(chunks) == b"old"
    (tmp_path / OURS).write_bytes(b"new")
    assert list(chunks) == []


@pytest.mark.parametrize(
    ("entry", "other"),
    [
        ({"generation": "1", "etag": "x"}, {"generation": "2"}),
        ({"etag": "0x8D", "last_modified": "Monday"}, {"etag": "0x8E"}),
        ({"ETag": '"content"', "LastModified": 1}, {"LastModified": 2}),
        ({"ETag": '"content"', "VersionId": "a"}, {"VersionId": "b"}),
    ],
)
def test_a_version_is_what_is_another_after_every_write(entry, other):
    """Of S3 the time counts as well: its ETag is the same again where the content is, whatever was in between."""
    assert version_of(entry) == version_of({**entry, "name": "x", "time": "when it was last read"})
    assert version_of(entry) != version_of({**entry, **other})


@pytest.mark.parametrize("entry", [{"size": 3, "mtime": 1.0}, {"ETag": "", "VersionId": None, "LastModified": 1}])
def test_a_time_alone_is_no_version(entry):
    assert version_of(entry) is None
