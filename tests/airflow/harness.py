"""A real Airflow for tests: API server, supervisor, forked tasks, Execution API over HTTP, SQLite or PostgreSQL."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.airflow_site import AIRFLOW, Rest, site_environment, start_api_server
from demo.processes import Process, Processes, free_port, wait_until
from tests.airflow.database import Database
from tests.airflow.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
SERVER_SECTION = "AIRFLOW__STATE_STORE__"  # the API server reads these settings as well as the task
EXECUTION_API = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
TASK_SECONDS = 120.0


@dataclass(frozen=True)
class Attempt:
    """One finished try of one task instance. ``exit_code`` is the task process's; -9 means SIGKILL."""

    task_id: str
    map_index: int
    try_number: int
    exit_code: int
    state: str
    log: str

    def __str__(self) -> str:
        head = f"{self.task_id}[{self.map_index}] try {self.try_number}"
        return f"{head}: {self.state} ({self.exit_code})\n{self.log}"


@dataclass
class Run:
    """A DAG run and the tries made so far, in order."""

    airflow: Airflow
    dag_id: str
    run_id: str
    attempts: list[Attempt] = field(default_factory=list)

    def ready(self) -> list[tuple[str, int]]:
        """(task id, map index) of what a scheduler would start now."""
        found = self.airflow.ask("ready", dag_id=self.dag_id, run_id=self.run_id)
        return [(each["task_id"], each["map_index"]) for each in found]

    def attempt(self, task_id: str, map_index: int = -1, env: Mapping[str, str] | None = None) -> Attempt:
        """Run one try to its end."""
        return self.start(task_id, map_index, env).wait()

    def start(self, task_id: str, map_index: int = -1, env: Mapping[str, str] | None = None) -> RunningAttempt:
        """Start one try and return while it runs."""
        env = self.airflow.task_environment(env or {})
        started = self.airflow.ask(
            "start", dag_id=self.dag_id, run_id=self.run_id, task_id=task_id, map_index=map_index, env=env
        )
        return RunningAttempt(self, started)

    def states(self) -> dict[tuple[str, int], str | None]:
        """State of each task instance."""
        tasks = self.airflow.ask("states", dag_id=self.dag_id, run_id=self.run_id)["tasks"]
        return {(each["task_id"], each["map_index"]): each["state"] for each in tasks}

    def result(self, task_id: str, map_index: int = -1) -> Any:
        """What the task returned, as Airflow's REST API tells it."""
        path = f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.airflow.rest.ask("GET", path, params={"map_index": map_index})["value"]

    @property
    def state(self) -> str:
        """State of the run: running, success or failed."""
        return str(self.airflow.ask("states", dag_id=self.dag_id, run_id=self.run_id)["run"])

    @property
    def log(self) -> str:
        """Every try's log, each under a heading."""
        return "\n".join(str(attempt) for attempt in self.attempts)


@dataclass(frozen=True)
class RunningAttempt:
    """A try that has been started; its task process is a descendant of the harness."""

    run: Run
    started: dict[str, Any]

    def wait(self, seconds: float = TASK_SECONDS) -> Attempt:
        """The finished try; fails the test when it takes longer."""
        airflow = self.run.airflow
        code = airflow.ask("wait", pid=self.started["pid"], seconds=seconds)
        if code is None:
            raise AssertionError(f"{self.started['task_id']} still runs after {seconds} s\n{self.log()}")
        self.give_up()
        key = (self.started["task_id"], self.started["map_index"])
        state = str(self.run.states()[key])
        attempt = Attempt(*key, self.started["try_number"], code, state, self.log())
        self.run.attempts.append(attempt)
        return attempt

    def give_up(self) -> None:
        """Treat it as the scheduler treats a try that fell silent; a process that still lives is now a zombie."""
        which = {name: self.started[name] for name in ("task_id", "map_index", "try_number")}
        self.run.airflow.ask("give_up", dag_id=self.run.dag_id, run_id=self.run.run_id, **which)

    def log(self) -> str:
        """What the task has logged so far, JSON lines made readable."""
        path = self.run.airflow.home / "logs" / self.started["log"]
        return "\n".join(_readable(path.read_text(errors="replace"))) if path.exists() else ""


