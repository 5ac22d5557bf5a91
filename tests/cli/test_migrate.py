"""``offload migrate`` with real rows, files and processes: what it says, its exit codes, and while others work."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from offload_backend import connect
from offload_backend.address import TaskAddress
from offload_backend.cli.options import Output
from offload_backend.cli.rewriting import Told, tell
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import IncompleteError
from offload_backend.lifecycle.remaking import RewriteReport
from offload_backend.offloader import Offloader
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.row import envelope, open_envelope
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.cli.deployments import TASK, OnDisk

WORDS = ["word"] * 200


class Moving(OnDisk):
    """Configured in the environment; ``old`` is where blobs were before, ``peer`` where the peer's objects are."""

    @property
    def old(self):
        return f"file://{self.directory}/old"

    @property
    def peer(self):
        return f"file://{self.directory}/peer"

    def put(self, key, row, expires_at=None):
        rows = SqlCoreStore(self.core_store)
        rows.set(TASK, key, row, expires_at=expires_at)
        rows.close()

    def put_in_old_place(self, key, value):
        settings = Settings.load({"path": self.old, "inline_limit": 0})
        ref = Offloader(settings, lambda path: open_store(path, settings)).offload(value, TASK, key)
        self.put(key, envelope(ref))
        return ref

    def put_by_peer(self, key, value):
        file = self.directory / "peer" / "etl" / "run" / "load" / "-1" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
        self.put(key, envelope(f"{self.peer}/etl/run/load/-1/{key}"))

    def rows(self):
        rows = SqlCoreStore(self.core_store)
        found = {row.key: row.text for row in rows.rows()}
        rows.close()
        return found

    def refs(self):
        return {key: parse_ref(open_envelope(json.loads(row))) for key, row in self.rows().items()}

    def state(self):
        return connect(path=self.path, core_store=self.core_store, read_paths=f"{self.old} {self.peer}")

    def values(self):
        with self.state() as stores:
            task = stores.task_store("etl", run_id="run", task_id="load")
            return {key: task.get(key) for key in self.rows()}

    def make_rows_old(self):
        engine = create_engine(self.core_store, connect_args={"timeout": 30})
        with engine.begin() as connection:
            connection.execute(text("UPDATE offload_task_state SET updated_at = '2020-01-01 00:00:00.000000'"))
        engine.dispose()


@pytest.fixture
def moving(no_configuration, monkeypatch, tmp_path):
    found = Moving(tmp_path)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__INLINE_LIMIT", "100")
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__READ_PATHS", f"{found.old} {found.peer}")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", found.peer)
    return found.adopted()


