"""``offload ls`` over real rows: what is listed, in which order, and that nothing else is asked or told."""

from __future__ import annotations

import gc
import json
import shutil
import socket
import sqlite3
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import pytest
from typer.testing import CliRunner

from offload_backend.cli.looking import choice_of, parse_size
from offload_backend.cli.main import app
from offload_backend.corestore import FoundRow, Row
from offload_backend.errors import ConfigError
from offload_backend.inventory.choice import Order, ranked
from offload_backend.inventory.entry import Entry, entry_of
from offload_backend.row import envelope
from tests.cli.looked_at import FIT, PART, State

DAY = timedelta(days=1)


@pytest.fixture
def state(no_configuration, tmp_path):
    return State(tmp_path).fill()


OFFLOADED = [
    ("etl[new]/r1/load/-1", "page"),
    ("train/r1/fit/-1", "checkpoint"),
    ("train/r1/fit/-1", "history"),
    ("train/r2/fit/3", "checkpoint"),
    ("orders", "watermarks"),
    ("s3://lake/orders", "watermarks"),
]


def test_what_is_offloaded_is_listed_in_the_order_of_addresses_and_what_is_inline_on_demand(state):
    found = state.listed()
    assert sorted(found) == sorted(OFFLOADED)
    assert found[:4] == OFFLOADED[:4]
    assert set(state.listed("--all")) - set(found) == {("train/r1/fit/-1", "note")}


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (["--dag", "train"], OFFLOADED[1:4]),
        (["--dag", "t*n", "--run", "r?", "--key", "check*"], [OFFLOADED[1], OFFLOADED[3]]),
        (["--dag", "etl[new]"], OFFLOADED[:1]),
        (["--dag", "etl[[]new]"], OFFLOADED[:1]),
        (["--dag", "TRAIN"], []),
        (["--task", "[ab]*"], []),
        (["--map-index", "3"], OFFLOADED[3:4]),
        (["--map-index", "-1", "--key", "checkpoint"], OFFLOADED[1:2]),
        (["--run", "r1"], OFFLOADED[:3]),
        (["--asset", "*"], OFFLOADED[4:5]),
        (["--asset-uri", "s3://lake/*"], OFFLOADED[5:]),
        (["--key", "watermarks"], OFFLOADED[4:]),
    ],
)
def test_each_option_narrows_what_is_meant(state, options, meant):
    assert sorted(state.listed(*options)) == sorted(meant)


def test_ages_and_sizes_narrow_it_as_well(state):
    state.age("history", 3 * DAY)
    state.age("page", 10 * DAY)
    assert state.listed("--older-than", "2d") == [OFFLOADED[0], OFFLOADED[2]]
    assert state.listed("--older-than", "2d", "--newer-than", "7d") == [OFFLOADED[2]]
    sizes = {row["key"]: row["stored"] for row in state.as_json("ls", "--run", "r1")["rows"]}
    assert state.listed("--run", "r1", "--larger-than", str(sizes["history"])) == [OFFLOADED[1]]
    assert OFFLOADED[2] in state.listed("--run", "r1", "--larger-than", f"{sizes['history'] - 1}B")


def test_the_order_can_be_chosen_and_turned_round(state):
    state.age("history", 3 * DAY)
    state.age("page", 10 * DAY)
    assert [key for _, key in state.listed("--sort", "age")][:2] == ["page", "history"]
    assert [key for _, key in state.listed("--sort", "age", "--reverse")][-2:] == ["history", "page"]
    rows = state.as_json("ls", "--sort", "size")["rows"]
    assert [row["stored"] for row in rows] == sorted((row["stored"] for row in rows), reverse=True)
    assert state.as_json("ls", "--sort", "size", "--reverse")["rows"] == rows[::-1]


@pytest.mark.parametrize("sort", ["key", "size", "age"])
@pytest.mark.parametrize("options", [[], ["--reverse"]])
def test_a_limit_shows_the_first_of_them_and_says_that_there_are_more(state, sort, options):
    whole = state.as_json("ls", "--sort", sort, *options, "--limit", "0")
    some = state.offload("ls", "--sort", sort, *options, "--limit", "2", "--output", "json")
    assert json.loads(some.stdout) == {"rows": whole["rows"][:2], "matched": 6}
    assert "2 of 6 rows" in some.stderr


