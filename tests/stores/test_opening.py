from __future__ import annotations

import threading

import pytest
from fsspec.registry import known_implementations

from offload_backend.errors import ConfigError
from offload_backend.settings import Settings
from offload_backend.stores import opening
from offload_backend.stores.fsspec import FsspecBlobStore
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.opening import open_store
from offload_backend.stores.s3 import S3BlobStore


@pytest.mark.parametrize(
    ("path", "transport", "kind", "location"),
    [
        ("/shared/state/", "boto3", LocalBlobStore, "file:///shared/state"),
        ("file:///shared/state", "fsspec", LocalBlobStore, "file:///shared/state"),
        ("s3://bucket/state/", "boto3", S3BlobStore, "s3://bucket/state"),
        ("s3a://bucket/state", "boto3", S3BlobStore, "s3://bucket/state"),
        ("s3://bucket/state", "fsspec", FsspecBlobStore, "s3://bucket/state"),
        ("reference+memory://x", "boto3", None, None),
    ],
)
def test_the_scheme_and_the_transport_choose_the_adapter(path, transport, kind, location):
    settings = Settings(transport=transport)
    if kind is None:
        with pytest.raises(ConfigError):
            open_store(path, settings)
        return
    store = open_store(path, settings)
    assert isinstance(store, kind)
    assert store.location == location


def test_a_memory_store_is_one_per_name():
    open_store("memory://shared-name", Settings()).put("v1/a", [b"x"])
    assert b"".join(open_store("memory://shared-name/", Settings()).get("v1/a")) == b"x"
    assert list(open_store("memory://other-name", Settings()).list()) == []
    assert list(open_store("memory://shared-name/below", Settings()).list()) == []


def test_a_fork_while_another_thread_opens_a_memory_store_leaves_no_lock_behind(monkeypatch):
    """What a thread holds at the moment of a fork is held for good in the child."""
    making, go_on = threading.Event(), threading.Event()

    class Slow(opening.MemoryBlobStore):
        def __init__(self, location):
            if location == "memory://slow-name":
                making.set()
                go_on.wait(30)
            super().__init__(location)

    monkeypatch.setattr(opening, "MemoryBlobStore", Slow)
    slow = threading.Thread(target=open_store, args=("memory://slow-name", Settings()), daemon=True)
    slow.start()
    assert making.wait(30)
    other = threading.Thread(target=open_store, args=("memory://quick-name", Settings()), daemon=True)
    other.start()
    other.join(5)
    waits = other.is_alive()
    go_on.set()
    slow.join()
    other.join()
    assert not waits


def test_an_empty_path_says_which_setting_to_set_and_how():
    with pytest.raises(ConfigError) as caught:
        open_store("", Settings())
    assert "[offload_backend] path" in caught.value.hint
    assert "s3://conn_id@bucket/" in caught.value.hint
    assert "connect(path=" in caught.value.hint


def test_a_connection_id_is_refused_outside_airflow():
    with pytest.raises(ConfigError, match="only inside Airflow") as caught:
        open_store("s3://conn:pass@bucket/state", Settings())
    assert "storage_options" in caught.value.hint
    assert "pass@" not in str(caught.value)


def test_an_unknown_kind_of_storage_is_named():
    with pytest.raises(ConfigError, match="nosuch://") as caught:
        open_store("nosuch://place/state", Settings())
    assert "[offload_backend] path" in caught.value.hint


def test_the_package_that_a_storage_needs_is_named(monkeypatch):
    lacking = {"class": "no_such_package.Filesystem", "err": "Install no-such-package to use it"}
    monkeypatch.setitem(known_implementations, "lacking", lacking)
    with pytest.raises(ConfigError, match="Install no-such-package"):
        open_store("lacking://place/state", Settings())


def test_options_that_a_driver_refuses_are_not_repeated():
    settings = Settings(transport="fsspec", storage_options={"key": "k", "username": "hunter2"})
    with pytest.raises(ConfigError) as caught:
        open_store("s3://bucket/state", settings)
    assert "storage_options" in caught.value.hint
    assert "hunter2" not in str(caught.value)