def test_it_moves_in_and_says_what_it_did(moving):
    moving.put_by_peer("theirs", WORDS)
    moving.put_by_peer("small", [1])
    moving.put("long", json.dumps(WORDS))
    moving.put("short", "[1, 2]")
    dry = moving.offload("migrate", "in", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "3 of 4 rows need it" in dry.stdout
    assert "this was a dry run: nothing was rewritten" in dry.stdout
    assert moving.blobs() == []
    told = moving.offload("migrate", "in")
    assert told.exit_code == 0, told.output
    assert "3 rows rewritten, 2 blobs written anew" in told.stdout
    assert moving.values() == {"theirs": WORDS, "small": [1], "long": WORDS, "short": [1, 2]}
    assert len(moving.blobs()) == 2
    assert (moving.directory / "peer/etl/run/load/-1/theirs").exists()
    again = moving.as_json("migrate", "in")
    assert (again["rows"], again["wanted"]["rows"], again["done"]["rows"]) == (4, 0, 0)


def test_it_moves_from_another_place_and_leaves_or_deletes_what_was_there(moving):
    for number in range(3):
        moving.put_in_old_place(str(number), WORDS)
    moving.make_rows_old()
    kept = moving.offload("migrate", "move", "--from", f"{moving.old}/", "--limit", "1")
    assert kept.exit_code == 0, kept.output
    assert "1 rows rewritten" in kept.stdout
    assert "1 old blobs stay, as --delete-old was not given" in kept.stdout
    refused = moving.offload("migrate", "move", "--from", moving.old, "--delete-old")
    assert refused.exit_code == 3
    assert "owner" in refused.stderr
    for path in (moving.old, moving.path):
        assert run("gc", "adopt", *places(moving), "--path", path).returncode == 0
    gone = moving.offload("migrate", "move", "--from", moving.old, "--delete-old", "--grace", "0s")
    assert gone.exit_code == 0, gone.output
    assert "2 old blobs deleted" in gone.stdout
    assert moving.values() == {str(number): WORDS for number in range(3)}
    assert len([file for file in (moving.directory / "old").rglob("*.zst") if "_gc" not in file.parts]) == 1


def test_it_moves_out_to_plain_rows_and_tells_what_cannot(moving, monkeypatch):
    with moving.state() as stores:
        task = stores.task_store("etl", run_id="run", task_id="load")
        task.set("words", WORDS)
        task.set("tree", {"t": (1, 2), "words": WORDS})
        task.set("much", "x" * 2000)
    monkeypatch.setenv("AIRFLOW__STATE_STORE__MAX_VALUE_STORAGE_BYTES", "1900")
    dry = moving.offload("migrate", "out", "--to", "plain", "--dry-run")
    assert dry.exit_code == 4
    assert "1 of 3 rows need it" in dry.stdout
    assert "2 rows can not be rewritten" in dry.stdout
    told = moving.offload("migrate", "out", "--to", "plain")
    assert told.exit_code == 4
    assert f"{TASK} key 'tree': value: it is more than JSON; set the key again with plain data" in told.stdout
    assert "2002 bytes, and a row may take 1900; raise [state_store] max_value_storage_bytes" in told.stdout
    assert "2 rows could not be rewritten" in told.stderr
    assert moving.rows()["words"] == json.dumps(WORDS)
    monkeypatch.setenv("AIRFLOW__STATE_STORE__MAX_VALUE_STORAGE_BYTES", "0")
    assert "1 rows rewritten" in moving.offload("migrate", "out", "--to", "plain").stdout
    assert moving.rows()["much"] == json.dumps("x" * 2000)


def test_what_cannot_move_is_named_and_does_nothing_to_a_terminal(moving):
    with moving.state() as stores:
        stores.task_store("d\x1b[2J\nx", "run", "load").set("odd", {1, 2})
    done = moving.offload("migrate", "out", "--to", "plain", "--dry-run")
    assert done.exit_code == 4
    assert "\n  task d�[2J�x.load run run key 'odd': " in done.stdout


def test_it_moves_out_to_the_peer_as_its_settings_say(moving, monkeypatch):
    with moving.state() as stores:
        task = stores.task_store("etl", run_id="run", task_id="load")
        task.set("words", WORDS)
        task.set("less", ["w"] * 50)
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_COMPRESSION", "gzip")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_THRESHOLD", "400")
    told = moving.as_json("migrate", "out", "--to", "common-io")
    assert (told["done"]["rows"], told["failures"]) == (2, 0)
    [file] = (moving.directory / "peer/etl/run/load/-1").iterdir()
    assert file.name.startswith("words~")
    assert file.name.endswith(".gz")
    assert moving.rows()["less"] == envelope(json.dumps(["w"] * 50))
    assert moving.values() == {"words": WORDS, "less": ["w"] * 50}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["move", "--from", "s3://bucket/unknown"], "read_paths"),
        (["move", "--from", "s3://bucket/unknown", "--grace", "soon"], "read_paths"),
        (["out", "--to", "plain", "--grace", "soon"], "--grace 10m"),
        (["out"], "--to"),
        (["move"], "--from"),
    ],
)
def test_what_cannot_be_meant_is_told(moving, arguments, says):
    told = moving.offload("migrate", *arguments)
    assert told.exit_code == 2
    assert says in told.output


def test_settings_of_airflows_that_are_no_numbers_are_told(moving, monkeypatch):
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_THRESHOLD", "much")
    told = moving.offload("migrate", "out", "--to", "common-io")
    assert told.exit_code == 2
    assert "[common.io] state_store_objectstorage_threshold" in told.stderr


def test_a_database_that_has_not_adopted_the_blobs_is_refused(moving, tmp_path):
    moving.put_by_peer("theirs", WORDS)
    told = run("migrate", "in", *places(moving), "--path", f"file://{tmp_path}/nobodys")
    assert told.returncode == 3
    assert "offload gc adopt" in told.stderr


def test_a_store_that_is_gone_is_told_and_the_row_stays(moving):
    moving.put_by_peer("theirs", WORDS)
    (moving.directory / "peer/etl/run/load/-1/theirs").unlink()
    row = moving.rows()["theirs"]
    told = moving.offload("migrate", "in")
    assert told.exit_code == 4
    assert moving.rows()["theirs"] == row


def test_rows_that_were_left_alone_are_no_success(capsys):
    report = RewriteReport(dry=False, changed=10, stopped=True)
    with pytest.raises(IncompleteError, match="the other rows were left alone"):
        tell(report, {"rows": "here", "blobs": "there"}, Output.JSON, Told("", "", ""))
    assert json.loads(capsys.readouterr().out)["stopped"]


def places(moving):
    return ["--core-store", moving.core_store]


