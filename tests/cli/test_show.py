"""``offload show``: what it tells of real blobs, what it reads for that, and what it says it did not verify."""

from __future__ import annotations

import json

import numpy as np
import pytest

from offload_backend.address import TaskAddress, blob_name
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.ref import parse_ref
from offload_backend.row import envelope
from tests.cli.looked_at import FIT, ORDERS, PART, State, damage
from tests.golden import test_golden as golden

KEY = "1" * 64


@pytest.fixture
def state(no_configuration, tmp_path):
    return State(tmp_path).fill()


def shown(state, *options, code=0):
    """What the verb tells programs."""
    done = state.offload("show", *options, "--output", "json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_one_row_by_its_options_tells_row_ref_and_header(state):
    told = shown(state, "--dag", "train", "--key", "history")
    assert told["row"]["key"] == "history"
    ref = parse_ref(state.ref("history"))
    assert (told["ref"]["stored"], told["ref"]["raw"], told["ref"]["digest"]) == (ref.size, ref.raw, ref.digest)
    assert told["blob"]["header"]["task"] == {"dag": "train", "run": "r1", "task": "fit", "index": -1}
    assert told["error"] is None
    assert told["not_verified"]
    table = state.offload("show", "--dag", "train", "--key", "history").stdout
    for fact in ("task train.fit run r1", "history", "list[5000]", "json", "sealed", "ratio", "created"):
        assert fact in table


@pytest.mark.parametrize("wrap", [str, envelope, lambda ref: f"  {ref}\n"], ids=["ref", "row", "spaces"])
def test_a_ref_is_enough_and_no_row_is_needed(state, wrap):
    ref = wrap(state.ref("checkpoint"))
    (state.directory / "state.db").unlink()
    told = shown(state, ref)
    assert told["row"] is None
    assert told["blob"]["header"]["key"] == "checkpoint"


def test_a_trees_structure_is_told_and_its_arrays_are_not_read(state):
    with state.stores() as stores:
        value = {"weights": np.arange(700_000, dtype="float64"), "seen": (1, 2), "epoch": 3}
        state.task(stores, FIT).set("model", value)
    blob = state.blob("model")
    damage(blob, blob.stat().st_size - 300)  # within the array's last frame
    told = shown(state, "--key", "model")
    parts = {part["path"]: part["what"] for part in told["parts"]}
    assert parts["value"] == "dict[3]"
    assert parts["value['weights']"] == "numpy.ndarray[700000] <f8"
    assert parts["value['seen']"] == "tuple[2]"
    assert any("frames" in each for each in told["not_verified"])
    assert state.offload("cat", "--key", "model").exit_code == 0
    assert state.offload("cat", "--key", "model", "--raw").exit_code == 5


def test_much_is_told_in_part(state):
    from offload_backend.inventory.outline import PARTS

    with state.stores() as stores:
        inner = {f"k{number}": {(number, each) for each in range(3)} for number in range(50)}
        state.task(stores, FIT).set("wide", {f"k{number}": [inner, number, b"x"] for number in range(50)})
        cycle = [b"x" * 300]
        cycle.append(cycle)
        state.task(stores, FIT).set("cycle", cycle)
    assert len(shown(state, "--key", "wide")["parts"]) == PARTS
    assert "… and 38 more" in state.offload("show", "--key", "wide").stdout
    assert len(shown(state, "--key", "cycle")["parts"]) < PARTS


def test_a_long_list_that_is_held_in_many_places_is_taken_apart_once(state, monkeypatch):
    monkeypatch.setattr("offload_backend.inventory.outline.ELEMENTS", 110)
    long = [(number, {number}, b"x") for number in range(50)] + [b"x", ("y",)] * 25
    with state.stores() as stores:
        state.task(stores, FIT).set("held", [long, b"", long, (1, 2)])
    parts = {part["path"]: part["what"] for part in shown(state, "--key", "held")["parts"] if part["what"]}
    assert (parts["value[0]"], parts["value[0][0]"]) == ("list[100]", "tuple[3]")
    assert (parts["value[2]"], parts["value[3]"]) == ("list", "tuple")


def test_a_key_that_python_does_not_write_is_told_by_its_type(state):
    with state.stores() as stores:
        state.task(stores, FIT).set("long", {10**5000: 1, (10**5000,): 1, 2: b"x" * 300})
    parts = [part["path"] for part in shown(state, "--key", "long")["parts"]]
    assert parts == ["value", "value[int]", "value[tuple]", "value[2]"]


def test_a_value_in_its_row_is_told_without_being_shown(state):
    told = shown(state, "--key", "note")
    assert told["row"]["kept"] == "inline"
    assert told["parts"][0]["what"] == "dict"
    done = state.offload("show", "--key", "note")
    assert "in the row" in done.stdout
    assert "small" not in done.output


def test_a_blob_that_is_gone_is_exit_code_5_and_its_ref_is_told_all_the_same(state):
    state.blob("history").unlink()
    told = shown(state, "--key", "history", code=5)
    assert told["error"]["type"] == "BlobNotFoundError"
    assert told["ref"]["value"] == "list[5000]"
    assert told["blob"] is None
    done = state.offload("show", "--key", "history")
    assert "list[5000]" in done.stdout
    assert "Hint" in done.stderr


@pytest.mark.parametrize("at", [20, -1, -80], ids=["header", "end of seal", "beginning of seal"])
def test_a_damaged_header_or_seal_is_exit_code_5(state, at):
    damage(state.blob("history"), at)
    assert shown(state, "--key", "history", code=5)["error"]["type"] == "BlobCorruptError"


def test_a_header_that_was_forged_is_not_believed(state):
    blob = state.blob("history")
    stored = blob.read_bytes()
    blob.write_bytes(stored.replace(b'"created":"20', b'"created":"19', 1))
    assert len(blob.read_bytes()) == len(stored)
    assert blob.read_bytes() != stored
    assert shown(state, "--key", "history", code=5)["error"]["type"] == "BlobCorruptError"


@pytest.mark.parametrize("change", [lambda data: data + b"x", lambda data: b"x" + data, lambda data: data[:-1]])
def test_a_blob_of_another_length_is_exit_code_5(state, change):
    blob = state.blob("history")
    blob.write_bytes(change(blob.read_bytes()))
    assert shown(state, "--key", "history", code=5)["error"]["type"] == "BlobCorruptError"


def test_a_blob_below_the_name_of_other_state_is_exit_code_5(state):
    ref, blob = state.ref("history"), state.blob("history")
    name = blob_name("default", FIT, "another", blob.name[:36], "json.zst")
    other = state.directory / "blobs" / name
    other.parent.mkdir(parents=True)
    other.write_bytes(blob.read_bytes())
    state.put(f"{state.path}/{name}#{ref.partition('#')[2]}", "another", FIT)
    assert shown(state, "--key", "another", code=5)["error"]["type"] == "BlobCorruptError"


def test_of_an_encrypted_blob_ref_and_header_are_told_without_the_key(state, monkeypatch):
    monkeypatch.setenv("KEY", KEY)
    with state.stores(encryption_keys="k1=env:KEY") as stores:
        state.task(stores, FIT).set("secret", ["s"] * 300)
        state.task(stores, FIT).set("tree", {"b": b"s" * 300})
    monkeypatch.delenv("KEY")
    told = shown(state, "--key", "secret")
    assert told["ref"]["encrypted_by"] == "k1"
    assert told["blob"]["header"]["encrypted"] == "k1"
    assert told["blob"]["frames"] == 1
    told = shown(state, "--key", "tree", code=1)
    assert told["error"]["type"] == "UnreadableBlobError"
    assert told["blob"]["header"]["key"] == "tree"
    assert told["parts"] == []


def test_a_signature_is_checked_where_there_are_keys_and_said_to_be_unchecked_elsewhere(state, monkeypatch):
    monkeypatch.setenv("KEY", KEY)
    with state.stores(signing_keys="s1=env:KEY") as stores:
        state.task(stores, FIT).set("signed", ["s"] * 300)
    assert any("signature" in each for each in shown(state, "--key", "signed")["not_verified"])
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__SIGNING_KEYS", "s1=env:KEY")
    told = shown(state, "--key", "signed")
    assert "the ref's signature" in told["verified"]
    assert told["ref"]["signed_by"] == "s1"
    state.put(state.ref("signed").replace("about=list[300]", "about=list[301]"), "forged", FIT)
    for verb in ("show", "cat"):
        done = state.offload(verb, "--key", "forged")
        assert done.exit_code == 1
        assert "not as it was signed" in done.stderr


def test_what_lies_elsewhere_or_is_another_deployments_is_not_read(state, tmp_path):
    ref = state.ref("history")
    outside = shown(state, ref.replace(state.path, f"file://{tmp_path}/other"), code=1)
    assert outside["error"]["type"] == "ForeignRefError"
    assert "read_paths" in outside["error"]["hint"]
    done = state.offload("show", ref, "--deployment", "another")
    assert (done.exit_code, "belongs to the deployment" in done.stderr) == (1, True)


@pytest.mark.parametrize("facts", ["size=9000000000000000000&raw=9000000000000000000&seal=8000000000000000000"])
@pytest.mark.parametrize("verb", [["show"], ["cat"], ["cat", "--raw"]], ids=" ".join)
def test_nothing_is_allocated_for_a_ref_that_claims_too_much(state, verb, facts):
    ref = state.ref("history")
    size, digest = ref.index("size="), ref.index("&blake3")
    done = state.offload(*verb, ref[:size] + facts + ref[digest:])
    assert done.exit_code == 1
    assert "max_value_bytes" in done.stderr


@pytest.mark.parametrize("verb", [["show"], ["cat"], ["cat", "--raw"]], ids=" ".join)
def test_dots_that_a_driver_would_decode_lead_nowhere(state, verb):
    done = state.offload(*verb, f"{state.path}/train/%2e%2e/%2E./state.db")
    assert done.exit_code == 1
    assert "outside the locations" in done.stderr


def test_a_ref_of_airflows_own_backend_pins_nothing_and_that_is_said(state):
    file = state.directory / "blobs" / "train" / "r1" / "fit" / "-1" / "peer"
    file.parent.mkdir(parents=True)
    file.write_text("[1, 2]")
    state.put(f"{state.path}/train/r1/fit/-1/peer", "peer", FIT)
    told = shown(state, "--key", "peer")
    assert told["verified"] == ["a file is there"]
    assert "pin nothing" in told["not_verified"][0]
    file.unlink()
    assert shown(state, "--key", "peer", code=5)["error"]["type"] == "BlobNotFoundError"


def test_a_blob_of_the_oldest_format_is_told_and_called_unverified(state):
    [entry] = [each for each in golden.entries("blobs_v1.jsonl") if each["file"] == "checkpoint.json.zst"]
    blob = state.directory / "blobs" / entry["name"]
    blob.parent.mkdir(parents=True)
    blob.write_bytes((golden.BLOBS / entry["file"]).read_bytes())
    ref = entry["ref"].replace("s3://golden/state", state.path)
    told = shown(state, ref, "--deployment", "golden")
    assert told["blob"]["header"]["offload"] == 1
    assert (told["verified"], len(told["not_verified"])) == ([], 1)
    done = state.offload("cat", ref, "--deployment", "golden")
    assert json.loads(done.stdout)
    raw = state.offload("cat", ref, "--deployment", "golden", "--raw")
    assert raw.stdout_bytes == blob.read_bytes()
    damage(blob, -1)
    for raw in ([], ["--raw"]):
        assert state.offload("cat", ref, "--deployment", "golden", *raw).exit_code == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "say which value"),
        (["--key", "no such"], "no row is meant"),
        (["--key", "checkpoint"], "several rows are meant"),
        (["not a ref"], "not a ref"),
        (["{broken"], "not a ref"),
        (["s3://b/x#offload=1", "--key", "history"], "say which value"),
    ],
)
@pytest.mark.parametrize("verb", ["show", "cat"])
def test_exactly_one_value_has_to_be_meant(state, verb, options, words):
    done = state.offload(verb, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_several_rows_that_are_meant_are_named(state):
    done = state.offload("show", "--key", "checkpoint")
    assert str(PART) in done.stderr
    assert str(FIT) in done.stderr


def test_a_header_that_says_strange_things_does_nothing_to_a_terminal(state):
    key = "by\x1b[31mred"
    with state.stores() as stores:
        for each in (key, "other"):
            state.task(stores, TaskAddress("d\x1b[2J", "r", "t")).set(each, ["x"] * 300)
    done = state.offload("show", "--key", "by*")
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert "red" in done.stdout
    several = state.offload("show", "--run", "r")
    assert "[2J" in several.stderr
    assert "\x1b" not in several.stderr


def test_an_asset_is_found_by_its_name(state):
    assert shown(state, "--asset", "orders")["blob"]["header"]["asset"] == {"name": ORDERS.name}


def test_a_row_that_holds_no_value_is_exit_code_1(state):
    rows = SqlCoreStore(state.core_store)
    rows.set(FIT, "odd", "no value", expires_at=None)
    rows.close()
    for verb in ("show", "cat"):
        done = state.offload(verb, "--key", "odd")
        assert done.exit_code == 1
        assert "neither a ref nor a value" in done.stderr
