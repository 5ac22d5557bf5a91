"""The fsspec adapter: what s3fs is asked for, and what its habits must not do to a blob."""

from __future__ import annotations

import gc
import logging
from datetime import datetime, timezone

import fsspec
import pytest

from offload_backend.errors import BlobCorruptError, BlobNotFoundError, StoreError
from offload_backend.stores.fsspec import FsspecBlobStore
from offload_backend.stores.s3_errors import grant
from tests.stores.conftest import MIB, without_rights


@pytest.fixture
def open_s3fs(open_through):
    def open_it(path="", **settings):
        return open_through(path, transport="fsspec", **settings)

    return open_it


@pytest.fixture
def files(tmp_path):
    (tmp_path / "root").mkdir()
    return FsspecBlobStore(f"file://{tmp_path}/root", fsspec.filesystem("file"), 5 * MIB)


def test_every_small_operation_is_one_request(open_s3fs, fault_proxy):
    store = open_s3fs()
    store.put("v1/blob", [b"x" * MIB])
    assert b"".join(store.get("v1/blob")) == b"x" * MIB
    assert store.get_range("v1/blob", 5, 5) == b"xxxxx"
    assert [info.name for info in store.list("v1/")] == ["v1/blob"]
    assert store.delete(["v1/blob"]).failed == {}
    assert fault_proxy.operations == ["PutObject", "GetObject", "GetObject", "ListObjectsV2", "DeleteObject"]


def read(store, start, length, total, name="v1/blob"):
    buffer = bytearray(length)
    store.read_into(name, start, memoryview(buffer), total)
    return bytes(buffer)


def test_a_size_is_proven_by_the_answer_or_by_one_request_for_each_blob(open_s3fs, fault_proxy, bucket):
    data = bytes(range(250)) * 4
    for name in ("blob", "other"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"state/v1/{name}", Body=data)
    store = open_s3fs()
    assert read(store, 0, 1000, 1000) == data
    assert fault_proxy.operations == ["GetObject"]
    assert [read(store, start, 100, 1000) for start in (0, 400, 900)] == [data[:100], data[400:500], data[900:]]
    assert fault_proxy.operations == ["GetObject"] * 4
    fresh = open_s3fs()
    assert [read(fresh, start, 100, 1000, "v1/other") for start in (0, 400, 900)] == [
        data[:100],
        data[400:500],
        data[900:],
    ]
    assert fault_proxy.operations == ["GetObject"] * 8
    with pytest.raises(BlobCorruptError):
        read(fresh, 0, 100, 1001, "v1/other")


def test_sizes_of_only_so_many_blobs_are_remembered(open_s3fs, fault_proxy, bucket):
    for number in range(66):
        bucket.client.put_object(Bucket=bucket.name, Key=f"state/v1/{number}", Body=b"0123456789")
    store = open_s3fs()
    for number in range(66):
        assert read(store, 8, 2, 10, f"v1/{number}") == b"89"
    assert len(store._sized) == 64
    assert read(store, 2, 2, 10, "v1/65") == b"23"
    assert fault_proxy.operations == ["GetObject"] * 67
    assert read(store, 2, 2, 10, "v1/0") == b"23"
    assert fault_proxy.operations == ["GetObject"] * 69


def test_a_buffer_larger_than_a_part_is_filled_part_by_part(open_s3fs, fault_proxy, bucket):
    data = bytes(range(256)) * (12 * MIB // 256)
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=data)
    assert read(open_s3fs(), 0, len(data), len(data)) == data
    assert fault_proxy.operations == ["GetObject"] * 3


def test_a_buffer_is_not_filled_by_an_answer_that_breaks_off(open_s3fs, fault_proxy, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * MIB)
    fault_proxy.cut_body("GetObject", after=1000, times=0)
    with pytest.raises(StoreError) as caught:
        read(open_s3fs(), 0, MIB, MIB)
    assert caught.value.reason == "unreachable"


