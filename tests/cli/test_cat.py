"""``offload cat``: the bytes that come out, what they take in memory, and what a terminal gets to see."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import pty
import subprocess
import sys
import tracemalloc
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
import pytest
import zstandard

from offload_backend.codecs.source import HeldSource
from offload_backend.codecs.tree import TreeCodec
from offload_backend.codecs.tree.allowed import AllowedClasses
from offload_backend.codecs.tree.view import TreeView, open_tree
from offload_backend.codecs.view import HeldView
from offload_backend.errors import UnreadableBlobError
from offload_backend.inventory import reading
from offload_backend.inventory.rendering import MOST_PARTS, rendering
from offload_backend.settings import Settings
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.opening import open_store
from tests.cli.looked_at import FIT, HISTORY, PART, State, damage


@pytest.fixture
def state(no_configuration, tmp_path):
    return State(tmp_path).fill()


def decompressed(blob):
    return zstandard.ZstdDecompressor().stream_reader(blob.read_bytes(), read_across_frames=True).read()


def written(state, *options):
    done = state.offload("cat", *options)
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


def test_json_comes_as_it_is_stored(state):
    out = written(state, "--key", "history")
    assert out == decompressed(state.blob("history"))
    assert json.loads(out) == HISTORY


@pytest.mark.parametrize("stretch", [1, 1000, 65_536])
def test_whatever_the_stretches_they_are_all_of_it_once(state, monkeypatch, stretch):
    monkeypatch.setattr(reading, "STRETCH", stretch)
    with state.stores() as stores:
        state.task(stores, FIT).set("little", list(range(200)))
    assert json.loads(written(state, "--key", "little")) == list(range(200))


def test_a_ref_is_enough(state):
    ref = state.ref("history")
    (state.directory / "state.db").unlink()
    assert json.loads(written(state, ref)) == HISTORY


def test_a_value_in_its_row_comes_as_well(state):
    assert json.loads(written(state, "--key", "note")) == {"small": True}
    with state.stores() as stores:
        state.task(stores, FIT).set("typed", (1, b"\x01"))
    assert json.loads(written(state, "--key", "typed")) == {"$": "tuple", "items": [1, {"$": "bytes", "hex": "01"}]}
    assert state.offload("cat", "--key", "note", "--raw").exit_code == 2


def test_bytes_come_as_bytes(state):
    assert written(state, "--key", "checkpoint", "--run", "r2") == b"\x00\xff" * 2000


def test_raw_is_the_file_that_is_stored(state):
    for key, run in (("checkpoint", "r1"), ("history", "r1"), ("checkpoint", "r2")):
        blob = state.blob(key, PART if run == "r2" else FIT)
        assert written(state, "--key", key, "--run", run, "--raw") == blob.read_bytes()


def test_raw_needs_no_key_of_an_encrypted_blob_and_its_text_does(state, monkeypatch):
    monkeypatch.setenv("KEY", "1" * 64)
    with state.stores(encryption_keys="k1=env:KEY") as stores:
        state.task(stores, FIT).set("secret", ["s"] * 300)
    assert written(state, "--key", "secret", "--raw") == state.blob("secret").read_bytes()
    assert state.offload("cat", "--key", "secret").exit_code == 1
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ENCRYPTION_KEYS", "k1=env:KEY")
    assert json.loads(written(state, "--key", "secret")) == ["s"] * 300
    damage(state.blob("secret"), -300)
    assert state.offload("cat", "--key", "secret", "--raw").exit_code == 5


def test_what_is_damaged_does_not_come_out_and_the_exit_code_is_5(state):
    blob = state.blob("history")
    stored = blob.read_bytes()
    for at in (300, len(stored) - 5):
        damage(blob, at)
        for raw in ([], ["--raw"]):
            done = state.offload("cat", "--key", "history", *raw)
            assert done.exit_code == 5
            assert stored.startswith(done.stdout_bytes) if raw else not done.stdout_bytes
        blob.write_bytes(stored)
    for other in (stored + b"x", stored[:-1], stored[:100]):
        blob.write_bytes(other)
        assert state.offload("cat", "--key", "history", "--raw").exit_code == 5
    blob.unlink()
    assert state.offload("cat", "--key", "history").exit_code == 5


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda data: [data[:-10]],
        lambda data: [data[:250]],
        lambda data: [data + b"x"],
        lambda data: [data[:-1] + b"x"],
        lambda data: chain([data], repeat(b"x" * 1000)),
    ],
    ids=["no end", "no frames", "more", "another end", "more and more"],
)
def test_a_store_that_gives_other_bytes_than_it_has_is_not_believed(state, monkeypatch, spoilt):
    whole = LocalBlobStore.get
    monkeypatch.setattr(LocalBlobStore, "get", lambda store, name: iter(spoilt(b"".join(whole(store, name)))))
    done = state.offload("cat", "--key", "history", "--raw")
    assert done.exit_code == 5
    assert state.blob("history").read_bytes().startswith(done.stdout_bytes)


def test_json_of_any_size_takes_little_memory(state):
    with state.stores() as stores:
        state.task(stores, FIT).set("large", ["x" * 1000] * 100_000)
    settings = Settings.load({"path": state.path})
    read = reading.Reading(settings, lambda path: open_store(path, settings))
    ref = read.ref(state.ref("large"))
    tracemalloc.start()
    total = sum(map(len, read.encoded(ref)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == ref.raw > 100_000_000
    assert peak < 3 * reading.STRETCH


def test_who_stops_reading_is_told_nothing(state):
    with state.stores() as stores:
        state.task(stores, FIT).set("large", ["x" * 1000] * 5000)
    place = ["--path", state.path, "--core-store", state.core_store]
    for verb in (["cat", "--key", "large"], ["cat", "--key", "large", "--raw"], ["ls", "--output", "json"]):
        code = "import sys; from offload_backend.cli.main import app; app(sys.argv[1:])"
        command = [sys.executable, "-c", code, *verb, *place]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.read(10)
            process.stdout.close()
            told = process.stderr.read()
        assert told == b"", told


class Terminal:
    """What a command shows on one."""

    def __init__(self, state, *options):
        place = ["--path", state.path, "--core-store", state.core_store]
        code = "import sys; from offload_backend.cli.main import app; app(sys.argv[1:])"
        main, its = pty.openpty()
        command = [sys.executable, "-c", code, *options, *place]
        with subprocess.Popen(command, stdout=its, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            os.close(its)
            self.shown = b"".join(iter(lambda: _read(main), b""))
            self.told = process.stderr.read().decode()
        os.close(main)
        self.code = process.returncode


def _read(descriptor):
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other side is closed
        return b""


def test_text_does_nothing_to_a_terminal_and_is_the_same_json(state):
    value = ["\x9b31m", "é", "\u202e", "\x7f", "\U000e0041", "line\n"] * 40
    with state.stores() as stores:
        state.task(stores, FIT).set("hostile", value)
    seen = Terminal(state, "cat", "--key", "hostile")
    assert seen.code == 0, seen.told
    text = seen.shown.decode()
    assert not set(text) & {"\x9b", "\u202e", "\x7f", "\U000e0041", "\x1b"}
    assert "é" in text
    assert json.loads(text) == value
    assert json.loads(written(state, "--key", "hostile")) == value


@pytest.mark.parametrize("options", [["--key", "history", "--raw"], ["--key", "checkpoint", "--run", "r2"]])
def test_bytes_are_not_for_a_terminal(state, options):
    seen = Terminal(state, "cat", *options)
    assert (seen.code, seen.shown) == (2, b"")
    assert "pipe" in seen.told


def test_a_file_of_airflows_own_backend_comes_as_json(state):
    file = state.directory / "blobs" / "train" / "r1" / "fit" / "-1" / "peer"
    file.parent.mkdir(parents=True)
    file.write_text('[1,   "ü"]')
    state.put(f"{state.path}/train/r1/fit/-1/peer", "peer", FIT)
    assert json.loads(written(state, "--key", "peer")) == [1, "ü"]
    assert written(state, "--key", "peer", "--raw") == file.read_bytes()


def test_a_pickle_is_not_opened(state):
    with state.stores(codec="pickle") as stores:
        state.task(stores, FIT).set("pickled", [object] * 300)
    done = state.offload("cat", "--key", "pickled")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--raw" in done.stderr
    assert written(state, "--key", "pickled", "--raw") == state.blob("pickled").read_bytes()
    assert state.offload("show", "--key", "pickled").exit_code == 0


class Pair(NamedTuple):
    a: int
    b: bytes


@dataclasses.dataclass
class Point:
    x: int
    y: object


AT = datetime(2026, 11, 26, tzinfo=timezone.utc)
EMPTY = {"$": "bytes", "hex": ""}
RENDERED = [
    ({"a": [1, None, True, 1.5, "x"]}, {"a": [1, None, True, 1.5, "x"]}),
    ((1, [2]), {"$": "tuple", "items": [1, [2]]}),
    ((), {"$": "tuple", "items": []}),
    ({1: "a"}, {"$": "dict", "items": [[1, "a"]]}),
    ({"$": 1, "b": b""}, {"$": "dict", "items": [["$", 1], ["b", EMPTY]]}),
    ({(1, 2): 3}, {"$": "dict", "items": [[{"$": "tuple", "items": [1, 2]}, 3]]}),
    ({3}, {"$": "set", "items": [3]}),
    ([float("inf"), b""], [{"$": "float", "text": "inf"}, EMPTY]),
    ([AT, ()], [{"$": "datetime.datetime", "text": str(AT)}, {"$": "tuple", "items": []}]),
    (Decimal("1.20"), {"$": "decimal.decimal", "text": "1.20"}),
    ([b"x" * 64], [{"$": "bytes", "hex": "78" * 64}]),
    ([b"x" * 65], [{"$": "bytes"}]),
    ([np.zeros((2, 3), "int8")], [{"$": "numpy.ndarray", "dtype": "|i1", "shape": [2, 3]}]),
    (Point(1, [b""]), {"$": "dataclass", "class": f"{__name__}:Point", "fields": {"x": 1, "y": [EMPTY]}}),
    (
        collections.OrderedDict(a=(1,)),
        {"$": "collections.ordereddict", "items": [["a", {"$": "tuple", "items": [1]}]]},
    ),
    ([2**70, ()], [2**70, {"$": "tuple", "items": []}]),
    ([2**2048, ()], [{"$": "int", "hex": hex(2**2048)}, {"$": "tuple", "items": []}]),
    ({10**5000: 1}, {"$": "dict", "items": [[{"$": "int", "hex": hex(10**5000)}, 1]]}),
    ([Fraction(10**5000, 3), ()], [{"$": "fractions.fraction"}, {"$": "tuple", "items": []}]),
    (collections.defaultdict(list, a=[1]), {"$": "collections.defaultdict", "items": [["a", [1]]]}),
    ([Pair(1, b"")], [{"$": "namedtuple", "items": [1, EMPTY]}]),
]


@pytest.mark.parametrize(("value", "told"), RENDERED, ids=[str(number) for number in range(len(RENDERED))])
def test_what_is_not_json_is_told_as_json(value, told):
    codec = TreeCodec(AllowedClasses("*", "", setting="a setting"))
    encoded = b"".join(bytes(piece) for piece in codec.encode(value))
    view = codec.opened(HeldSource(encoded), plain=True)
    assert json.loads(json.dumps(rendering(view))) == told


def test_nothing_is_taken_apart_twice(monkeypatch):
    views, taken_apart = [], TreeView._taken_children
    monkeypatch.setattr(TreeView, "_taken_children", lambda view: views.append(view) or taken_apart(view))
    encoded = b"".join(bytes(piece) for piece in TreeCodec().encode([(1,), b"", {"a": b""}, {3}]))
    assert len(rendering(open_tree(HeldSource(encoded), plain=True))) == 4
    assert len(views) == len(set(map(id, views))) > 1


@pytest.mark.parametrize("shape", ["cycle", "deep", "doubled"])
def test_what_nobody_could_read_is_refused_and_not_tried(state, shape, monkeypatch):
    monkeypatch.setattr("offload_backend.inventory.rendering.MOST_PARTS", 2000)
    value = [b""]
    if shape == "cycle":
        value.append(value)
    for _ in range({"cycle": 0, "deep": 240, "doubled": 40}[shape]):
        value = [value, b""] if shape == "deep" else [value, value]
    with state.stores() as stores:
        state.task(stores, FIT).set("odd", {"v": value, "fill": b"x" * 300})
    done = state.offload("cat", "--key", "odd")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "offload cat --raw" in done.stderr


def test_what_is_nested_as_deep_as_anybody_reads_is_told(state):
    value = b""
    for _ in range(190):
        value = (value,)
    with state.stores() as stores:
        state.task(stores, FIT).set("deep", (value, "x" * 300))
    assert written(state, "--key", "deep").count(b'"tuple"') == 191


def test_a_value_of_too_many_parts_is_refused():
    with pytest.raises(UnreadableBlobError, match="parts"):
        rendering(HeldView(list(range(MOST_PARTS + 1))))
    assert len(rendering(HeldView(list(range(1000))))) == 1000


def test_nothing_is_written_before_it_is_verified(state, monkeypatch):
    with state.stores() as stores:
        state.task(stores, FIT).set("two", ["x" * 1000] * 2000)
    blob = state.blob("two")
    whole = decompressed(blob)
    monkeypatch.setattr(reading, "STRETCH", 512 * 1024)
    damage(blob, blob.stat().st_size - 300)
    done = state.offload("cat", "--key", "two")
    assert done.exit_code == 5
    assert 0 < len(done.stdout_bytes) < len(whole)
    assert whole.startswith(done.stdout_bytes)