def run(*arguments, **options):
    command = [sys.executable, "-c", "from offload_backend.cli.main import app; app()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_progress_is_shown_on_a_terminal_and_never_in_the_output(moving):
    moving.put("long", json.dumps(WORDS))
    terminal, stderr = pty.openpty()
    try:
        script = "from offload_backend.cli.main import app; app()"
        command = [sys.executable, "-c", script, "migrate", "in", *places(moving), "--path", moving.path]
        command += ["--output", "json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(stderr)
        os.close(terminal)
    assert json.loads(done.stdout)["done"]["rows"] == 1
    assert "1/1" in shown


KILLED = """
import itertools, os, signal, sys
from offload_backend.cli.main import app
from offload_backend.lifecycle import rewrite
from offload_backend.lifecycle.migrate import MovingIn

last, remake, turns = int(sys.argv.pop(1)), MovingIn.remake, itertools.count(1)
rewrite.ROWS_PER_PAGE, rewrite.SECONDS_TO_COMMIT = 10, 600

def remake_until_killed(*arguments):
    if next(turns) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return remake(*arguments)

MovingIn.remake = remake_until_killed
app()
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(moving):
    values = {str(number): [number, *WORDS] for number in range(30)}
    for key, value in values.items():
        moving.put_by_peer(key, value)
    command = [sys.executable, "-c", KILLED, "16", "migrate", "in", *places(moving), "--path", moving.path]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert sum(isinstance(ref, BlobRef) for ref in moving.refs().values()) == 10
    assert moving.values() == values
    assert "20 rows rewritten" in moving.offload("migrate", "in").stdout
    assert moving.values() == values


class Tasks:
    """Three that write, and read what they have written; one key is written once and read again and again."""

    def __init__(self, moving, pool):
        self.moving = moving
        self.laps = [0, 0, 0]
        self.are_over = threading.Event()
        self.running = [pool.submit(self.run, index) for index in range(3)]

    def run(self, index):
        with self.moving.state() as stores:
            state = stores.task_store("etl", run_id="run", task_id="load", map_index=index)
            state.set("still", [index, *WORDS])
            while not self.are_over.is_set():
                number = self.laps[index]
                state.set("key", [index, number, *WORDS])
                for _ in range(5):
                    assert state.get("key") == [index, number, *WORDS]
                    assert state.get("still") == [index, *WORDS]
                self.laps[index] += 1

    def wait_for_a_lap(self):
        """Until each has made one more, however fast the one is that waits; or has failed."""
        before = list(self.laps)
        while any(made == self.laps[at] and not self.running[at].done() for at, made in enumerate(before)):
            time.sleep(0.001)


def test_tasks_set_and_get_all_the_time_while_everything_moves_about(moving):
    """In, out to the peer, in, out to plain rows, and again: nobody sees anything but what was set last.

    Without any grace, and with rows that look old, so that blobs go under their readers.
    """
    assert moving.offload("migrate", "in").exit_code == 0
    moved = []
    with ThreadPoolExecutor(3) as pool:
        tasks = Tasks(moving, pool)
        try:
            for way in [["out", "--to", "common-io"], ["in"], ["out", "--to", "plain"], ["in"]] * 2:
                tasks.wait_for_a_lap()
                moving.make_rows_old()
                without_grace = ["--delete-old", "--grace", "0s"] if "out" in way else []
                moved.append(moving.as_json("migrate", *way, *without_grace))
        finally:
            tasks.are_over.set()
        for each in tasks.running:
            each.result()
    # Of the rows that nobody writes, each moves every time, and twice in four times it leaves a blob behind.
    assert all(told["done"]["rows"] >= 3 for told in moved)
    assert sum(told["deleted"] for told in moved) >= 12


@pytest.mark.parametrize("way", [["out", "--to", "plain"], ["out", "--to", "common-io"], ["move", "--from", "old"]])
def test_who_has_just_read_a_row_gets_its_value_although_the_blob_is_gone(moving, monkeypatch, way):
    if "move" in way:
        moving.put_in_old_place("key", WORDS)
        way = ["move", "--from", moving.old]
        assert run("gc", "adopt", *places(moving), "--path", moving.old).returncode == 0
    with moving.state() as stores:
        task = stores.task_store("etl", run_id="run", task_id="load")
        if "out" in way:
            task.set("key", WORDS)
        moving.make_rows_old()
        read = SqlCoreStore.get

        def read_and_overtaken(rows, address, key):
            row = read(rows, address, key)
            monkeypatch.setattr(SqlCoreStore, "get", read)
            assert moving.as_json("migrate", *way, "--delete-old", "--grace", "0s")["deleted"] == 1
            return row

        monkeypatch.setattr(SqlCoreStore, "get", read_and_overtaken)
        assert task.get("key") == WORDS


def test_only_one_dag_moves(moving):
    moving.put("mine", json.dumps(WORDS))
    rows = SqlCoreStore(moving.core_store)
    rows.set(TaskAddress("other", "run", "task"), "theirs", json.dumps(WORDS), expires_at=None)
    rows.close()
    assert "1 rows rewritten" in moving.offload("migrate", "in", "--dag", "other").stdout
    assert moving.rows()["mine"] == json.dumps(WORDS)