def test_a_driver_that_ignores_ranges_is_not_believed(files, monkeypatch):
    files.put("v1/blob", [b"0123456789"])
    real_cat = files._filesystem.cat_file
    monkeypatch.setattr(files._filesystem, "cat_file", lambda path, start=None, end=None: real_cat(path))
    assert read(files, 0, 10, 10) == b"0123456789"
    for attempt in (lambda: files.get_range("v1/blob", 2, 3), lambda: read(files, 2, 3, 10)):
        with pytest.raises(StoreError, match="ignores requests for a range"):
            attempt()


def test_a_part_of_a_folder_is_listed_without_the_rest_of_it(open_s3fs, fault_proxy, bucket):
    for name in ("a", "ab", "ab/c", "abc/d/e", "b/ab", "other/ab"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"state/v1/{name}", Body=b"x")
    for number in range(1001):
        bucket.client.put_object(Bucket=bucket.name, Key=f"state/v1/many{number}", Body=b"x")
    store = open_s3fs()
    assert [info.name for info in store.list("v1/ab")] == ["v1/ab", "v1/ab/c", "v1/abc/d/e"]
    assert list(store.list("v1/x")) == []
    assert fault_proxy.operations == ["ListObjectsV2"] * 2
    assert len(list(store.list("v1/m"))) == 1001
    assert {info.name for info in store.list("v1/")} > {"v1/a", "v1/b/ab", "v1/many1000"}
    whole = [info.name for info in store.list()]
    assert len(whole) == 1007
    assert [name for name in whole if name.startswith("v1/a")] == [info.name for info in store.list("v1/a")]


class _Flat(fsspec.AbstractFileSystem):
    """An object store's driver that says what it was asked for; its ``prefix`` is not what others mean by it."""

    cachable = False

    def find(self, path, maxdepth=None, withdirs=False, detail=False, prefix="", **kwargs):
        names = [f"{path}/ab", f"{path}/b"]
        return {name: {"name": name, "size": 1, "mtime": 1.0} for name in names if name.startswith(prefix)}


class _OlderFlat(_Flat):
    def find(self, path, maxdepth=None, withdirs=False, detail=False):
        return super().find(path)


@pytest.mark.parametrize(("driver", "protocol"), [(_Flat, "oss"), (_OlderFlat, "s3")])
def test_a_driver_that_is_not_known_to_list_by_prefix_is_not_asked_to(monkeypatch, driver, protocol):
    monkeypatch.setattr(driver, "protocol", protocol, raising=False)
    store = FsspecBlobStore(f"{protocol}://bucket", driver())
    assert [info.name for info in store.list("v1/a")] == ["v1/ab"]


def test_a_long_blob_is_a_multipart_upload_and_nothing_else(open_s3fs, fault_proxy):
    open_s3fs().put("v1/blob", [b"x" * 11 * MIB])
    assert fault_proxy.operations == [
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPart",
        "UploadPart",
        "CompleteMultipartUpload",
    ]


def test_what_another_client_did_meanwhile_is_seen(open_s3fs, bucket):
    store = open_s3fs()
    assert list(store.list("v1/")) == []
    with pytest.raises(BlobNotFoundError):
        b"".join(store.get("v1/blob"))
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"data")
    assert b"".join(store.get("v1/blob")) == b"data"
    assert [info.name for info in store.list("v1/")] == ["v1/blob"]
    assert not dict(store._filesystem.dircache)
    bucket.client.delete_object(Bucket=bucket.name, Key="state/v1/blob")
    assert list(store.list("v1/")) == []
    with pytest.raises(BlobNotFoundError):
        b"".join(store.get("v1/blob"))


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_is_refused_is_aborted_and_never_published_later(open_s3fs, fault_proxy, bucket, operation):
    fault_proxy.refuse(operation, 403, "AccessDenied")
    with pytest.raises(StoreError) as caught:
        open_s3fs().put("v1/blob", [b"x" * 11 * MIB])
    assert caught.value.reason == "denied"
    assert bucket.unfinished_uploads() == []
    del caught
    gc.collect()
    assert bucket.all_keys() == set()


