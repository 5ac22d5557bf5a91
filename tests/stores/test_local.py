from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ForeignRefError, StoreError
from offload_backend.stores.local import LocalBlobStore
from tests.stores.conftest import without_rights


@pytest.fixture
def root(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(root):
    return LocalBlobStore(f"file://{root}")


@pytest.fixture
def elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


def files_below(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("name", ["v1/link/secret", "v1/secret-link"])
def test_no_symbolic_link_below_the_root_is_read(store, root, elsewhere, name):
    (root / "v1").mkdir(parents=True)
    (root / "v1/link").symlink_to(elsewhere)
    (root / "v1/secret-link").symlink_to(elsewhere / "secret")
    with pytest.raises(ForeignRefError, match="symbolic link"):
        b"".join(store.get(name))
    with pytest.raises(ForeignRefError, match="symbolic link"):
        store.get_range(name, 0, 1)
    with pytest.raises(ForeignRefError, match="symbolic link"):
        store.read_into(name, 0, memoryview(bytearray(6)), 6)


def test_no_symbolic_link_below_the_root_is_written_through(store, root, elsewhere):
    (root / "v1").mkdir(parents=True)
    (root / "v1/link").symlink_to(elsewhere)
    (root / "v1/dangling").symlink_to(elsewhere / "new")
    with pytest.raises(ForeignRefError, match="symbolic link"):
        store.put("v1/link/blob", [b"x"])
    with pytest.raises(StoreError, match="EEXIST"):
        store.put("v1/dangling", [b"x"])
    assert files_below(elsewhere) == ["secret"]


def test_no_symbolic_link_below_the_root_is_deleted_or_deleted_through(store, root, elsewhere):
    (root / "v1").mkdir(parents=True)
    (root / "v1/link").symlink_to(elsewhere)
    (root / "v1/secret-link").symlink_to(elsewhere / "secret")
    store.put("v1/blob", [b"x"])
    report = store.delete(["v1/link/secret", "v1/blob", "v1/secret-link"])
    assert report.deleted == ("v1/blob",)
    assert set(report.failed) == {"v1/link/secret", "v1/secret-link"}
    assert (elsewhere / "secret").exists()
    assert (root / "v1/secret-link").is_symlink()


def test_no_symbolic_link_below_the_root_is_listed(store, root, elsewhere):
    store.put("v1/blob", [b"x"])
    (root / "v1/link").symlink_to(elsewhere)
    (root / "v1/secret-link").symlink_to(elsewhere / "secret")
    (root / "v1/round").symlink_to(root)
    assert [info.name for info in store.list()] == ["v1/blob"]
    with pytest.raises(ForeignRefError, match="symbolic link"):
        list(store.list("v1/link/"))


def test_the_root_itself_may_be_a_symbolic_link(tmp_path, elsewhere):
    (tmp_path / "root").symlink_to(elsewhere)
    store = LocalBlobStore(f"file://{tmp_path}/root")
    store.put("v1/blob", [b"x"])
    assert (elsewhere / "v1/blob").read_bytes() == b"x"
    assert store.location == f"file://{tmp_path}/root"


def test_a_name_is_never_reused(store, root):
    store.put("v1/blob", [b"first"])
    with pytest.raises(StoreError, match="EEXIST"):
        store.put("v1/blob", [b"second"])
    assert b"".join(store.get("v1/blob")) == b"first"
    assert files_below(root) == ["v1/blob"]


def test_a_blob_is_on_the_disk_before_it_has_its_name_and_the_name_before_put_returns(store, monkeypatch):
    happened = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor):
        happened.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        real_fsync(descriptor)

    def rename(*args, **kwargs):
        happened.append("rename")
        real_rename(*args, **kwargs)

    store.put("v1/first", [b"x"])
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    store.put("v1/second", [b"x"])
    assert happened == ["file", "rename", "folder"]


def test_folders_made_for_the_first_blob_are_on_the_disk_as_well(tmp_path, monkeypatch):
    synced = set()
    real_fsync = os.fsync

    def fsync(descriptor):
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    LocalBlobStore(f"file://{tmp_path}/a/b/state").put("v1/blob", [b"x"])
    assert {str(tmp_path / path) for path in ("", "a", "a/b", "a/b/state", "a/b/state/v1")} <= synced


def test_an_exception_from_a_signal_right_after_the_file_was_made_leaves_nothing(store, root, monkeypatch):
    real_open = os.open

    def open_and_raise(path, flags, *args, **kwargs):
        descriptor = real_open(path, flags, *args, **kwargs)
        if flags & os.O_CREAT:
            os.close(descriptor)
            raise KeyboardInterrupt
        return descriptor

    monkeypatch.setattr(os, "open", open_and_raise)
    with pytest.raises(KeyboardInterrupt):
        store.put("v1/blob", [b"x"])
    assert files_below(root) == []


def test_an_unfinished_blob_is_not_listed(store, root):
    def source():
        yield b"x" * 10
        assert list(store.list()) == []
        assert [path.name.startswith(".part#") for path in (root / "v1").iterdir()] == [True]

    store.put("v1/blob", source())
    assert [info.name for info in store.list()] == ["v1/blob"]


def test_a_process_killed_while_it_writes_leaves_no_blob(store, root):
    script = f"""
import time
from offload_backend.stores.local import LocalBlobStore
def source():
    yield b"x" * 100_000
    print("half way", flush=True)
    time.sleep(60)
LocalBlobStore("file://{root}").put("v1/blob", source())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half way\n"
        process.send_signal(signal.SIGKILL)
    assert list(store.list()) == []
    with pytest.raises(BlobNotFoundError):
        b"".join(store.get("v1/blob"))
    store.put("v1/blob", [b"again"])
    assert b"".join(store.get("v1/blob")) == b"again"


def test_files_and_folders_get_the_rights_of_the_umask(store, root):
    before = os.umask(0o027)
    try:
        store.put("v1/blob", [b"x"])
    finally:
        os.umask(before)
    assert (root / "v1/blob").stat().st_mode & 0o777 == 0o640
    assert (root / "v1").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    "refusal",
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "denied"), (errno.EIO, "unreachable")],
)
@pytest.mark.parametrize("call", ["writev", "fsync", "rename"])
def test_a_disk_that_refuses_is_an_error_with_a_reason_and_leaves_nothing(store, root, monkeypatch, call, refusal):
    number, reason = refusal
    store.put("v1/before", [b"x"])

    def refuse(*_, **__):
        raise OSError(number, "injected")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreError) as caught:
        store.put("v1/blob", [b"x" * 100])
    assert caught.value.reason == reason
    assert caught.value.location == f"file://{root}/v1/blob"
    assert isinstance(caught.value.__cause__, OSError)
    assert files_below(root) == ["v1/before"]


def test_a_full_disk_names_the_setting(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "injected")

    monkeypatch.setattr(os, "writev", refuse)
    with pytest.raises(StoreError, match="ENOSPC") as caught:
        store.put("v1/blob", [b"x"])
    assert "[offload_backend] path" in caught.value.hint
    assert not caught.value.retryable


def test_missing_rights_are_told_by_every_method(store, root):
    store.put("v1/a/blob", [b"x"])
    with without_rights(root / "v1"):
        for attempt in (
            lambda: store.put("v1/a/new", [b"x"]),
            lambda: b"".join(store.get("v1/a/blob")),
            lambda: store.read_into("v1/a/blob", 0, memoryview(bytearray(1)), 1),
            lambda: list(store.list()),
        ):
            with pytest.raises(StoreError) as caught:
                attempt()
            assert caught.value.reason == "denied"
        assert store.delete(["v1/a/blob"]).failed == {"v1/a/blob": "delete failed: EACCES"}
    assert files_below(root) == ["v1/a/blob"]


def test_the_chunks_own_system_error_is_not_taken_for_the_stores(store):
    def source():
        yield b"x"
        raise PermissionError(errno.EACCES, "reading the source")

    with pytest.raises(PermissionError, match="reading the source"):
        store.put("v1/blob", source())


def test_what_is_no_plain_file_is_no_blob(store, root):
    (root / "v1").mkdir(parents=True)
    os.mkfifo(root / "v1/pipe")
    with pytest.raises(BlobNotFoundError):
        b"".join(store.get("v1/pipe"))
    with pytest.raises(BlobNotFoundError):
        store.read_into("v1/pipe", 0, memoryview(b""), 0)
    assert list(store.list()) == []


def test_a_file_in_the_way_of_a_folder_is_an_error(store):
    store.put("v1/blob", [b"x"])
    with pytest.raises(StoreError, match="ENOTDIR"):
        store.put("v1/blob/below", [b"x"])


def test_a_delete_removes_the_folders_it_empties_and_no_others(store, root):
    for name in ("v1/a/b/c/one", "v1/a/b/two", "v1/d/three"):
        store.put(name, [b"x"])
    store.delete(["v1/a/b/c/one"])
    assert not (root / "v1/a/b/c").exists()
    assert (root / "v1/a/b/two").exists()
    store.delete(["v1/a/b/two", "v1/d/three"])
    assert root.exists()
    assert list(root.iterdir()) == []


def test_puts_survive_deletes_that_prune_the_same_folders(store):
    def work(worker):
        for round_ in range(60):
            name = f"v1/a/b/c/{worker}-{round_}"
            store.put(name, [b"x"])
            assert store.delete([name]).failed == {}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(store.list()) == []


def test_a_listing_tolerates_what_vanishes_meanwhile_and_misses_nothing_that_stays(store):
    for number in range(50):
        store.put(f"v1/kept/{number}", [b"x"])
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            store.put("v1/churn/a/b", [b"x"])
            store.delete(["v1/churn/a/b"])

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(30):
            kept = [info.name for info in store.list() if info.name.startswith("v1/kept/")]
            assert len(kept) == 50
    finally:
        stop.set()
        thread.join()


def test_a_reader_that_stops_early_leaves_no_descriptor_open(store):
    store.put("v1/blob", [b"x" * 3_000_000])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        chunks = store.get("v1/blob")
        assert len(next(chunks)) == 1024 * 1024
        chunks.close()
        store.get_range("v1/blob", 0, 10)
        store.read_into("v1/blob", 0, memoryview(bytearray(10)), 3_000_000)
        with pytest.raises(BlobCorruptError):
            store.read_into("v1/blob", 0, memoryview(bytearray(10)), 10)
        list(store.list())
        store.delete(["v1/missing/x"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_really_is_full_keeps_what_was_there_and_nothing_else(small_disk):
    store = LocalBlobStore(f"file://{small_disk}/state")
    store.put("v1/kept", [b"kept"])
    large = bytearray(os.urandom(2_000_000))
    for chunks in ([b"x" * 500_000] * 4, [memoryview(large)], [b"abc", memoryview(large)[:300]] * 5000):
        with pytest.raises(StoreError) as caught:
            store.put("v1/too-large", chunks)
        assert (caught.value.reason, "[offload_backend] path" in caught.value.hint) == ("full", True)
        assert b"".join(store.get("v1/kept")) == b"kept"
        assert files_below(small_disk) == ["state/v1/kept"]
    store.put("v1/fits", [b"abc", memoryview(large)[:900_000]])
    assert b"".join(store.get("v1/fits")) == b"abc" + large[:900_000]


def test_a_file_that_may_not_grow_so_large_is_an_error_and_leaves_nothing(store, root):
    """The system writes what fits, in the middle of a view, and refuses the rest."""
    script = f"""
import resource
from offload_backend.errors import StoreError
from offload_backend.stores.local import LocalBlobStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1_234_567, 1_234_567))
for chunks in ([memoryview(bytearray(2_000_000))], [b"abc", memoryview(bytearray(400))] * 5000):
    try:
        LocalBlobStore("file://{root}").put("v1/blob", chunks)
    except StoreError as error:
        assert "EFBIG" in str(error), error
    else:
        raise AssertionError("it was stored")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert files_below(root) == []