class Airflow:
    """One Airflow site; :func:`boot` makes it."""

    def __init__(self, home: Path, env: dict[str, str], processes: Processes, port: int) -> None:
        self.home, self.env, self._processes = home, env, processes
        self._runner = processes.start_piped("runner", [sys.executable, str(HERE / "runner.py")], env)
        self.ask("prepare")
        self.database = Database(env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        self._servers: dict[tuple[tuple[str, str], ...], Rest] = {}
        self.rest = self._start_server({}, port, "api-server")

    def run(
        self,
        dag_id: str,
        task_id: str | None = None,
        *,
        conf: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        tries: int | None = None,
    ) -> Run:
        """Trigger a run and carry it out: all tasks or one, retries included, at most ``tries`` of each.

        ``env`` is set for the tasks' processes; settings that the API server reads too are given to it.
        """
        run = self.trigger(dag_id, conf)
        made: dict[tuple[str, int], int] = {}
        deadline = time.monotonic() + TASK_SECONDS
        while True:
            due = [each for each in run.ready() if task_id in (None, each[0]) and made.get(each, 0) != tries]
            for each in due:
                run.attempt(*each, env=env)
                made[each] = made.get(each, 0) + 1
            waits_for_retry = any(s == "up_for_retry" and made.get(k, 0) != tries for k, s in run.states().items())
            if not due and not waits_for_retry:
                return run
            if time.monotonic() > deadline:
                raise AssertionError(f"{dag_id} is not done after {TASK_SECONDS} s\n{run.log}")
            time.sleep(0 if due else 0.05)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> Run:
        """Create a run whose tasks wait to be started."""
        run_id = run_id or f"run-{next(_numbers)}-{uuid.uuid4().hex[:8]}"
        self.ask("trigger", dag_id=dag_id, conf=dict(conf or {}), run_id=run_id)
        return Run(self, dag_id, run_id)

    def rows(self) -> Rows:
        """All state rows, read from the database."""
        return self.database.rows()

    def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Any statement, committed; as an operator with a shell would do it."""
        return self.database.sql(statement, **parameters)

    def cli(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run an ``airflow`` command to its end."""
        return subprocess.run(
            [*AIRFLOW, *arguments],
            env=self.env | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=TASK_SECONDS,
            check=False,
        )

    @contextmanager
    def triggerer(self, env: Mapping[str, str] | None = None) -> Iterator[Process]:
        """A triggerer that runs for the length of the block: watchers and deferred tasks."""
        processes = Processes(self.home / "servers")
        with processes:
            name = f"triggerer-{next(_numbers)}"
            command = [*AIRFLOW, "triggerer", "--skip-serve-logs"]
            yield processes.start(name, command, self.env | dict(env or {}))

    def asset_events(self, name: str) -> list[dict[str, Any]]:
        """What has been reported for an asset, oldest first: the ``extra`` of each event."""
        found = self.sql(
            "SELECT e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id "
            "WHERE a.name = :name ORDER BY e.id",
            name=name,
        )
        return [json.loads(extra) if isinstance(extra, str) else extra for (extra,) in found]

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have the runner do something; its traceback becomes ours."""
        self._runner.stdin.write(json.dumps([command, arguments]) + "\n")
        self._runner.stdin.flush()
        line = self._runner.stdout.readline()
        while line and not line.startswith("{"):  # Airflow's own warnings, which under Python 3.14 there are
            line = self._runner.stdout.readline()
        if not line:
            raise AssertionError(f"the runner ended\n{self._processes.tails()}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{command} {arguments}\n{answer['error']}")
        return answer["answer"]

    def task_environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """``env``, and the address of an API server that agrees with it unless ``env`` names one."""
        own = {} if EXECUTION_API in env else {EXECUTION_API: f"{self.rest_with(env).url}/execution/"}
        return own | dict(env)

    def rest_with(self, env: Mapping[str, str]) -> Rest:
        """The API server that has these of its settings; started at first use."""
        shared = {name: value for name, value in env.items() if name.startswith(SERVER_SECTION)}
        if not shared:
            return self.rest
        return self._servers.get(tuple(sorted(shared.items()))) or self._start_server(shared, free_port())

    def log_tails(self) -> str:
        """The last lines of every server's log."""
        return self._processes.tails()

    @property
    def has_regions(self) -> bool:
        """Whether state has Airflow 3.4's second coordinate."""
        return self.database.has_regions

    def close(self) -> None:
        """Close connections; the processes end with the block that started them."""
        for rest in self._servers.values():
            rest.close()

    def _start_server(self, env: dict[str, str], port: int, name: str = "") -> Rest:
        server = start_api_server(self._processes, self.env | env, port, name or f"api-server-{port}")
        rest = self._servers[tuple(sorted(env.items()))] = Rest(port)
        rest.wait_for(server)
        return rest


@contextmanager
def boot(home: Path, env: Mapping[str, str]) -> Iterator[Airflow]:
    """An Airflow with the DAGs of this folder; everything it started is gone when the block ends."""
    port = free_port()
    paths = os.pathsep.join([str(HERE / "lib"), str(HERE.parent.parent)])
    site = site_environment(home, HERE / "dags", port, {"PYTHONPATH": paths, **env})
    with Processes(home / "servers") as processes:
        airflow = Airflow(home, site, processes, port)
        try:
            yield airflow
        finally:
            airflow.close()


def wait_for_event(airflow: Airflow, asset: str, triggerer: Process, seconds: float = 60.0) -> dict[str, Any]:
    """The first event of an asset that has none yet."""
    return wait_until(
        lambda: next(iter(airflow.asset_events(asset)), None), f"an event of {asset}", seconds, triggerer
    )


_numbers = itertools.count(1)


def _readable(text: str) -> Iterator[str]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            yield line
            continue
        detail = entry.get("error_detail")
        yield f"{entry.get('level', '')}: {entry.get('event', '')}" + (f" {json.dumps(detail)}" if detail else "")
