"""What docs/formats.md shows is what the code makes and what the commands print."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from offload_backend.address import MAX_SEGMENT, TaskAddress, blob_scope
from offload_backend.blobfile import CHUNK, FORMAT

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEXT = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
SESSIONS = re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [pair for session in SESSIONS for pair in COMMAND.findall(session)]
MISSING = [tool for tool in ("zstd", "jq", "sha256sum", "od") if shutil.which(tool) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"the document uses commands that are not here: {' '.join(MISSING)}")
@pytest.mark.parametrize(("command", "output"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_prints_what_the_document_shows(command, output):
    shell = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(shell, cwd=HERE / "blobs", capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == output


def test_every_command_of_the_document_is_found():
    assert len(COMMANDS) == TEXT.count("\n$ ") == 8


def test_the_ref_is_that_of_the_golden_blob():
    index = [json.loads(line) for line in (HERE / "blobs_v1.jsonl").read_text().splitlines()]
    [ref] = [entry["ref"] for entry in index if entry["file"] == "checkpoint.json.zst"]
    assert f"\n{ref}\n" in TEXT


def test_the_offsets_are_those_of_the_golden_blob():
    data = (HERE / "blobs" / "checkpoint.json.zst").read_bytes()
    rows = re.findall(r"^\| (\d+) \| (`.*?) \|", TEXT[TEXT.index("| offset |") :], re.MULTILINE)
    assert len(rows) == 10
    for offset, shown in rows:
        start = int(offset)
        for part in re.findall(r"`([^`]*)`", shown):
            first, _, last = part.partition(" … ")
            assert data[start:].startswith(bytes.fromhex(first))
            start += len(bytes.fromhex(first))
            if last:
                start = data.index(bytes.fromhex(last), start) + 1


def test_the_segments_in_the_table_are_what_the_code_makes():
    rows = re.findall(r"^\| (?:`(.*?)`|\(empty\)) \| `(.*?)` \|$", TEXT[: TEXT.index("161 times")], re.MULTILINE)
    assert len(rows) == 5
    for text, segment in [*rows, ("k" * 161, "k" * 127 + re.search(r"then `(~[0-9a-f]+)`", TEXT)[1])]:
        assert blob_scope(TaskAddress("d", "r", "t"), text)[1] == segment


def test_the_numbers_are_those_of_the_code():
    assert f"more than {MAX_SEGMENT} characters" in TEXT
    assert f"exactly {CHUNK:,} bytes" in TEXT
    assert f"`offload` | `{FORMAT}`" in TEXT
