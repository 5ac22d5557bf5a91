"""Mark, quarantine and purge over real stores: a directory with aged files, and S3 over HTTP."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.corestores.memory import MemoryCoreStore
from offload_backend.corestores.memory_roots import MemoryRootSource
from offload_backend.errors import IncompleteError
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.mark import begin, conclude, list_shard, mark, shards
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.restore import pin, restore, unpin
from offload_backend.lifecycle.verify import verify
from offload_backend.offloader import Offloader
from offload_backend.row import row_text
from offload_backend.settings import Settings
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.opening import open_store
from tests.lifecycle.simulation import blob_id, name_of

ADDRESSES = [TaskAddress("dag", "run", "task", 1), AssetAddress(uri="s3://x/é"), TaskAddress("d" * 300, "r", "")]
SHORT = ("min-age", "commit-window")


class Place:
    """Real blobs of a deployment, rows in memory."""

    def __init__(self, path, **changes):
        self.settings = Settings.load(
            {"path": path, "deployment": "prod", "inline_limit": 0, "gc_max_ratio": 1.0, **changes}
        )
        self.store = open_store(path, self.settings)
        self.core_store = MemoryCoreStore()
        self.collector = Collector(self.settings, self.store, MemoryRootSource(self.core_store))
        self.offloader = Offloader(self.settings, lambda _: self.store)
        self.live = [self.upload(address) for address in ADDRESSES for _ in range(3)]
        for number, ref in enumerate(self.live):
            self.core_store.set(ADDRESSES[0], str(number), row_text(ref), expires_at=None)
        self.orphans = [self.upload(address) for address in ADDRESSES]

    def upload(self, address=ADDRESSES[0]):
        return self.offloader.offload(list(range(100)), address, "key")

    def left(self):
        return {info.name for info in self.store.list("v1/prod/") if "/_gc/" not in info.name}

    def names(self, refs):
        return {name_of(ref, self.store.location) for ref in refs}


class TestDirectory:
    @pytest.fixture
    def place(self, tmp_path):
        place = Place(f"file://{tmp_path}/state")
        adopt(place.collector)
        return place

    def age(self, place, days, part=""):
        """Make all files, or those with this in their path, older."""
        for path in Path(place.store.location.removeprefix("file://")).rglob("*"):
            if path.is_file() and part in str(path):
                then = path.stat().st_mtime - days * 86_400
                os.utime(path, (then, then))

    def age_manifest(self, place, days):
        """A mark of so many days ago: only its dates can tell, for they are the store's."""
        [path] = Path(place.store.location.removeprefix("file://")).rglob("manifest.jsonl.gz")
        import gzip
        import hashlib
        import json

        *lines, footer = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        earlier = []
        for line in lines:
            found = json.loads(line)
            for fact in found.keys() & {"t0", "first_marked"}:
                found[fact] = (datetime.fromisoformat(found[fact]) - timedelta(days=days)).isoformat()
            earlier.append(json.dumps(found).encode() + b"\n")
        found = {**json.loads(footer), "sha256": hashlib.sha256(b"".join(earlier)).hexdigest()}
        path.write_bytes(gzip.compress(b"".join([*earlier, json.dumps(found).encode()]) + b"\n"))

    def test_old_orphans_go_and_their_folders_with_them(self, place):
        assert mark(place.collector).counts.young.count == len(place.orphans)
        self.age(place, 4, "/key/")
        place.collector.store.delete([info.name for info in place.store.list() if "manifest" in info.name])
        young = place.upload()
        report = mark(place.collector)
        assert (report.counts.marked.count, report.counts.young.count) == (3, 1)
        assert purge(place.collector, delete=True).waiting.count == 3
        self.age_manifest(place, 8)
        assert purge(place.collector, delete=False).doomed.count == 3
        pin(place.collector, [blob_id(place.orphans[0])])
        assert purge(place.collector, delete=True).deleted.count == 2
        unpin(place.collector, [blob_id(place.orphans[0])])
        assert purge(place.collector, delete=True).deleted.count == 1
        assert place.left() == place.names([*place.live, young])
        assert verify(place.collector, contents=True).checked.count == len(place.live)

    def test_a_restored_candidate_stays(self, place):
        self.age(place, 4, "/key/")
        mark(place.collector)
        restore(place.collector, "last")
        self.age_manifest(place, 8)
        assert purge(place.collector, delete=True).restored.count == 3
        assert place.left() == place.names([*place.live, *place.orphans])

    def test_shards_of_a_directory(self, place):
        self.age(place, 4, "/key/")
        run = begin(place.collector)
        total = sum(list_shard(place.collector, run, shard) for shard in shards("prod"))
        assert total == len(place.live) + len(place.orphans) + 1
        assert conclude(place.collector, run).counts.marked.count == 3

    def test_a_directory_that_may_not_be_written_is_told(self, place):
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        self.age(place, 4, "/key/")
        mark(place.collector)
        self.age_manifest(place, 8)
        [folder] = Path(place.store.location.removeprefix("file://")).glob("v1/prod/task/dag/run/task/1/key")
        folder.chmod(0o500)
        with pytest.raises(IncompleteError):
            purge(place.collector, delete=True)
        folder.chmod(0o700)

    def test_files_of_killed_uploads_go_when_they_are_old(self, place, tmp_path):
        state = tmp_path / "state"
        folder = next(path.parent for path in state.rglob("*.json.zst") if "/_gc/" not in str(path))
        old, young, elsewhere = folder / ".part#old", folder / ".part#young", state / "v1" / "other" / ".part#x"
        elsewhere.parent.mkdir()
        for path in (old, young, elsewhere):
            path.write_bytes(b"half")
        then = datetime.now(timezone.utc).timestamp()
        os.utime(old, (then - 73 * 3600, then - 73 * 3600))
        os.utime(young, (then - 71 * 3600, then - 71 * 3600))
        os.utime(elsewhere, (0, 0))
        mark(place.collector)
        assert purge(place.collector, delete=False).leftovers == 0
        assert old.exists()
        assert purge(place.collector, delete=True).leftovers == 1
        assert (old.exists(), young.exists(), elsewhere.exists()) == (False, True, True)

    def test_a_folder_that_holds_nothing_but_a_leftover_goes_with_it(self, tmp_path):
        store = LocalBlobStore(f"file://{tmp_path}")
        (tmp_path / "v1" / "prod" / "task").mkdir(parents=True)
        (tmp_path / "v1" / "prod" / "task" / ".part#x").write_bytes(b"half")
        assert store.remove_unfinished("v1/prod/", datetime.now(timezone.utc) + timedelta(days=1)) == 1
        assert list(tmp_path.iterdir()) == []
        assert store.remove_unfinished("v1/prod/", datetime.now(timezone.utc)) == 0