def test_a_line_tells_what_the_row_and_its_ref_say(state):
    [row] = state.as_json("ls", "--dag", "train", "--key", "history")["rows"]
    assert row["task"] == {"dag": "train", "run": "r1", "task": "fit", "index": -1}
    assert (row["about"], row["codec"], row["kept"]) == ("list[5000]", "json", "offloaded")
    assert row["ref"] == state.ref("history")
    assert row["stored"] == state.blob("history").stat().st_size < row["raw"]
    table = state.offload("ls", "--dag", "train").stdout
    line = next(line for line in table.splitlines() if "history" in line)
    assert line.startswith("task train.fit run r1")
    assert "list[5000]" in line
    assert line.endswith("json")
    other = next(line for line in table.splitlines() if "[3] run r2" in line)
    assert "never" in other
    assert "bytes[4000]" in other
    checkpoint = next(line for line in table.splitlines() if "dict[3]" in line)
    assert "in 6d 23h" in checkpoint


def test_an_encrypted_value_says_by_which_key(state, monkeypatch):
    monkeypatch.setenv("KEY", "1" * 64)
    with state.stores(encryption_keys="k1=env:KEY") as stores:
        state.task(stores, FIT).set("secret", ["s"] * 300)
    monkeypatch.delenv("KEY")
    assert "json, encrypted by k1" in state.offload("ls", "--key", "secret").stdout


@pytest.mark.parametrize("path", [[], ["--path", "s3://no-such-bucket-anywhere/x"]])
def test_no_storage_is_asked(state, path):
    shutil.rmtree(state.directory / "blobs")
    with blocked_sockets():
        done = CliRunner().invoke(app, ["ls", "--core-store", state.core_store, *path])
    assert done.exit_code == 0, done.output
    assert "history" in done.stdout


@contextmanager
def blocked_sockets():
    """Whoever would speak to anybody fails."""
    before = socket.socket.connect
    socket.socket.connect = None
    try:
        yield
    finally:
        socket.socket.connect = before


REFS = {
    "peer": "s3://conn-of-mine@bucket/state/train/r1/fit/-1/peer",
    "password": "s3://user:hunter2@bucket/state/a/b/c/-1/password",
    "query": "https://host/x?X-Amz-Signature=hunter2",
    "newer": "s3://user:hunter2@bucket/state/x#offload=99",
    "broken": "s3://bucket/x#offload=1&size=many",
}


@pytest.mark.parametrize("key", REFS)
def test_refs_of_others_are_listed_without_what_may_be_a_secret(state, key):
    state.put(REFS[key], key)
    done = state.offload("ls", "--key", key, "--output", "json")
    [row] = json.loads(done.stdout)["rows"]
    assert row["kept"] == ("peer" if key in ("peer", "password", "query") else "unreadable")
    table = state.offload("ls", "--key", key)
    for told in (done.output, table.output, state.offload("show", "--key", key).output):
        assert "conn-of-mine" not in told
        assert "hunter2" not in told
    assert row["ref"] == (REFS[key] if key == "broken" else None)
    assert key in table.stdout


def test_a_ref_of_a_newer_version_says_so(state):
    state.put(REFS["newer"], "newer")
    [row] = state.as_json("ls", "--key", "newer")["rows"]
    assert "newer" in row["about"]
    assert row["stored"] is None


def test_control_characters_do_nothing_to_a_terminal(state):
    state.put(state.ref("history"), "by\x1b[31m\x9bred\n", FIT)
    for options in ([], ["--output", "json"]):
        done = state.offload("ls", "--key", "by*", *options)
        assert "red" in done.stdout
        assert not set(done.stdout) & {"\x1b", "\x9b"}
    several = state.offload("show", "--dag", "train", "--run", "r1")
    assert several.exit_code == 2
    assert "\x1b" not in several.stderr


