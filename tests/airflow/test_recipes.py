"""The example DAGs of docs/recipes.md, killed and tried again: in a real Airflow, and at each of their lines."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from offload_backend import Checkpointer, connect
from tests import seam as seams

sys.path.append(str(Path(__file__).parent / "lib"))
import dying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.airflow.harness import Airflow, Attempt, Run

EXAMPLES = Path(__file__).parents[2] / "examples" / "dags"


def at(example: str, text: str, times: int = 1) -> str:
    """Where an attempt dies: before the last line with this text is carried out for the n-th time."""
    lines = (EXAMPLES / f"{example}.py").read_text().splitlines()
    *_, number = [number for number, line in enumerate(lines, 1) if text in line]
    return f"{example}.py:{number}:{times}"


def killed_and_tried_again(airflow: Airflow, example: str, where: str, **env: str) -> tuple[Run, Attempt, Any]:
    """The run after a second attempt, which has succeeded, and what it returned."""
    run = airflow.trigger(example)
    ((task_id, _),) = run.ready()
    first = run.attempt(task_id, env={**env, dying.DIES_AT: where})
    assert (first.exit_code, first.state) == (-signal.SIGKILL, "up_for_retry"), run.log
    ((task_id, _),) = run.ready()
    second = run.attempt(task_id, env=env)
    assert (second.try_number, second.state) == (2, "success"), run.log
    return run, first, run.result(task_id)


def rows(airflow: Airflow, run: Run) -> dict[str, Any]:
    return {row.key: row for row in airflow.rows().task if row.run_id == run.run_id}


def test_training_goes_on_from_the_checkpoint(airflow: Airflow) -> None:
    pytest.importorskip("numpy")
    where = at("resume_training", 'state["step"] += 1', 38)
    run, _, result = killed_and_tried_again(airflow, "resume_training", where)
    assert result["began_at"] == 30
    assert result["mean"] == pytest.approx(1.0, abs=0.1)
    (row,) = rows(airflow, run).values()
    assert row.ref.startswith("file://")


def test_the_last_three_checkpoints_are_kept_and_gone_back_to(airflow: Airflow, state_folder: Path) -> None:
    pytest.importorskip("numpy")
    where = at("keep_last_three", "checkpoint.offer(model)", 55)
    run, _, result = killed_and_tried_again(airflow, "keep_last_three", where)
    undisturbed = airflow.run("keep_last_three")
    assert result == {**undisturbed.result("train"), "began_at": 50}
    assert len(result["saved"]) == 3
    assert result["rate"] < 2  # it went back, where it would have grown beyond
    assert len(rows(airflow, run)) == 1 + 3
    blobs = [path.parts for path in state_folder.rglob("*.zst")]
    assert sum(undisturbed.run_id in parts for parts in blobs) == 3
    # What the killed attempt saved, and the next one did not read, is the collector's.
    assert sum(run.run_id in parts for parts in blobs) == 3 + 2


def test_pages_are_not_fetched_again_and_none_is_missing_or_there_twice(airflow: Airflow) -> None:
    where = at("paginated_ingest", "fetched += 1", 27)
    _, _, result = killed_and_tried_again(airflow, "paginated_ingest", where)
    assert result == {"rows": 2000, "distinct": 2000, "fetched": 20}


def test_a_job_is_submitted_once(airflow: Airflow, tmp_path: Path) -> None:
    where = at("external_job", 'task_state_store.set("job", job')
    run, _, result = killed_and_tried_again(airflow, "external_job", where, TMPDIR=str(tmp_path))
    (job,) = (tmp_path / "offload-example-cluster").iterdir()
    assert result == {"job_id": job.name}
    assert rows(airflow, run)["job"].expires_at is None


def test_files_are_loaded_once_and_the_next_run_loads_what_is_new(airflow: Airflow) -> None:
    where = at("asset_watermarks", 'asset_state_store[ORDERS].set("seen", seen)', 3)
    _, _, result = killed_and_tried_again(airflow, "asset_watermarks", where)
    assert result == {"loaded": 1000, "seen": 3000}
    assert airflow.run("asset_watermarks").result("load_what_is_new") == {"loaded": 0, "seen": 3000}
    later = airflow.run("asset_watermarks", conf={"days": 4})
    assert later.result("load_what_is_new") == {"loaded": 1000, "seen": 4000}
    assert airflow.run("asset_watermarks_report").result("report") == 4000
    (row,) = [row for row in airflow.rows().asset if row.name == "example_orders"]
    assert row.ref.startswith("file://")


def test_people_see_the_progress_while_the_task_runs(airflow: Airflow) -> None:
    run = airflow.trigger("progress")
    assert run.ready() == [("work", -1)]
    run.attempt("work", env={dying.DIES_AT: at("progress", "handle(item)", 450)})
    path = f"/api/v2/dags/progress/dagRuns/{run.run_id}/taskInstances/work/state-store/progress"
    shown = airflow.rest.ask("GET", path)["value"]["__airflow_state_ref__"]
    assert json.loads(shown) == {"done": 400, "of": 1000, "text": json.loads(shown)["text"]}
    assert run.ready() == [("work", -1)]
    assert run.attempt("work").state == "success"
    assert run.result("work") == {"began_at": 400}


# --- at each line, without a server: a process that is killed, and rows and blobs that stay

EVERY_EXAMPLE = {
    "resume_training": ("train", "learn", 10),
    "keep_last_three": ("train", "learn", 11),
    "paginated_ingest": ("ingest", "fetch", 10),
    "external_job": ("run_job", None, 0),
    "asset_watermarks": ("load_what_is_new", "load", 1_000),
    "progress": ("work", "handle", 100),
}
"""The task, the function that does its work, and how often that may be called again after a kill, at most."""
OF_ONE_ATTEMPT = {"began_at", "fetched", "loaded", "job_id"}
"""What an attempt says of itself."""


class Place:
    """Rows, blobs and whatever else one task leaves behind; each ``run`` is an attempt."""

    def __init__(self, folder: Path, example: str) -> None:
        folder.mkdir()
        self.folder, self.calls = folder, folder / "calls"
        self.calls.touch()
        task, self.work, _ = EVERY_EXAMPLE[example]
        with mock.patch.object(tempfile, "tempdir", str(folder)):
            self.module = runpy.run_path(str(EXAMPLES / f"{example}.py"))
        self.task = self.module[task].function

    def run(self, where: str = "") -> dict[str, Any]:
        """What the task returns, without what this attempt says of itself."""
        names = self.task.__globals__
        with connect(self.folder / "blobs", f"sqlite:///{self.folder}/state.db") as stores:
            given = {
                "task_state_store": stores.task_store("d", "r", "t"),
                "asset_state_store": {names.get("ORDERS"): stores.asset_store(name="orders")},
                "dag_run": SimpleNamespace(conf=None),
            }
            wanted = {name: value for name, value in given.items() if name in signature(self.task).parameters}
            work = self.work and mock.patch.dict(names, {self.work: self.counted(names[self.work])})
            with work or nullcontext():
                if where:
                    dying.obey(where)
                result = self.task(**wanted)
        return {name: value for name, value in result.items() if name not in OF_ONE_ATTEMPT}

    def counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        calls = self.calls.open("ab", buffering=0)  # what is written is counted, whatever kills the process

        def call(*arguments: Any) -> Any:
            calls.write(b".")
            return work(*arguments)

        return call

    def is_killed(self, where: str) -> bool:
        """Whether an attempt that is to die there comes to it."""
        pid = os.fork()
        if pid == 0:
            try:
                self.run(where)
            finally:
                os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, if the system has one: what is to outlive a process need not outlive a power cut."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("example", "times"),
    [*((example, 1) for example in EVERY_EXAMPLE), ("keep_last_three", 25), ("paginated_ingest", 25)],
)
def test_killed_at_any_line_the_next_attempt_ends_as_if_nothing_had_been(
    memory: Path, example: str, times: int
) -> None:
    if "numpy" in (EXAMPLES / f"{example}.py").read_text():
        pytest.importorskip("numpy")
    undisturbed = Place(memory / "undisturbed", example)
    result, calls = undisturbed.run(), undisturbed.calls.stat().st_size
    lines = {line for *_, line in undisturbed.task.__code__.co_lines() if line}
    killed = 0
    for line in sorted(lines):
        place = Place(memory / str(line), example)
        if place.is_killed(f"{example}.py:{line}:{times}"):
            assert place.run() == result, line
            again = place.calls.stat().st_size - calls
            assert 0 <= again <= EVERY_EXAMPLE[example][2], line
            if example == "external_job":
                assert len(list(place.folder.glob("offload-example-cluster/*"))) == 1, line
            killed += 1
        shutil.rmtree(place.folder)
    assert killed >= 5


# --- with any backend


@pytest.mark.parametrize("backend", ["", seams.OURS, seams.PEER], ids=["no backend", "ours", "the peer's"])
def test_a_checkpointer_takes_airflows_accessors_whatever_is_behind_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str
) -> None:
    if backend == seams.PEER:
        pytest.importorskip("airflow.providers.common.io.state_store")
    monkeypatch.setenv("AIRFLOW__COMMON_IO__STATE_STORE_OBJECTSTORAGE_PATH", (tmp_path / "peer").as_uri())
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", (tmp_path / "ours").as_uri())
    seam = seams.start(monkeypatch, backend)
    for store in (seam.task(), seam.asset(name="a")):
        first = Checkpointer(store, "loop", every=2, keep=2)
        state = first.resume(start=lambda: {"seen": [], "bulk": "x" * 100_000})
        for item in range(7):
            state["seen"].append(item)
            first.offer(state)
        with Checkpointer(store, "loop", every=2, keep=2) as second:
            state = second.resume(start=list)
            assert (second.step, state["seen"]) == (6, [0, 1, 2, 3, 4, 5])
            second.offer(state)
            second.offer(state)
            assert second.saved_steps == (6, 8)
            assert second.resume(start=list, step=6) == state
            second.clear()
        assert store.get("loop") is None
    assert seam.supervisor.rows == {}
