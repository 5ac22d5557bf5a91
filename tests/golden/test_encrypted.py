"""Encrypted blobs that were written once are read for ever, with this package and without it."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from offload_backend.blobfile.encrypted import INFO, MOST_CLOSING
from offload_backend.blobfile.frames import ENCRYPTED
from offload_backend.crypto.source import MOST_WRAPPED
from offload_backend.errors import BlobCorruptError, WrongKeyError
from offload_backend.lifecycle.contents import content_of, difference
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.stores.memory import MemoryBlobStore
from tests.golden import encrypted
from tests.golden.write import LOCATION
from tests.inner.blobs import frames_of, seek_table
from tests.inner.values import same

HERE = Path(__file__).parent
FORMATS = (HERE.parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
ENTRIES = [json.loads(line) for line in (HERE / "encrypted_v1.jsonl").read_text().splitlines()]
EACH = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])


def data_of(entry):
    return (HERE / "encrypted" / entry["file"]).read_bytes()


def name_of(entry):
    return entry["file"].partition(".")[0]


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    for name, key in encrypted.environment().items():
        monkeypatch.setenv(name, key)


@EACH
def test_an_encrypted_blob_of_the_first_release_that_wrote_them_is_read(entry):
    value = encrypted.reader({entry["name"]: data_of(entry)}).resolve(entry["ref"])
    expected = encrypted.VALUES[name_of(entry)]
    if name_of(entry) == "arrays":
        assert (value["weights"] == expected["weights"]).all()
        assert value["weights"].dtype == "<f8"
        value, expected = ({**held, "weights": None} for held in (value, expected))
    assert same(value, expected)


@EACH
def test_it_is_found_undamaged_without_a_key_and_every_damage_is_found(entry, monkeypatch):
    for name in encrypted.environment():
        monkeypatch.delenv(name)
    ref = parse_ref(entry["ref"])
    assert isinstance(ref, BlobRef)
    store = MemoryBlobStore(LOCATION)
    store.put(entry["name"], [data_of(entry)])
    assert difference(store, entry["name"], ref.size, content_of(ref)) == ("", ref.size)
    starts = [sum(size for size, _ in seek_table(data_of(entry))[:number]) + 20 for number in range(4)]
    for at in starts:
        damaged = bytearray(data_of(entry))
        damaged[at] ^= 1
        store.put(f"damaged-{at}", [damaged])
        assert difference(store, f"damaged-{at}", ref.size, content_of(ref))[0].startswith("corrupt")


@EACH
def test_nothing_of_the_value_is_in_the_file_and_zstd_finds_nothing_in_it(entry):
    import zstandard

    data = data_of(entry)
    magics = [struct.unpack_from("<I", frame)[0] for frame in frames_of(data)]
    header, *values, closing, index = magics
    assert (header, closing, index) == (0x184D2A50, 0x184D2A53, 0x184D2A51)
    assert set(values) <= {0x184D2A52}
    assert b"epoch" not in data
    assert b"user" not in data
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        assert reader.read() == b""


@EACH
def test_the_script_in_the_document_opens_it_and_refuses_what_is_damaged(entry, tmp_path):
    [script] = re.findall(r"^```py\n(.*?)^```$", FORMATS, re.MULTILINE | re.DOTALL)
    assert script.count("\n") <= 25
    (tmp_path / "decrypt.py").write_text(script, encoding="utf-8")
    ref = parse_ref(entry["ref"])
    assert isinstance(ref, BlobRef)
    key = encrypted.KEYS.get(ref.key, "77" * 32)
    command = [sys.executable, "-I", str(tmp_path / "decrypt.py")]

    def decrypted(data):
        return subprocess.run(
            command, input=data, env={**os.environ, "KEY": key}, capture_output=True, check=False, timeout=60
        )

    text = decrypted(data_of(entry)).stdout
    assert len(text) == ref.raw
    if ref.codec == "json":
        assert same(json.loads(text), encrypted.VALUES[name_of(entry)])
    damaged = bytearray(data_of(entry))
    damaged[len(damaged) - ref.seal + 9] ^= 1
    assert decrypted(bytes(damaged)).returncode != 0


def test_what_is_written_today_differs_only_by_salt_compression_and_cut(tmp_path):
    encrypted.write(tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "encrypted_v1.jsonl").read_text().splitlines()]
    assert [entry["name"] for entry in entries] == [entry["name"] for entry in ENTRIES]
    for entry, golden in zip(entries, ENTRIES, strict=True):
        new, old = (tmp_path / "encrypted" / entry["file"]).read_bytes(), data_of(golden)
        assert frames_of(new)[0] == frames_of(old)[0]
        assert sum(raw for _, raw in seek_table(new)) == sum(raw for _, raw in seek_table(old))
        closing_of_new, closing_of_old = frames_of(new)[-2], frames_of(old)[-2]
        assert closing_of_new[8:40] != closing_of_old[8:40]
        assert closing_of_new[56:-16] == closing_of_old[56:-16]
        if name_of(entry) == "wrapped":
            assert closing_of_old[56:-16] == encrypted.WRAPPED


def test_the_numbers_in_the_document_are_those_of_the_code():
    text = FORMATS[FORMATS.index("## Blob format 3: `frames=encrypted`") :]
    assert f"fetches the\n{MOST_CLOSING:,} bytes before it" in text
    assert f"the **wrapped key**, at most {MOST_WRAPPED:,} bytes" in text
    assert f"the info `{INFO.decode()}` and 48 bytes" in text
    assert f"its `offload` is {ENCRYPTED}," in text


def test_another_blobs_content_is_refused_at_a_golden_name():
    first, second = ENTRIES[0], ENTRIES[-1]
    with pytest.raises(BlobCorruptError):
        encrypted.reader({first["name"]: data_of(second)}).resolve(first["ref"])


@pytest.mark.parametrize("name", ["GOLDEN_K1", "GOLDEN_K2"])
def test_every_golden_blob_needs_its_own_key_and_no_other(name, monkeypatch):
    monkeypatch.setenv(name, "ee" * 32)
    unread = set()
    for entry in ENTRIES:
        try:
            encrypted.reader({entry["name"]: data_of(entry)}).resolve(entry["ref"])
        except WrongKeyError:
            unread.add(parse_ref(entry["ref"]).key)
    assert unread == ({"k1"} if name == "GOLDEN_K1" else {"k-2026_b"})