@pytest.mark.parametrize("at_once", [1, 7, 4096, 1_000_000])
def test_a_system_that_takes_and_gives_less_than_it_was_asked_is_asked_again(store, root, monkeypatch, at_once):
    size = 3_000 if at_once < 10 else 1_500_000
    data = bytes(range(251)) * (size // 251)
    cuts = sorted({0, 1, 4, 5, 700, 703, len(data) // 2, len(data)})
    real_writev, real_preadv = os.writev, os.preadv

    def writev(file, views):
        taken, room = [], at_once
        for view in views:
            taken.append(view[:room])
            room -= len(taken[-1])
        return real_writev(file, taken)

    monkeypatch.setattr(os, "writev", writev)
    monkeypatch.setattr(os, "preadv", lambda file, views, start: real_preadv(file, [views[0][:at_once]], start))
    store.put("v1/blob", [memoryview(data)[start:end] for start, end in pairwise(cuts)])
    assert (root / "v1/blob").read_bytes() == data
    buffer = bytearray(len(data))
    store.read_into("v1/blob", 0, memoryview(buffer), len(data))
    assert buffer == data
    store.read_into("v1/blob", 700, memoryview(buffer)[:1000], len(data))
    assert buffer[:1000] == data[700:1700]


def test_a_file_that_is_cut_while_it_is_read_is_corrupt(store, root, monkeypatch):
    store.put("v1/blob", [b"x" * 1000])
    real_preadv = os.preadv

    def preadv(file, views, start):
        os.truncate(root / "v1/blob", 600)
        return real_preadv(file, views, start)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(BlobCorruptError):
        store.read_into("v1/blob", 0, memoryview(bytearray(1000)), 1000)


def test_signals_that_arrive_while_a_blob_is_written_change_nothing_in_it(store):
    data = os.urandom(1_000_000)
    arrived = []
    before = signal.signal(signal.SIGALRM, lambda *_: arrived.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(1000):
            chunks = [memoryview(data)[start : start + 50_000] for start in range(0, len(data), 50_000)]
            store.put(f"v1/{number}", chunks)
            buffer = bytearray(len(data))
            store.read_into(f"v1/{number}", 0, memoryview(buffer), len(data))
            assert buffer == data
            store.delete([f"v1/{number}"])
            if len(arrived) > 50:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert arrived


def test_a_timeout_that_strikes_within_a_write_leaves_nothing(store, root, monkeypatch):
    real_writev = os.writev

    def writev(file, views):
        real_writev(file, views)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "writev", writev)
    with pytest.raises(KeyboardInterrupt):
        store.put("v1/blob", [memoryview(bytearray(2_000_000))])
    assert files_below(root) == []


def test_many_small_chunks_are_few_system_calls_and_large_ones_are_not_copied(store, monkeypatch):
    calls = []
    real_writev = os.writev

    def writev(file, views):
        calls.append([view.obj for view in views])
        return real_writev(file, views)

    monkeypatch.setattr(os, "writev", writev)
    large = bytearray(3_000_000)
    store.put("v1/blob", [b"abc", memoryview(large)[:300]] * 5000 + [large])
    assert len(calls) <= 12
    assert sum(view is large for call in calls for view in call) == 5003
    calls.clear()
    store.put("v1/larger", [b"abc", memoryview(large)[:10_000]] * 1500)
    assert len(calls) <= 5


def test_what_waits_to_be_written_is_bounded(store, monkeypatch):
    waiting, most = [0], [0]
    real_writev = os.writev

    def writev(file, views):
        waiting[0] -= sum(map(len, views))
        return real_writev(file, views)

    def source():
        for _ in range(100):
            waiting[0] += 300_000
            most[0] = max(most[0], waiting[0])
            yield bytes(300_000)

    monkeypatch.setattr(os, "writev", writev)
    store.put("v1/blob", source())
    assert most[0] <= 5 * 1024 * 1024
    assert waiting[0] == 0