class TestS3:
    """Nothing in S3 can be made older than it is, so ages are seconds here."""

    @pytest.fixture
    def place(self, bucket):
        place = Place(f"{bucket.url}/state", gc_min_age="0.000001s", gc_quarantine="0s")
        adopt(place.collector, SHORT)
        return place

    def test_orphans_go_and_live_blobs_stay(self, place):
        _wait_for_another_second(place)
        report = mark(place.collector, SHORT)
        assert (report.counts.marked.count, report.counts.live.count) == (3, 9)
        assert purge(place.collector, delete=False, accept=SHORT).doomed.count == 3
        assert purge(place.collector, delete=True, accept=SHORT).deleted.count == 3
        assert place.left() == place.names(place.live)
        assert verify(place.collector, contents=True).checked.count == 9
        assert verify(place.collector, contents=False).dangling == 0

    def test_a_key_that_s3_refuses_to_delete_is_told(self, place, fault_proxy):
        _wait_for_another_second(place)
        mark(place.collector, SHORT)

        class Denied:
            def __getattr__(self, name):
                return getattr(place.store, name)

            def delete(self, names):
                report = place.store.delete(names[:1])
                return type(report)(report.deleted, dict.fromkeys(names[1:], "AccessDenied"))

        collector = Collector(place.settings, Denied(), place.collector.roots)
        with pytest.raises(IncompleteError) as caught:
            purge(collector, delete=True, accept=SHORT)
        assert len(caught.value.failed) == 2
        assert purge(place.collector, delete=True, accept=SHORT).deleted.count == 2


def _wait_for_another_second(place):
    """S3 tells whole seconds: until a new object is younger than all that was written so far."""
    newest = max(info.modified for info in place.store.list("v1/"))
    for number in range(10_000):
        name = f"v1/prod/_gc/clock/{number}"
        place.store.put(name, [b""])
        [info] = place.store.list(name)
        place.store.delete([name])
        if info.modified > newest:
            return
    raise AssertionError("the store's clock stands still")
