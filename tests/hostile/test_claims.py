"""What a ref, a seal or a file claims is not what is allocated for it; what goes wrong is told without content."""

from __future__ import annotations

import io
import json
import struct
import traceback
import tracemalloc
import zipfile
import zlib

import pytest

from offload_backend import memorylimit
from offload_backend.blobfile import most_raw_bytes
from offload_backend.errors import BlobCorruptError, ForeignRefError, OffloadError, UnreadableBlobError
from offload_backend.memorylimit import memory_limit
from offload_backend.peervalue import read_peer_value
from offload_backend.ref import BlobRef, format_ref
from offload_backend.row import TYPED
from tests.hostile.fuzz_targets import HOME, ID, MARK, SCOPE, resolved, sealed
from tests.inner.blobs import repeated
from tests.inner.stores import BIG, TASK

GIB = 2**30
URL = f"{HOME}/{SCOPE}/{ID}.json.zst"


def peak_of(function, error=OffloadError):
    tracemalloc.start()
    try:
        with pytest.raises(error) as caught:
            function()
        return tracemalloc.get_traced_memory()[1], caught.value
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("frames", ["sealed", "zstd"])
def test_a_ref_that_states_more_than_its_blob_could_hold_asks_no_store(stores, frames):
    ref = BlobRef(URL, 10_000, 2 * GIB, "0" * 64, "json", seal=121 if frames == "sealed" else 0, frames=frames)
    offloader = stores.offloader()
    peak, error = peak_of(lambda: offloader.resolve(format_ref(ref)), UnreadableBlobError)
    assert stores.opened == [HOME]
    assert stores.at[HOME].calls == []
    assert peak < 2**20
    assert "max_value_bytes" in error.hint


def test_the_best_that_zstandard_does_is_within_the_bound():
    for raw in (1, 131072, 131073, 4 * 2**20):
        assert raw <= most_raw_bytes(len(repeated(raw, raw)))


def test_a_value_beyond_this_process_memory_is_refused_before_it_is_fetched(stores, monkeypatch):
    monkeypatch.setattr(memorylimit, "memory_limit", lambda: GIB)
    offloader = stores.offloader()
    ref = BlobRef(URL, 2**20, GIB + 1, "0" * 64, "json", seal=121)
    with pytest.raises(UnreadableBlobError, match="more than the 1073741824 of memory") as caught:
        offloader.resolve(format_ref(ref))
    assert stores.opened == []
    assert "open_value" in caught.value.hint
    assert "max_value_bytes" in caught.value.hint


def test_memory_that_does_not_suffice_is_an_error_of_ours(stores, monkeypatch):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")

    def fail(source):
        raise MemoryError

    monkeypatch.setattr(offloader._codecs.json, "decode", fail)
    with pytest.raises(UnreadableBlobError, match="more memory than there is"):
        offloader.resolve(text)


@pytest.mark.parametrize(
    ("lines", "files", "limits"),
    [
        ("0::/a/b\n", {"a/memory.max": "5000\n", "a/b/memory.max": "max\n", "memory.max": "9000\n"}, [5000, 9000]),
        ("4:memory:/a\n3:cpu:/c\n", {"memory/a/memory.limit_in_bytes": "700\n"}, [700]),
        ("4:memory,cpu:/a\n0::/\n", {"memory/memory.limit_in_bytes": "800", "memory.max": "600"}, [800, 600]),
        ("0::/gone\n", {}, []),
        ("\nnothing\n0:half\n0::/\n", {"memory.max": "500"}, [500]),
        ("0::/caf\udce9\n", {"memory.max": "500"}, [500]),
    ],
)
def test_the_limits_of_control_groups_count(tmp_path, lines, files, limits):
    (tmp_path / "cgroup").write_text(lines, encoding="utf-8", errors="surrogateescape")
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    assert list(memorylimit._of_control_groups(tmp_path / "cgroup", tmp_path / "fs")) == limits
    assert list(memorylimit._of_control_groups(tmp_path / "no such file", tmp_path)) == []


def test_what_a_system_cannot_tell_is_no_limit(monkeypatch):
    import resource

    monkeypatch.setattr(memorylimit.os, "sysconf", lambda name: -1)
    assert list(memorylimit._of_machine()) == []
    monkeypatch.delattr(resource, "RLIMIT_AS")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (7, 9))
    assert list(memorylimit._of_process()) == [7]


