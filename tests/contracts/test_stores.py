"""Every blob store adapter keeps the contract."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from pathlib import Path

import fsspec
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from benchmarks.servers import find_go, s3bench
from offload_backend.settings import Settings
from offload_backend.stores.fsspec import FsspecBlobStore
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.memory import MemoryBlobStore
from offload_backend.stores.opening import open_store
from offload_backend.stores.s3 import S3BlobStore
from offload_backend.stores.s3_client import client_config, client_maker
from offload_backend.stores.s3_direct import direct_objects
from offload_backend.testing.blob_store import BlobStoreContract
from tests.conftest import CREDENTIALS, Bucket

PART_SIZE = BlobStoreContract.part_size


@pytest.fixture(scope="module")
def shared_client(s3_server):
    settings = Settings(storage_options={"endpoint_url": s3_server, **CREDENTIALS})
    return client_maker(settings.options)(client_config(settings))


@pytest.fixture(scope="module")
def shared_filesystem(s3_server):
    options = {"endpoint_url": s3_server, **CREDENTIALS}
    settings = Settings(part_size=PART_SIZE, storage_options=options, transport="fsspec")
    return open_store("s3://any", settings)._filesystem


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory):
    go = find_go()
    if go is None:
        pytest.skip("no Go to build benchmarks/s3bench with: make bench installs it into .venv-go")
    with s3bench(go, tmp_path_factory.mktemp("s3bench"), "-verify") as server:
        yield server


class RawMemory:
    def __init__(self, store):
        self.blobs = store._blobs

    def put(self, name, data):
        self.blobs[name] = (data, datetime.now(tz=timezone.utc))

    def get(self, name):
        return self.blobs[name][0]

    def names(self):
        return set(self.blobs)

    def unfinished(self):
        return []


class RawFiles:
    def __init__(self, root: Path):
        self.root = root

    def put(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, name):
        return (self.root / name).read_bytes()

    def names(self):
        return {name for name in self._files() if ".part#" not in name}

    def unfinished(self):
        return [name for name in self._files() if ".part#" in name]

    def _files(self):
        return [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()]


class RawBucket:
    """Reads with a boto3 client, and writes into the server's own memory, which is quick."""

    def __init__(self, bucket, prefix):
        self.bucket = bucket
        self.prefix = prefix

    def put(self, name, data):
        made = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(self.bucket.name, self.prefix + name, data)
        assert made.etag  # or moto would work it out at the first reading, and two at once get in each other's way

    def get(self, name):
        return self.bucket.read(self.prefix + name)

    def names(self):
        return {key.removeprefix(self.prefix) for key in self.bucket.all_keys()}

    def unfinished(self):
        return self.bucket.unfinished_uploads()


class RawStrictBucket(RawBucket):
    """The same in another process, and so by requests alone."""

    def put(self, name, data):
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=self.prefix + name, Body=data)


class RawFsspecMemory:
    def __init__(self, root):
        self.root = root
        self.files = fsspec.filesystem("memory")

    def put(self, name, data):
        self.files.pipe_file(f"{self.root}/{name}", data)

    def get(self, name):
        return self.files.store[f"{self.root}/{name}"].getvalue()

    def names(self):
        return {path.removeprefix(f"{self.root}/") for path in self.files.store if path.startswith(self.root)}

    def unfinished(self):
        return []


class TestMemory(BlobStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryBlobStore("memory://contract")

    @pytest.fixture
    def raw(self, store):
        return RawMemory(store)


class TestLocal(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return LocalBlobStore(f"file://{tmp_path}/not/yet/there")

    @pytest.fixture
    def raw(self, tmp_path):
        return RawFiles(tmp_path / "not/yet/there")


class TestS3Directly(BlobStoreContract):
    @pytest.fixture
    def store(self, bucket, shared_client):
        settings = Settings(part_size=PART_SIZE, storage_options=bucket.options)
        direct = direct_objects(bucket.name, settings.options, settings)
        assert direct is not None
        return S3BlobStore(f"{bucket.url}/state", lambda _: shared_client, settings, lambda: direct)

    @pytest.fixture
    def raw(self, bucket):
        return RawBucket(bucket, "state/")


class TestS3DirectlyAtAServerThatVerifies(BlobStoreContract):
    """moto takes any checksum; this server compares them with what arrived, part by part."""

    @pytest.fixture
    def place(self, strict_server):
        client = strict_server._client
        bucket = Bucket(f"bucket-{uuid.uuid4().hex}", strict_server.endpoint, client)
        client.create_bucket(Bucket=bucket.name)
        return bucket

    @pytest.fixture
    def store(self, place):
        settings = Settings(part_size=PART_SIZE, storage_options=place.options, transport="direct")
        return open_store(f"{place.url}/state", settings)

    @pytest.fixture
    def raw(self, place):
        return RawStrictBucket(place, "state/")


class TestS3ThroughBoto3(BlobStoreContract):
    @pytest.fixture
    def store(self, bucket, shared_client):
        return S3BlobStore(f"{bucket.url}/state", lambda _: shared_client, Settings(part_size=PART_SIZE))

    @pytest.fixture
    def raw(self, bucket):
        return RawBucket(bucket, "state/")


class TestS3ThroughFsspec(BlobStoreContract):
    @pytest.fixture
    def store(self, bucket, shared_filesystem):
        return FsspecBlobStore(f"{bucket.url}/state", shared_filesystem, PART_SIZE)

    @pytest.fixture
    def raw(self, bucket):
        return RawBucket(bucket, "state/")


class TestMemoryThroughFsspec(BlobStoreContract):
    @pytest.fixture
    def root(self):
        root = f"/{uuid.uuid4().hex}"
        yield root
        files = fsspec.filesystem("memory")
        if files.exists(root):
            files.rm(root, recursive=True)

    @pytest.fixture
    def store(self, root):
        return FsspecBlobStore(f"memory:/{root}", fsspec.filesystem("memory"), PART_SIZE)

    @pytest.fixture
    def raw(self, root):
        return RawFsspecMemory(root)


class TestFilesThroughFsspec(BlobStoreContract):
    """Stands for the filesystems that write in place."""

    @pytest.fixture
    def store(self, tmp_path):
        (tmp_path / "root").mkdir()
        return FsspecBlobStore(f"file://{tmp_path}/root", fsspec.filesystem("file"), PART_SIZE)

    @pytest.fixture
    def raw(self, tmp_path):
        return RawFiles(tmp_path / "root")