def test_what_the_row_holds_is_never_shown(state):
    with state.stores() as stores:
        state.task(stores, FIT).set("note", {"password": "hunter2"})
        state.task(stores, FIT).set("typed", ("hunter2",))
    state.put("not a ref, but hunter2", "odd")
    done = state.offload("ls", "--all")
    assert "hunter2" not in done.stdout
    about = {row["key"]: row["about"] for row in state.as_json("ls", "--all")["rows"]}
    assert (about["note"], about["typed"], about["odd"]) == ("dict[1]", "tuple", "not a value")


@pytest.mark.parametrize(
    "options",
    [
        ["--dag", "train", "--asset", "orders"],
        ["--asset", "orders", "--asset-uri", "x"],
        ["--map-index", "1", "--asset-uri", "x"],
        ["--dag", ""],
        ["--older-than", "soon"],
        ["--larger-than", "much"],
        ["--sort", "name"],
    ],
)
def test_options_that_contradict_each_other_or_cannot_be_read_are_exit_code_2(state, options):
    assert state.offload("ls", *options).exit_code == 2


@pytest.mark.parametrize("url", ["airflow-rest+http://127.0.0.1:9", "roots+file:///no/such.jsonl.gz"])
def test_what_tells_refs_alone_cannot_be_listed_and_the_way_out_is_told(state, url):
    done = state.offload("ls", "--core-store", url)
    assert done.exit_code == 2
    assert "offload show" in done.stderr


@pytest.mark.parametrize(
    ("size", "count"),
    [("0", 0), ("500", 500), ("10MB", 10_000_000), ("10MiB", 10 * 2**20), ("1.5 kB", 1500), ("2g", 2 * 10**9)],
)
def test_a_size_has_a_unit(size, count):
    assert parse_size("--larger-than", size) == count


@pytest.mark.parametrize("size", ["", "-1", "MB", "1XB", "1ib", "1e3"])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ConfigError, match="--larger-than"):
        parse_size("--larger-than", size)


def test_rows_of_airflow_are_known_by_their_assets_name_and_uri_and_archived_ones_on_demand(state, tmp_path):
    file = tmp_path / "airflow.db"
    with sqlite3.connect(file) as database:
        task = (
            "id INTEGER PRIMARY KEY, dag_id, run_id, task_id, map_index INTEGER, key, value, updated_at, expires_at"
        )
        database.executescript(
            f"CREATE TABLE task_state_store ({task}); CREATE TABLE _airflow_deleted__task_state_store__2 ({task});"
            "CREATE TABLE asset_state_store (asset_id INTEGER, key, value, updated_at);"
            "CREATE TABLE asset (id INTEGER, name, uri); INSERT INTO asset VALUES (7, 'orders', 's3://lake/orders');"
        )
        row, now = envelope(state.ref("history")), datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        for table, key in (("task_state_store", "live"), ("_airflow_deleted__task_state_store__2", "old")):
            values = ("train", "r1", "fit", -1, key, row, now)
            database.execute(f"INSERT INTO {table} VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, NULL)", values)
        database.execute("INSERT INTO asset_state_store VALUES (7, 'mark', ?, ?)", (row, now))
    url = f"airflow+sqlite:///{file}"

    def keys(*options):
        return [key for _, key in state.listed("--core-store", url, *options)]

    assert keys() == ["live", "mark"]
    assert keys("--asset", "ord*") == keys("--asset-uri", "s3:*") == ["mark"]
    assert keys("--all") == ["live", "old", "mark"]
    assert [row["archived"] for row in state.as_json("ls", "--core-store", url, "--all")["rows"]] == [
        False,
        True,
        False,
    ]
    assert "archived" in state.offload("ls", "--core-store", url, "--all").stdout


def test_a_list_of_any_length_takes_memory_for_what_is_shown(state):
    now, text, held = datetime.now(timezone.utc), envelope(state.ref("history")), []

    def entries():
        for number in range(2000):
            yield entry_of(FoundRow(Row(PART, f"k{number}", text, now, None), ("t", number)))
        held.append(sum(type(each) is Entry for each in gc.get_objects()))

    found = ranked(entries(), Order.KEY, limit=3)
    assert [entry.key for entry in found.entries] == ["k0", "k1", "k10"]
    assert (found.matched, held[0] < 10) == (2000, True)


def test_a_choice_of_nothing_means_all():
    assert choice_of() == choice_of(everything=False)