def test_this_machine_has_a_limit():
    assert 2**20 < memory_limit() < 2**50


def test_frames_that_hold_less_than_they_state_are_found_one_by_one():
    frames = [(repeated(4 * 2**20, 1000), 4 * 2**20)] * 3
    data, raw, seal = sealed(frames)
    tracemalloc.start()
    assert resolved(_ref_of(data, raw, seal), json=data) is None
    assert tracemalloc.get_traced_memory()[1] < 4 * raw
    tracemalloc.stop()


def _ref_of(data: bytes, raw: int, seal: int) -> str:
    import blake3

    return format_ref(BlobRef(URL, len(data), raw, blake3.blake3(data[-seal:]).hexdigest(), "json", seal=seal))


# --- files of Airflow's own backend ---


def xz_with_a_dictionary_of(code: int) -> bytes:
    """The beginning of an xz file whose only block wants a dictionary of the size that the code stands for."""
    flags = b"\0\4"
    head = b"\xfd7zXZ\0" + flags + struct.pack("<I", zlib.crc32(flags))
    block = bytes([2, 0, 0x21, 1, code, 0, 0, 0])
    return head + block + struct.pack("<I", zlib.crc32(block)) + b"\1\0\0x\0" + bytes(16)


def test_an_xz_file_that_wants_gigabytes_is_corrupt():
    with pytest.raises(BlobCorruptError) as caught:
        read_peer_value([xz_with_a_dictionary_of(39)], max_bytes=GIB)
    assert "limit" in str(caught.value.__cause__)
    with pytest.raises(BlobCorruptError) as caught:
        read_peer_value([xz_with_a_dictionary_of(22)], max_bytes=GIB)
    assert "limit" not in str(caught.value.__cause__)


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_file_of_another_compression_than_the_peers_is_corrupt(how):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr("x", "[1]")
    with pytest.raises(BlobCorruptError):
        read_peer_value([file.getvalue()], max_bytes=GIB)


# --- what is told ---


@pytest.mark.parametrize(
    "node",
    [
        {"$": ["int", 1, f"0x{MARK}"]},
        {"$": ["float", 1, MARK]},
        {"$": ["decimal.decimal", 1, MARK]},
        {"$": ["datetime.datetime", 1, MARK]},
        {"$": ["uuid.uuid", 1, MARK]},
        {"$": ["collections.defaultdict", 1, [MARK, [[], []]]]},
        {"$": [MARK, 1, None]},
        {"$": ["enum", 1, [f"{MARK}:x", "x", None]]},
        {"$": ["zoneinfo.zoneinfo", 1, MARK]},
        {"$": ["numpy.dtype", 1, MARK]},
        {"$": ["pandas.offset", 1, MARK]},
        {"$": ["pytz.zone", 1, MARK]},
        {"$": ["tuple", 1, {MARK: 1}]},
        MARK * 10_000 + "\ud800",
    ],
    ids=lambda node: str(node)[:40],
)
def test_an_error_quotes_nothing_of_the_value(stores, node):
    text = TYPED + json.dumps({"offload_tree": 1, "value": [node, {"$": ["tuple", 1, 1]}], "buffers": []})
    with pytest.raises(OffloadError) as caught:
        stores.offloader().resolve(text)
    assert MARK not in "".join(traceback.format_exception(caught.value))


def test_a_row_that_is_neither_is_not_quoted(stores):
    with pytest.raises(ForeignRefError) as caught:
        stores.offloader().resolve(f"{{{MARK}")
    assert MARK not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("facts", "swap"),
    [("MemTotal: 8 kB\nSwapTotal:  2048 kB\n", 2 * 2**20), ("SwapTotal: some\n", 0), ("SwapTotal:\n", 0), ("", 0)],
)
def test_what_may_be_swapped_out_counts_as_memory(tmp_path, monkeypatch, facts, swap):
    file = tmp_path / "meminfo"
    assert memorylimit._swap(file) == 0
    file.write_text(facts)
    assert memorylimit._swap(file) == swap
    monkeypatch.setattr(memorylimit, "_of_control_groups", lambda *_: [2**30])
    monkeypatch.setattr(memorylimit, "_of_process", lambda: ())
    monkeypatch.setattr(memorylimit, "_swap", lambda _: swap)
    assert memory_limit() == 2**30 + swap