def test_a_writer_that_was_given_up_is_not_published_by_the_garbage_collector(
    open_s3fs, fault_proxy, bucket, monkeypatch
):
    # pytest keeps log records, and with the error in one of them the writer.
    monkeypatch.setattr(logging.getLogger("offload_backend.stores.fsspec"), "disabled", True)
    fault_proxy.refuse("AbortMultipartUpload", 403, "AccessDenied", times=0)

    def source():
        yield b"x" * 11 * MIB
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        open_s3fs().put("v1/blob", source())
    gc.collect()
    assert bucket.all_keys() == set()
    assert "CompleteMultipartUpload" not in fault_proxy.operations


def test_an_abort_that_fails_is_logged_and_hides_nothing(open_s3fs, fault_proxy, caplog):
    fault_proxy.refuse("AbortMultipartUpload", 403, "AccessDenied", times=0)
    fault_proxy.refuse("UploadPart", 500, "InternalError", times=0)
    with caplog.at_level(logging.WARNING), pytest.raises(StoreError, match="InternalError"):
        open_s3fs().put("v1/blob", [b"x" * 11 * MIB])
    assert "an unfinished upload stays behind" in caplog.text


@pytest.mark.parametrize(
    "refusal",
    [
        (503, "SlowDown", "throttled"),
        (500, "InternalError", "unreachable"),
        (403, "AccessDenied", "denied"),
    ],
)
def test_refusals_have_the_reasons_that_they_have_through_boto3(open_s3fs, fault_proxy, bucket, refusal):
    status, code, reason = refusal
    operations = ("PutObject", "GetObject", "GetObject", "ListObjectsV2", "DeleteObject")
    for operation in operations:
        fault_proxy.refuse(operation, status, code, times=0)
    store = open_s3fs(tries=2)
    for attempt in (
        lambda: store.put("v1/blob", [b"x"]),
        lambda: b"".join(store.get("v1/blob")),
        lambda: read(store, 0, 5, 5),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreError, match=code) as caught:
            attempt()
        assert caught.value.reason == reason
    assert code in store.delete(["v1/blob"]).failed["v1/blob"]
    tries = 1 if reason == "denied" else 2
    assert fault_proxy.operations == [operation for operation in operations for _ in range(tries)]


def test_a_store_that_asks_to_slow_down_is_asked_again(open_s3fs, fault_proxy, bucket):
    fault_proxy.refuse("PutObject", 503, "SlowDown", times=2)
    open_s3fs(tries=3).put("v1/blob", [b"data"])
    assert bucket.read("state/v1/blob") == b"data"


def test_a_store_that_cannot_be_reached_is_an_error_worth_another_try(open_s3fs, bucket, closed_port):
    options = {**bucket.options, "endpoint_url": closed_port}
    with pytest.raises(StoreError) as caught:
        open_s3fs(storage_options=options, tries=1).put("v1/blob", [b"x"])
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)


