"""Control objects: what is incomplete, damaged or of another version is never taken for what it says."""

from __future__ import annotations

import json
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.address import parse_blob_name
from offload_backend.errors import BlobNotFoundError, CollectorError
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.lines import read_header, read_lines, write_lines
from offload_backend.lifecycle.records import Candidate, Layout, ManifestHeader, Marker, Owner, from_json, to_json
from tests.golden import collector as golden
from tests.lifecycle.simulation import DAY, Clock, SimulatedStore

RECORDS = [golden.OWNER, golden.MARKER, golden.HEADER, golden.CANDIDATES[0]]
ENTRIES = [{"n": number} for number in range(3)]


@pytest.fixture
def control():
    return Control(SimulatedStore(Clock(golden.NOW)), "prod")


def by_type(record):
    return type(record).__name__


class TestRecords:
    @pytest.mark.parametrize("record", RECORDS, ids=by_type)
    def test_a_record_comes_back_as_it_was(self, record):
        assert from_json(type(record), json.loads(json.dumps(to_json(record)))) == record

    @pytest.mark.parametrize("record", RECORDS, ids=by_type)
    def test_a_record_that_lacks_a_fact_is_not_read(self, record):
        found = to_json(record)
        for fact in found:
            with pytest.raises(CollectorError):
                from_json(type(record), {name: value for name, value in found.items() if name != fact})

    @pytest.mark.parametrize("record", RECORDS, ids=by_type)
    def test_a_record_with_an_unknown_fact_is_not_read(self, record):
        with pytest.raises(CollectorError):
            from_json(type(record), {**to_json(record), "more": 1})

    @pytest.mark.parametrize("record", RECORDS, ids=by_type)
    @pytest.mark.parametrize("value", [None, True, 1.5, "x", [1], {"x": 1}, "2026-01-02T03:04:05"])
    def test_a_record_with_a_fact_of_another_kind_is_not_read(self, record, value):
        found = json.loads(json.dumps(to_json(record)))
        free_texts = {"deployment", "kind", "fingerprint", "location", "owner", "verb", "run"}
        for fact in found:
            if fact not in free_texts or not isinstance(value, str):
                with pytest.raises(CollectorError):
                    from_json(type(record), {**found, fact: value})

    @pytest.mark.parametrize("kind", [Owner, Marker, ManifestHeader, Candidate])
    @pytest.mark.parametrize("found", [None, 1, "x", [], [1], {}])
    def test_what_is_no_record_is_not_read(self, kind, found):
        with pytest.raises(CollectorError):
            from_json(kind, found)

    @pytest.mark.parametrize("record", RECORDS[:3], ids=by_type)
    @pytest.mark.parametrize("version", [0, 2, True, "1", None])
    def test_a_record_of_another_version_is_not_read(self, record, version):
        found = to_json(record)
        first = next(iter(found))
        with pytest.raises(CollectorError, match=r"another format version|cannot be read"):
            from_json(type(record), {**found, first: version})

    def test_a_candidate_is_a_blob_under_its_own_name(self):
        found = to_json(golden.CANDIDATES[0])
        for change in (
            {"name": "v1/golden/_gc/owner/x.json"},
            {"id": golden.PINNED},
            {"id": found["id"].upper()},
            {"size": -1},
        ):
            with pytest.raises(CollectorError):
                from_json(Candidate, {**found, **change})

    @pytest.mark.parametrize("name", ["Owner", "Marker"])
    def test_an_error_shows_no_content(self, name):
        record = {by_type(one): one for one in RECORDS}[name]
        found = {**to_json(record), "secret": "hunter2"}
        with pytest.raises(CollectorError) as caught:
            from_json(type(record), found)
        assert "hunter2" not in str(caught.value)


