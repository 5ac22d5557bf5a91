"""The collector's control objects in people's buckets stay readable, and say what docs/formats.md says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from offload_backend.blobfile import header_at_start
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.lines import read_lines
from tests.golden import collector as golden
from tests.lifecycle.simulation import Clock, SimulatedStore

HERE = Path(__file__).parent / "collector_v1"
FILES = sorted(path.relative_to(HERE).as_posix() for path in HERE.rglob("*") if path.is_file())
TEXT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.fixture
def control():
    store = SimulatedStore(Clock(golden.NOW), golden.LOCATION)
    for name in FILES:
        store.put(f"v1/golden/_gc/{name}", [(HERE / name).read_bytes()])
    return Control(store, "golden")


def lines_of(data, name):
    """What a control object says, line by line."""
    text = gzip.decompress(data) if name.endswith(".gz") else data
    return [json.loads(line) for line in text.splitlines()]


def test_an_owner_of_the_first_release_is_read(control):
    assert control.owners() == [golden.OWNER_ID]
    assert control.owner(golden.OWNER_ID) == golden.OWNER


def test_a_run_of_the_first_release_is_read(control):
    mark, purge = control.runs()
    assert (mark.name, mark.sequence, mark.has_manifest, mark.began) == (golden.RUN, 8, True, golden.NOW)
    assert (purge.name, purge.sequence, purge.has_manifest, purge.began) == (golden.PURGE, 9, False, None)
    assert control.marker(golden.RUN) == golden.MARKER


def test_a_manifest_of_the_first_release_is_read(control):
    assert control.manifest_header(golden.RUN) == golden.HEADER
    assert list(control.candidates(golden.RUN)) == golden.CANDIDATES


def test_pins_and_restored_ids_of_the_first_release_are_read(control):
    assert list(control.pins()) == [golden.PINNED]
    assert list(control.restored(golden.NOW)) == [candidate.id for candidate in golden.CANDIDATES[:2]]


def test_a_listing_of_the_first_release_is_read(control):
    [name] = [name for name in FILES if "/listing/" in name]
    header, *entries = read_lines([(HERE / name).read_bytes()])
    assert header == {"offload_listing": 1, "run": golden.RUN, "shard": "v1/golden/task/e"}
    assert [entry["name"] for entry in entries] == [info.name for info in golden.entries()]


def test_the_canary_of_the_first_release_is_a_blob():
    [name] = [name for name in FILES if name.startswith("canary/")]
    assert header_at_start((HERE / name).read_bytes())["id"] == golden.OWNER_ID


def test_the_code_writes_today_what_it_wrote():
    written = dict(golden.objects())
    assert sorted(written) == FILES
    for name in FILES:
        if not name.endswith(".zst"):
            assert lines_of(written[name], name) == lines_of((HERE / name).read_bytes(), name)


def test_every_example_in_the_document_is_a_line_of_a_golden_object():
    section = TEXT[TEXT.index("## Objects of the collector") :].split("\n## ")[0]
    examples = [line for line in section.splitlines() if line.startswith('{"')]
    known = [
        entry for name in FILES if not name.endswith(".zst") for entry in lines_of((HERE / name).read_bytes(), name)
    ]
    assert len(examples) >= 10
    for example in examples:
        assert json.loads(example) in known, example