def test_a_get_whose_answer_breaks_off_never_ends_quietly(open_s3fs, fault_proxy, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/blob", Body=b"x" * MIB)
    fault_proxy.cut_body("GetObject", after=1000, times=0)
    with pytest.raises(StoreError) as caught:
        b"".join(open_s3fs().get("v1/blob"))
    assert caught.value.reason == "unreachable"


def test_only_the_names_that_were_refused_are_reported(open_s3fs, fault_proxy, bucket):
    for name in ("a", "b"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"state/v1/{name}", Body=b"x")
    fault_proxy.refuse("DeleteObject", 403, "AccessDenied")
    report = open_s3fs().delete(["v1/a", "v1/b", "v1/missing"])
    assert report.deleted == ("v1/b", "v1/missing")
    assert report.failed == {"v1/a": f"S3 refused DeleteObject: AccessDenied; {grant('DeleteObject')}"}
    assert bucket.all_keys() == {"state/v1/a"}


def test_a_folder_that_cannot_be_read_fails_the_listing(files, tmp_path):
    for name in ("v1/a/blob", "v1/b/blob"):
        files.put(name, [b"x"])
    with without_rights(tmp_path / "root/v1/b"):
        with pytest.raises(StoreError) as caught:
            list(files.list())
        assert caught.value.reason == "denied"


def test_a_failed_write_in_place_removes_the_part_that_was_written(files, tmp_path):
    def source():
        yield b"x" * 11 * MIB
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.put("v1/blob", source())
    gc.collect()
    assert not (tmp_path / "root/v1/blob").exists()


@pytest.mark.parametrize(
    "told",
    [
        {"LastModified": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)},
        {"last_modified": datetime(2026, 1, 2, 3, 4, 5)},  # noqa: DTZ001 - a driver that leaves the zone out
        {"updated": "2026-01-02T03:04:05.000Z"},
        {"mtime": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()},
        {},
    ],
)
def test_times_are_read_in_every_form_that_drivers_tell_them(told):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    tree = {
        "/times": [{"name": "/times/v1", "size": 0, "type": "directory"}],
        "/times/v1": [{"name": "/times/v1/blob", "size": 3, "type": "file", **told}],
    }
    infos = list(FsspecBlobStore("told:///times", _Told(tree, moment)).list())
    assert [(info.name, info.size, info.modified) for info in infos] == [("v1/blob", 3, moment)]


def test_a_driver_that_tells_no_times_is_an_error():
    tree = {"/times": [{"name": "/times/blob", "size": 3, "type": "file"}]}
    with pytest.raises(StoreError, match="tells no times"):
        list(FsspecBlobStore("told:///times", _Told(tree, None)).list())


def test_a_listing_cache_of_the_driver_is_not_believed():
    class Caching(_Told):
        def ls(self, path, detail=True, **kwargs):
            return self.dircache.setdefault(path, self.tree[path])

        def invalidate_cache(self, path=None):
            self.dircache.clear()

    filesystem = Caching({"/cached": []}, None)
    filesystem.dircache = {}
    store = FsspecBlobStore("told:///cached", filesystem)
    assert list(store.list()) == []
    filesystem.tree["/cached"] = [{"name": "/cached/blob", "size": 3, "type": "file", "mtime": 1.0}]
    assert [info.name for info in store.list()] == ["blob"]


def test_a_driver_that_lists_another_place_is_not_believed():
    tree = {"/here": [{"name": "/elsewhere/blob", "size": 3, "type": "file", "mtime": 1.0}]}
    with pytest.raises(StoreError, match="another place"):
        list(FsspecBlobStore("told:///here", _Told(tree, None)).list())


class _Told(fsspec.AbstractFileSystem):
    """A driver that lists what it was told."""

    protocol = "told"
    cachable = False

    def __init__(self, tree, moment):
        super().__init__()
        self.tree = tree
        self.moment = moment

    def ls(self, path, detail=True, **kwargs):
        return self.tree[path]

    def find(self, path, **kwargs):
        raise AssertionError("which of them leaves out what it cannot read is not known")

    def modified(self, path):
        return self.moment


class _AnsweredError(Exception):
    def __init__(self, status):
        super().__init__("told to")
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (_AnsweredError(403), "denied", False),
        (_AnsweredError(429), "throttled", True),
        (_AnsweredError(503), "throttled", True),
        (_AnsweredError(500), "unreachable", True),
        (_AnsweredError(400), "failed", False),
        (_AnsweredError(404), "bucket-missing", False),
        (TimeoutError(), "unreachable", True),
        (ConnectionResetError(), "unreachable", True),
        (PermissionError(), "denied", False),
        (OSError(28, "full"), "full", False),
        (NotImplementedError(), "failed", False),
    ],
)
def test_errors_of_any_driver_get_a_reason(monkeypatch, error, reason, retryable):
    filesystem = fsspec.filesystem("memory", skip_instance_cache=True)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(filesystem, "pipe_file", refuse)
    with pytest.raises(StoreError) as caught:
        FsspecBlobStore("memory://errors", filesystem).put("v1/blob", [b"x"])
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)
    assert caught.value.location == "memory://errors/v1/blob"
