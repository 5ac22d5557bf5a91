"""The join: on disk, in flat memory, and right whatever the order."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload_backend.address import TaskAddress, blob_name, blob_scope, new_blob_id
from offload_backend.blobstore import BlobInfo
from offload_backend.lifecycle.census import Census, micros, moment_of, packed_id
from offload_backend.lifecycle.records import Layout
from tests.lifecycle.simulation import DAY, START, TASK

CUTOFF = START
LAYOUT = Layout("prod")


@pytest.fixture
def census():
    with Census(LAYOUT) as census:
        yield census


def info(blob_id="", address=TASK, modified=START - DAY, size=1):
    return BlobInfo(blob_name("prod", address, "k", blob_id or new_blob_id(), "json.zst"), size, modified)


def verdicts(census):
    return dict(census.execute("SELECT name, verdict FROM blob"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_join_is_what_sets_in_memory_would_say(data):
    """Every keep-branch, in every combination and order, against five lines of Python."""
    scopes = [TaskAddress("d", "r", task) for task in ("a", "b")]
    names = {new_blob_id(): data.draw(st.sampled_from(scopes)) for _ in range(data.draw(st.integers(0, 12)))}
    subset = st.sets(st.sampled_from(sorted(names))) if names else st.just(set())
    live, pinned, young = data.draw(subset), data.draw(subset), data.draw(subset)
    hidden = data.draw(st.sets(st.sampled_from(scopes)))
    listing = [info(one, names[one], START + DAY if one in young else START - DAY) for one in names]
    repeated = [info(one, names[one], START - 2 * DAY) for one in data.draw(subset)]
    with Census(LAYOUT) as census:
        census.add_listing(data.draw(st.permutations(listing + repeated)))
        census.add_ids("root", data.draw(st.permutations(sorted(live))))
        census.add_ids("pin", pinned)
        census.hide(blob_scope(address, "")[0] for address in hidden)
        census.judge(CUTOFF)
        found = verdicts(census)
    for blob in listing:
        one = blob.name.rpartition("/")[2].partition(".")[0]
        expected = (
            "live" if one in live
            else "pinned" if one in pinned
            else "young" if one in young
            else "hidden" if names[one] in hidden
            else "marked"
        )  # fmt: skip
        assert found[blob.name] == expected
    assert len(found) == len(names)


def test_ids_match_whatever_their_case(census):
    blob = info()
    census.add_listing([blob])
    census.add_ids("root", [blob.name.rpartition("/")[2].partition(".")[0].upper()])
    census.judge(CUTOFF)
    assert verdicts(census) == {blob.name: "live"}


def test_the_same_id_under_two_names_is_live_under_both(census):
    one = new_blob_id()
    census.add_listing([info(one), info(one, TaskAddress("copy", "r", "t"))])
    census.add_ids("root", [one])
    census.judge(CUTOFF)
    assert set(verdicts(census).values()) == {"live"}


def test_a_blob_of_exactly_the_cut_off_is_young(census):
    blob = info(modified=CUTOFF)
    old = info(modified=CUTOFF - timedelta(microseconds=1))
    census.add_listing([blob, old])
    census.judge(CUTOFF)
    assert verdicts(census) == {blob.name: "young", old.name: "marked"}
    assert census.old_blobs(CUTOFF) == 1
    assert [name for _, name in census.old_scopes(CUTOFF)] == [old.name]


def test_times_are_exact_to_the_microsecond():
    for moment in (START, START + timedelta(microseconds=1), START.replace(year=9999), START.replace(year=1969)):
        assert moment_of(micros(moment)) == moment


def test_the_temporary_directory_is_gone_afterwards():
    with Census(LAYOUT) as census:
        directory = census._directory.name
        census.add_listing([info()])
        assert Path(directory).is_dir()
    assert not Path(directory).exists()


def test_an_error_leaves_no_temporary_directory_behind():
    with pytest.raises(ZeroDivisionError), Census(LAYOUT) as census:  # noqa: PT012 - the block is what is tested
        directory = census._directory.name
        census.add_listing(info() if number else 1 / 0 for number in range(1, -1, -1))
    assert not Path(directory).exists()


def test_threads_may_read_while_others_write(census):
    census.add_listing(info() for _ in range(3000))
    with ThreadPoolExecutor(4) as pool:
        counts = pool.map(lambda _: sum(1 for _ in census.stream("SELECT name FROM blob")), range(8))
        list(pool.map(lambda _: census.add_ids("root", [new_blob_id() for _ in range(2000)]), range(8)))
        assert set(counts) == {3000}
    assert census.tally("SELECT 1 AS size FROM root").count == 16_000


def test_a_source_that_asks_for_addresses_from_another_thread_does_not_deadlock(census):
    census.add_listing(info(address=TaskAddress("d", "r", str(number))) for number in range(1500))

    def roots():
        with ThreadPoolExecutor(1) as pool:
            scopes = census.old_scopes(CUTOFF)
            while found := pool.submit(next, scopes, None).result():
                yield new_blob_id()
                assert found

    worker = threading.Thread(target=census.add_ids, args=("root", roots()), daemon=True)
    worker.start()
    worker.join(60)
    assert not worker.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_in_the_number_of_blobs(tmp_path):
    """A child process, so that what other tests left in memory does not count."""
    script = tmp_path / "flat.py"
    script.write_text(FLAT)
    few, many = [int(run_child(script, count)) for count in (3_000, 40_000)]
    assert many - few < 8_000  # KiB; in sets, it would be some 20,000 more


FLAT = """
import sys
from datetime import datetime, timezone
from offload_backend.blobstore import BlobInfo
from offload_backend.lifecycle import census as module
from offload_backend.lifecycle.census import Census
from offload_backend.lifecycle.records import Layout
module._CACHE_KIB = 1024  # so that it is full soon
when = datetime(2026, 1, 1, tzinfo=timezone.utc)
count = int(sys.argv[1])
def an_id(n): return f"01999999-9999-7aaa-8bbb-{n:012x}"
with Census(Layout("prod")) as census:
    census.add_listing(
        BlobInfo(f"v1/prod/task/d/{'r' * 100}{n}/t/-1/k/{an_id(n)}.json.zst", 1, when) for n in range(count)
    )
    census.add_ids("root", (an_id(n) for n in range(0, count, 2)))
    census.judge(when.replace(year=2027))
    assert census.tally("SELECT size FROM blob WHERE verdict = 'marked'").count == count // 2
    for scope in census.old_scopes(when.replace(year=2027)):
        pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def run_child(script, count):
    import subprocess

    command = [sys.executable, str(script), str(count)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    return done.stdout


def test_an_id_takes_sixteen_bytes():
    assert len(packed_id(new_blob_id())) == 16
