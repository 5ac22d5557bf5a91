"""``offload stats``: the sums of real rows, what the collector saw, and the pictures."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from typer.testing import CliRunner

from offload_backend.address import TaskAddress
from offload_backend.cli.main import app
from offload_backend.corestore import FoundRow, Row
from offload_backend.inventory.entry import entry_of
from offload_backend.inventory.totals import LARGEST, totals_of
from offload_backend.row import envelope
from tests.cli.looked_at import FIT, LOAD, ORDERS, PART, URI, State

DAY = timedelta(days=1)


@pytest.fixture
def state(no_configuration, tmp_path):
    return State(tmp_path).fill()


@pytest.fixture
def adopted(state):
    assert state.offload("gc", "adopt").exit_code == 0
    return state


def stored(state, *places):
    return sum(state.blob(key, address).stat().st_size for key, address in places)


TRAIN = [("checkpoint", FIT), ("history", FIT), ("checkpoint", PART)]
ASSETS = [("watermarks", ORDERS), ("watermarks", URI)]
ALL = [*TRAIN, *ASSETS, ("page", LOAD)]


def test_rows_and_bytes_are_summed_in_all_and_by_whose_they_are(state):
    told = state.as_json("stats")
    assert told["kept"]["offloaded"]["rows"] == 6
    assert told["kept"]["offloaded"]["stored"] == stored(state, *ALL) < told["kept"]["offloaded"]["raw"]
    assert told["kept"]["inline"]["rows"] == 1
    assert (told["dags"]["train"]["rows"], told["dags"]["train"]["stored"]) == (3, stored(state, *TRAIN))
    assert told["dags"]["etl[new]"]["rows"] == 1
    assert {(each["dag"], each["task"]): each["rows"] for each in told["tasks"]} == {
        ("train", "fit"): 3,
        ("etl[new]", "load"): 1,
    }
    assert {name: found["stored"] for name, found in told["assets"].items()} == {
        "orders": stored(state, ASSETS[0]),
        "s3://lake/orders": stored(state, ASSETS[1]),
    }
    assert {name: found["rows"] for name, found in told["codecs"].items()} == {"json": 4, "tree": 2}
    sizes = [each["stored"] for each in told["largest"]]
    assert sizes == sorted((stored(state, place) for place in ALL), reverse=True)


def test_the_table_has_the_largest_of_each_first_and_at_most_so_many(state):
    shown = state.offload("stats", "--top", "1").stdout
    assert "the largest dags" in shown
    tables = dict(part.split("\n", 1) for part in shown.split("\n\n") if "\n" in part.strip())
    assert "train" in tables["the largest dags"]
    assert "etl" not in tables["the largest dags"]
    assert "orders" in tables["the largest assets"]


def test_growth_is_by_the_day_of_the_last_write_and_adds_up(state):
    state.age("history", 3 * DAY)
    state.age("page", 40 * DAY)
    days = state.as_json("stats")["days"]
    now = datetime.now(timezone.utc)
    assert days[str((now - 3 * DAY).date())]["rows"] == 1
    assert sum(day["rows"] for day in days.values()) == 6
    lines = state.offload("stats", "--days", "5").stdout.split("the day it was written\n")[1].splitlines()[2:]
    shown = [line.split() for line in lines if line.strip()]
    assert [line[0] for line in shown[-5:]] == [str((now - number * DAY).date()) for number in (4, 3, 2, 1, 0)]
    assert [line[1] for line in shown[-5:]] == ["0", "1", "0", "0", "4"]
    bars = [line[-1].count("█") for line in shown[-5:]]
    assert bars == sorted(bars)
    assert bars[-1] == 30


def test_orphans_and_dangling_refs_are_as_the_last_mark_saw_them_until_they_are_looked_for(adopted):
    assert "not marked yet" in adopted.offload("stats").stderr
    with adopted.stores() as stores:
        adopted.task(stores, FIT).set("history", ["again"] * 200)
    adopted.make_old(30 * DAY)
    adopted.age("page", 30 * DAY)
    adopted.blob("page", LOAD).unlink()
    assert adopted.as_json("stats")["last_mark"] is None
    assert adopted.offload("gc", "mark").exit_code == 3
    assert adopted.as_json("stats")["last_mark"] is None  # one that was refused saw who knows what
    marked = adopted.offload("gc", "mark", "--accept", "match")
    assert marked.exit_code == 0, marked.output
    last = adopted.as_json("stats")["last_mark"]
    assert (last["orphans"]["count"], last["dangling"]["count"], last["listed"]["count"]) == (1, 1, 6)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(last["at"])
    assert timedelta() <= age < DAY
    adopted.blob("watermarks", ORDERS).unlink()
    told = adopted.as_json("stats", "--scan")
    assert told["last_mark"]["dangling"]["count"] == 1
    assert told["scan"]["dangling"] == 2
    shown = adopted.offload("stats", "--scan").stdout
    assert "dangling now" in shown
    assert "orphans" in shown


@pytest.mark.parametrize("path", ["s3://bucket/x", "file:///dev/null/x"])
def test_a_store_that_cannot_be_reached_leaves_the_sums(state, path, monkeypatch):
    options = json.dumps({"endpoint_url": "http://127.0.0.1:9", "key": "k", "secret": "hunter2"})
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__STORAGE_OPTIONS", options if path.startswith("s3") else "")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__GIVE_UP_AFTER", "1s")
    done = CliRunner().invoke(app, ["stats", "--core-store", state.core_store, "--path", path])
    assert done.exit_code == 0, done.output
    assert "in blobs" in done.stdout
    assert "marks could not be read" in done.stderr or "not marked yet" in done.stderr
    assert "hunter2" not in done.output


def test_what_is_elsewhere_expired_or_not_ours_is_counted_apart(state):
    ref = state.ref("history")
    state.put(ref.replace(state.path, "s3://old/place"), "old place")
    state.put(ref.replace("/v1/default/", "/v1/other/"), "other deployment")
    state.put("s3://conn-of-mine@bucket/peer/a/b/c/-1/k", "peer")
    state.put("s3://bucket/x#offload=99", "newer")
    with state.stores() as stores:
        state.task(stores, FIT).set("past", ["x"] * 300, retention=timedelta(milliseconds=1))
    told = state.as_json("stats")
    assert {name: found["rows"] for name, found in told["kept"].items()} == {
        "offloaded": 9,
        "inline": 1,
        "peer": 1,
        "unreadable": 1,
    }
    assert told["elsewhere"]["rows"] == 2
    assert told["expired"]["rows"] == 1
    done = state.offload("stats")
    assert "conn-of-mine" not in done.output
    assert "Airflow's own backend" in done.stdout


def test_encrypted_values_are_counted_by_key(state, monkeypatch):
    monkeypatch.setenv("KEY", "1" * 64)
    with state.stores(encryption_keys="k1=env:KEY") as stores:
        state.task(stores, FIT).set("secret", ["s"] * 300)
    assert state.as_json("stats")["encrypted"] == {"k1": 1}


def test_a_picture_is_drawn(adopted, tmp_path):
    adopted.age("history", 3 * DAY)
    adopted.make_old(30 * DAY)
    for _ in range(2):
        assert adopted.offload("gc", "mark").exit_code == 0
    png, svg = tmp_path / "size.png", tmp_path / "size.svg"
    done = adopted.offload("stats", "--plot", str(png))
    assert (done.exit_code, png.read_bytes()[:8]) == (0, b"\x89PNG\r\n\x1a\n")
    assert adopted.offload("stats", "--plot", str(svg)).exit_code == 0
    assert svg.read_text().startswith("<?xml")


def test_a_picture_of_nothing_is_drawn_too(no_configuration, tmp_path):
    state = State(tmp_path)
    with state.stores() as stores:
        state.task(stores, FIT).set("note", 1)
    assert state.offload("stats", "--plot", str(tmp_path / "size.png")).exit_code == 0


@pytest.mark.parametrize("file", ["size.txt", "no such folder/size.png"])
def test_a_picture_that_cannot_be_is_exit_code_2(state, tmp_path, file):
    done = state.offload("stats", "--plot", str(tmp_path / file))
    assert done.exit_code == 2, done.output
    assert "Hint" in done.stderr


def test_without_matplotlib_the_extra_is_named_before_anything_is_read(state, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = state.offload("stats", "--plot", str(tmp_path / "size.png"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "offload-backend[plot]" in done.stderr


def test_an_empty_deployment_has_no_sums(no_configuration, tmp_path):
    state = State(tmp_path)
    with state.stores() as stores:
        state.task(stores, FIT).set("note", 1)
        state.task(stores, FIT).delete("note")
    told = state.as_json("stats")
    assert (told["kept"], told["largest"], told["days"]) == ({}, [], {})
    assert state.offload("stats").exit_code == 0


def test_only_the_largest_are_remembered(state):
    now, ref = datetime.now(timezone.utc), state.ref("history")
    size = state.blob("history").stat().st_size
    found = [
        FoundRow(Row(TaskAddress("d", "r", f"t{number}"), "k", envelope(text), now, None), ("t", number))
        for number in range(30)
        for text in [ref.replace(f"size={size}", f"size={number}")]
    ]
    found.append(FoundRow(found[-1].row, ("old", 1), archived=True))
    totals = totals_of(map(entry_of, found), now, location="", deployment="default")
    assert (totals.archived.rows, totals.kept["offloaded"].rows) == (1, 30)
    assert [entry.stored for entry in totals.largest] == [*range(29, 29 - LARGEST, -1)]
    assert totals.elsewhere.rows == 0