class TestLines:
    @given(st.lists(st.dictionaries(st.text(), st.text()), max_size=20), st.integers(1, 200))
    def test_lines_come_back_whatever_the_chunks(self, entries, cut):
        data = b"".join(write_lines({"h": "é\n"}, entries))
        chunks = [data[start : start + cut] for start in range(0, len(data), cut)]
        assert list(read_lines(chunks)) == [{"h": "é\n"}, *entries]
        assert read_header(chunks) == {"h": "é\n"}

    def test_a_file_that_ends_anywhere_else_is_incomplete(self):
        data = b"".join(write_lines({"h": 1}, ENTRIES))
        for end in range(len(data)):
            with pytest.raises(CollectorError, match="not complete"):
                list(read_lines([data[:end]]))

    def test_a_file_with_a_flipped_bit_is_never_read_as_another(self):
        data = b"".join(write_lines({"h": 1}, ENTRIES))
        for place in range(10, len(data)):
            damaged = data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]
            try:
                assert list(read_lines([damaged])) == [{"h": 1}, *ENTRIES]
            except CollectorError:
                continue

    @pytest.mark.parametrize(
        "lines",
        [
            [],
            ['{"h":1}'],
            ['{"h":1}', '{"n":0}'],
            ['{"count":0,"sha256":"x"}'],
            ['{"h":1}', "rubbish", '{"count":1,"sha256":"x"}'],
            ['{"h":1}', "[1]", '{"count":1,"sha256":"x"}'],
        ],
    )
    def test_lines_without_a_right_footer_are_incomplete(self, lines):
        with pytest.raises(CollectorError, match="not complete"):
            list(read_lines([packed("".join(f"{line}\n" for line in lines).encode())]))

    def test_an_entry_that_is_missing_or_doubled_is_noticed(self):
        text = zlib.decompress(b"".join(write_lines({"h": 1}, ENTRIES)), 31)
        lines = text.splitlines(keepends=True)
        for other in (
            [*lines[:1], *lines[2:]],
            [*lines[:2], *lines[1:]],
            [lines[0], lines[2], lines[1], *lines[3:]],
        ):
            with pytest.raises(CollectorError, match="footer"):
                list(read_lines([packed(b"".join(other))]))

    def test_what_follows_the_file_is_noticed(self):
        data = b"".join(write_lines({"h": 1}, ENTRIES))
        for more in (b"\0", data, b"x" * 3_000_000):
            with pytest.raises(CollectorError, match="not complete"):
                list(read_lines([data + more]))
            with pytest.raises(CollectorError, match="not complete"):
                list(read_lines([data, more]))

    def test_a_line_without_end_takes_bounded_memory(self):
        bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = b"".join(bomb.compress(b"x" * 1_000_000) for _ in range(30)) + bomb.flush()
        with pytest.raises(CollectorError, match="a line is too long"):
            list(read_lines([data]))

    def test_entries_that_do_not_compress_come_back(self):
        entries = [{"n": os.urandom(500).hex()} for _ in range(1500)]
        chunks = list(write_lines({"h": 1}, entries))
        assert len(chunks) > 2
        assert list(read_lines(chunks)) == [{"h": 1}, *entries]

    def test_many_entries_take_little_memory(self):
        import tracemalloc

        def entries():
            return ({"name": f"v1/prod/task/dag/run/task/-1/{number}"} for number in range(40_000))

        tracemalloc.start()
        count = sum(1 for _ in read_lines(write_lines({"h": 1}, entries())))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 40_001
        assert peak < 3_000_000


def packed(text):
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(text) + packer.flush()


class TestControl:
    def test_no_control_object_has_a_name_that_a_blob_could_have(self):
        layout = Layout("prod")
        uuid = golden.OWNER_ID
        for name in (
            layout.owner(uuid),
            layout.canary(uuid),
            layout.run(golden.RUN, "marker.json"),
            layout.pin(uuid),
            layout.restored(uuid),
        ):
            assert parse_blob_name(name) is None
            assert name.startswith("v1/prod/_gc/")

    def test_the_newest_owner_by_the_stores_clock_counts(self, control):
        first = control.write_owner(golden.OWNER)
        second = control.write_owner(golden.OWNER)
        assert control.owners() == sorted([first, second])
        control.store.set_modified(control.layout.owner(first), golden.NOW + DAY)
        assert control.owners() == [second, first]

    def test_what_others_put_there_is_passed_over(self, control):
        for name in ("owner/readme.txt", "pins/readme.txt", "runs/x/marker.json", "runs/12-x/y", "restored"):
            control.store.put(f"v1/prod/_gc/{name}", [b"?"])
        assert (control.owners(), list(control.pins()), control.runs()) == ([], [], [])
        assert list(control.restored(golden.NOW)) == []

    def test_runs_are_in_the_order_of_their_numbers(self, control):
        for sequence in (10, 9, 10_000_000_000, 11):
            control.begin(Marker("mark", sequence, golden.OWNER_ID))
        assert [run.sequence for run in control.runs()] == [9, 10, 11, 10_000_000_000]

    def test_a_marker_that_is_not_listed_begins_no_run(self, control):
        control.store.list = lambda prefix="": iter(())
        with pytest.raises(CollectorError, match="is not listed"):
            control.begin(golden.MARKER)

    def test_a_run_is_found_by_name_number_or_as_the_last(self, control):
        name, _ = control.begin(golden.MARKER)
        other, _ = control.begin(Marker("purge", 9, golden.OWNER_ID))
        assert control.run_named(name).name == control.run_named("8").name == name
        assert control.run_named("last").name == other
        for wanted in ("7", "", name[:-1]):
            with pytest.raises(CollectorError, match="there is no run"):
                control.run_named(wanted)

    def test_restored_ids_count_from_the_very_moment_on(self, control):
        control.write_restored([golden.PINNED], golden.NOW)
        assert list(control.restored(golden.NOW)) == [golden.PINNED]
        assert list(control.restored(golden.NOW + DAY)) == []

    def test_a_damaged_record_of_restored_ids_is_an_error(self, control):
        control.store.put(control.layout.restored(golden.PINNED), write_lines({"offload_restored": 2}, []))
        with pytest.raises(CollectorError):
            list(control.restored(golden.NOW))

    def test_an_endless_record_is_not_read_to_its_end(self, control):
        name = control.layout.owner(golden.OWNER_ID)
        control.store.put(name, [b" " * 20_000_000])
        with pytest.raises(CollectorError, match="too large"):
            control.owner(golden.OWNER_ID)

    def test_a_missing_record_is_told_as_such(self, control):
        with pytest.raises(BlobNotFoundError):
            control.owner(golden.OWNER_ID)
        assert control.owner_or_none(golden.OWNER_ID) is None
