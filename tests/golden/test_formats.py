"""What docs/formats.md shows is what the code makes and what the commands print."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from array import array
from decimal import Decimal
from pathlib import Path

import pytest

from offload_backend.address import MAX_SEGMENT, TaskAddress, blob_scope
from offload_backend.blobfile import CHUNK, FORMAT, MAX_HEADER, reader, writer
from offload_backend.blobfile.frames import OWN_FRAME
from offload_backend.blobfile.seal import seal_of
from offload_backend.codecs.tree import TreeCodec, columns

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TEXT = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
SESSIONS = re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [pair for session in SESSIONS for pair in COMMAND.findall(session)]
TYPED_VALUE = {"best": (3, Decimal("9.90")), "loss": array("d", [0.5, 0.25]), "raw": b"x" * 80}
MISSING = [tool for tool in ("zstd", "jq", "sha256sum", "od") if shutil.which(tool) is None]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The files of the document, and a ``b3sum`` if there is none: what the document says does the same."""
    folder = tmp_path_factory.mktemp("formats")
    shutil.copy(HERE / "sealed" / "checkpoint.json.zst", folder)
    shutil.copy(HERE / "blobs" / "checkpoint.json.zst", folder / "older.json.zst")
    (folder / "value.safetensors").write_bytes(b"".join(TreeCodec().encode(TYPED_VALUE)))
    if shutil.which("b3sum") is None:
        [code] = re.findall(r"`python -c '(.*?)'`", TEXT, re.DOTALL)
        (folder / "bin").mkdir()
        (folder / "bin" / "digest.py").write_text(code, encoding="utf-8")
        script = f"#!/bin/sh\necho \"$('{sys.executable}' '{folder}/bin/digest.py')  -\"\n"
        (folder / "bin" / "b3sum").write_text(script, encoding="utf-8")
        (folder / "bin" / "b3sum").chmod(0o755)
    return folder


@pytest.mark.skipif(bool(MISSING), reason=f"the document uses commands that are not here: {' '.join(MISSING)}")
@pytest.mark.parametrize(("command", "output"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_prints_what_the_document_shows(command, output, place):
    shell = ["bash", "-o", "pipefail", "-c", command]
    path = {**os.environ, "PATH": f"{os.environ['PATH']}{os.pathsep}{place / 'bin'}"}
    done = subprocess.run(shell, cwd=place, env=path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == output


def test_every_command_of_the_document_is_found():
    assert len(COMMANDS) == TEXT.count("\n$ ") == 18


def test_the_ref_is_that_of_the_golden_blob():
    index = [json.loads(line) for line in (HERE / "sealed_v1.jsonl").read_text().splitlines()]
    [ref] = [entry["ref"] for entry in index if entry["file"] == "checkpoint.json.zst"]
    assert f"\n{ref}\n" in TEXT


def test_the_typed_row_is_that_of_the_value_and_back():
    [text] = re.findall(r"^data:application/vnd.offload.tree\+json,.*$", TEXT, re.MULTILINE)
    value = {name: TYPED_VALUE[name] for name in ("best", "loss")}
    assert TreeCodec().inline_text(value) == text
    assert TreeCodec().value_of_inline(text) == value
    assert repr(TYPED_VALUE).replace(repr(b"x" * 80), 'b"x" * 80').replace("'", '"') in TEXT
    assert f"takes {sum(map(len, TreeCodec().encode(TYPED_VALUE)))} bytes" in TEXT


def test_every_form_of_long_lists_is_told():
    words = ("floats", "ints", "moments", "joined", "of", "records", "rows", "mask")
    table = TEXT[TEXT.index("### Long lists") : TEXT.index("## Typed inline rows")]
    assert re.findall(r'`\{"(\w+)":', table) == list(words)
    assert set(re.findall(r'case \{"(\w+)":', Path(columns.__file__).read_text())) == set(words)


def test_the_offsets_are_those_of_the_golden_blob():
    data = (HERE / "sealed" / "checkpoint.json.zst").read_bytes()
    rows = re.findall(r"^\| (\d+) \| (`.*?) \|", TEXT[TEXT.index("| offset |") :], re.MULTILINE)
    assert len(rows) == 13
    for offset, shown in rows:
        start = int(offset)
        for part in re.findall(r"`([^`]*)`", shown):
            first, _, last = part.partition(" … ")
            assert data[start:].startswith(bytes.fromhex(first))
            start += len(bytes.fromhex(first))
            if last:
                start = data.index(bytes.fromhex(last), start) + len(bytes.fromhex(last))


def test_the_segments_in_the_table_are_what_the_code_makes():
    rows = re.findall(r"^\| (?:`(.*?)`|\(empty\)) \| `(.*?)` \|$", TEXT[: TEXT.index("161 times")], re.MULTILINE)
    assert len(rows) == 5
    for text, segment in [*rows, ("k" * 161, "k" * 127 + re.search(r"then `(~[0-9a-f]+)`", TEXT)[1])]:
        assert blob_scope(TaskAddress("d", "r", "t"), text)[1] == segment


def test_the_numbers_are_those_of_the_code():
    assert f"more than {MAX_SEGMENT} characters" in TEXT
    assert f"at most {CHUNK:,} bytes of the encoded value" in TEXT
    assert f"## Blob format {FORMAT}: `frames=sealed`" in TEXT
    assert f"length of the header, at most {MAX_HEADER - 8:,} |" in TEXT
    assert f"saves {100 - 100 * writer._WORTH:.0f} % or more" in TEXT
    assert f"A view of {OWN_FRAME >> 20} MiB or more of the value's\nown memory" in TEXT
    assert f"A blob of at most {reader.WHOLE >> 20} MiB is fetched by one request" in TEXT
    assert f"a frame of {writer._PROBED >> 10} KiB or\nmore, samples of {writer._SAMPLE >> 10} KiB" in TEXT
    seals = {entries: len(seal_of([(1, 1, bytes(32))] * entries)) for entries in (1, 2, 9)}
    assert seals == {entries: 33 + 40 * entries for entries in (1, 2, 9)}
    assert "33 bytes, and 40 for each frame above it" in TEXT
