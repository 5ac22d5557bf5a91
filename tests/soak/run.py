"""One soak: runs are started, disturbed, cleared and deleted while the collector loops; then all is verified."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil

from demo.processes import Processes, wait_until
from tests.load.collector import Collector
from tests.load.journal import Journal
from tests.load.places import storage
from tests.load.tally import tally_of
from tests.soak.oracle import Findings, Oracle
from tests.soak.site import Site, airflow_version

COLLECTOR_PAUSE, EXPIRY_PAUSE = 5.0, 15.0
ROUNDS = 8
ENDED = ("success", "failed")


@dataclass(frozen=True)
class Plan:
    """``tasks`` are the mapped task instances of all runs together; ``seconds`` the longest that a run may take."""

    tasks: int = 200
    seconds: float = 1800
    largest: int = 5_000_000
    faults: float = 0.01
    seed: int = 0

    @property
    def workers(self) -> int:
        """Mapped task instances of one of the five runs before the last."""
        return max(1, self.tasks * 8 // 10 // 6)

    @property
    def nappers(self) -> int:
        return max(1, self.tasks * 2 // 10 // 6)


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """The figures; what :func:`troubles` counts has to be nothing."""
    with storage(plan.faults) as found, Processes(folder / "servers") as processes:
        site = Site(folder / "airflow", found, processes, plan.largest)
        try:
            return _Soak(plan, site).run()
        except BaseException:
            print(site.log_tails())
            raise


class _Soak:
    def __init__(self, plan: Plan, site: Site) -> None:
        self.plan, self.site = plan, site
        self.dice = random.Random(plan.seed)
        self.collector = Collector(site.env)
        self.oracle = Oracle(site)
        self.done: dict[str, int] = {}
        self.rows_looked_at: list[int] = []
        self.lost: list[str] = []

    def run(self) -> dict[str, Any]:
        began = time.monotonic()
        self.collector.command("gc", "adopt")
        assert self.collector.exits["gc adopt: 0"], self.collector.said
        self.site.start()
        with self._maintained():
            self._soak()
            self._verify()
            self._clear_on_success()
            self._verify()
        self._nothing_left_of("soak", "s4")
        end = self._collect_rest()
        tally = tally_of(sorted(self.site.journals.glob("*.journal")))
        return {
            "plan": asdict(self.plan),
            "airflow": airflow_version(),
            "server": self.site.storage.name,
            "seconds": round(time.monotonic() - began),
            **self._figures_of_airflow(),
            **{name: value for name, value in tally.as_json().items() if name not in ("seconds", "lost", "losses")},
            "disturbances": self.done,
            "faults injected": dict(self.site.storage.go_wrong().most_common()),
            "collector": vars(self.collector) | {"env": None},
            "rows looked at": self.rows_looked_at,
            "losses": len(tally.lost) + len(self.lost),
            "lost": (tally.lost + self.lost)[:20],
            "at the end": end,
        }

    def _soak(self) -> None:
        for dag_id, run_id in (("soak_old", "o1"), ("soak_old", "o2"), ("soak", "s1"), ("soak", "s2")):
            self._start(dag_id, run_id)
        time.sleep(20)
        self._kill_triggerer()
        self._wait("soak_old", "o1", "o2")
        self._start("soak", "s3")
        self._wait("soak", "s1", "s2")
        self._clear_by_command("s1")
        self._kill_triggerer()
        self._clear_by_rest("s2")
        self._wait("soak", "s1", "s2", "s3")
        self._delete_run("s3")
        self._clean_database()

    def _verify(self) -> None:
        """What rows there are, against what their tasks say; the watcher sleeps meanwhile."""
        self.site.servers["triggerer"].stop()
        found = self.oracle.look()
        self.rows_looked_at.append(found.rows)
        self.lost += found.lost
        self.site.start_one("triggerer")

    def _clear_on_success(self) -> None:
        """Another run, with servers and workers that clear the state of what has succeeded."""
        self.site.stop()
        self.site.start(AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS="True")
        self._start("soak", "s4")
        self._wait("soak", "s4")
        self._write_down_clearing("s4")

    def _nothing_left_of(self, dag_id: str, run_id: str) -> None:
        """All of its tasks have succeeded, and so their rows are gone."""
        left = self.site.database.sql(
            "SELECT task_id, key FROM task_state_store WHERE dag_id = :dag AND run_id = :run",
            dag=dag_id,
            run=run_id,
        )
        self.lost += [f"clear_on_success has left {row}" for row in left]

    def _collect_rest(self) -> dict[str, Any]:
        """With nobody writing any more: what does not belong to a row goes, all else stays."""
        self.site.stop()
        self.site.command("db", "drop-archived", "--yes")
        self.collector.command("expire", "--delete")
        report = self.collector.command("verify", "--contents") or {}
        found: Findings = self.oracle.look()
        self.lost += found.lost
        orphans = self.oracle.orphans()
        for _ in range(ROUNDS):
            if not self.oracle.orphans():
                break
            time.sleep(1.5)
            self.collector.run("--min-age", "1s", "--quarantine", "1s")
        again = self.oracle.look()
        self.lost += again.lost
        return {
            "rows": again.rows,
            "of them offloaded": again.offloaded,
            "read by verify": report.get("checked"),
            "dangling": report.get("dangling", "verify failed"),
            "corrupt": report.get("corrupt", "verify failed"),
            "orphans": orphans,
            "orphans after the collector": self.oracle.orphans(),
            "unfinished uploads": self.site.storage.unfinished_uploads(),
        }

    # What is done to it.

    def _start(self, dag_id: str, run_id: str) -> None:
        conf = {"workers": self.plan.workers, "nappers": self.plan.nappers}
        self.site.trigger(dag_id, run_id, _date_of(run_id), **conf)
        self._count("runs")

    def _wait(self, dag_id: str, *run_ids: str) -> None:
        for run_id in run_ids:
            wait_until(
                lambda run_id=run_id: self.site.run_state(dag_id, run_id) in ENDED,
                f"the end of {dag_id} {run_id}",
                self.plan.seconds,
                *self.site.servers.values(),
            )

    def _kill_triggerer(self) -> None:
        """By SIGKILL, with all it started; a new one takes over what it was doing."""
        leash = self.site.servers["triggerer"]
        for process in psutil.Process(leash._popen.pid).children(recursive=True):
            process.kill()
        leash.stop()
        self.site.start_one("triggerer")
        self._count("triggerers killed")

    def _clear_by_command(self, run_id: str) -> None:
        self._write_down_clearing(run_id)
        day = _date_of(run_id).isoformat()
        between = ["--start-date", day, "--end-date", day]
        # To Airflow 3.3 the "regex" is a part of the name: those that say how many there are run again as well.
        said = self.site.command("tasks", "clear", "soak", "--task-regex", "work", "--yes", *between)
        assert self.site.run_state("soak", run_id) not in ENDED, said
        self._count("task instances cleared", self.plan.workers)

    def _clear_by_rest(self, run_id: str) -> None:
        self._write_down_clearing(run_id)
        some = list(range(0, self.plan.workers, 2))
        tasks = [["work", index] for index in some]
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "task_ids": tasks}
        self.site.rest.ask("POST", "/api/v2/dags/soak/clearTaskInstances", json=body)
        self._count("task instances cleared", len(some))

    def _delete_run(self, run_id: str) -> None:
        self.site.rest.ask("DELETE", f"/api/v2/dags/soak/dagRuns/{run_id}")
        self._count("runs deleted")

    def _clean_database(self) -> None:
        """Old runs with all that belongs to them, and then old rows of task state, which are archived."""
        now = (datetime.now(timezone.utc) + timedelta(seconds=1)).isoformat()
        old = ["db", "clean", "--yes", "--dag-ids", "soak_old", "--clean-before-timestamp", now]
        self.site.command(*old, "--tables", "dag_run")
        self.site.command(*old[:3], "--clean-before-timestamp", now, "--tables", "task_state_store")
        self._count("airflow db clean", 2)

    def _write_down_clearing(self, run_id: str) -> None:
        for path in self.site.journals.glob(f"soak~{run_id}~*.journal"):
            journal = Journal(path)
            journal.write("cleared")
            journal.close()

    def _count(self, what: str, times: int = 1) -> None:
        self.done[what] = self.done.get(what, 0) + times

    # What goes on beside it.

    @contextmanager
    def _maintained(self) -> Iterator[None]:
        """The collector and ``offload expire``, in loops."""
        over = threading.Event()
        threads = [
            threading.Thread(target=_loop, args=(over, COLLECTOR_PAUSE, self.collector.run)),
            threading.Thread(target=_loop, args=(over, EXPIRY_PAUSE, self._expire)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _expire(self) -> None:
        report = self.collector.command("expire", "--delete") or {}
        self._count("rows expired", report.get("total", {}).get("rows", 0))

    def _figures_of_airflow(self) -> dict[str, Any]:
        """By runs: what a task instance's row says of its former tries differs from one Airflow to the next."""
        states = self.site.database.sql("SELECT state, count(*) FROM dag_run GROUP BY state")
        return {"runs left": {str(state): int(count) for state, count in states}}


def _date_of(run_id: str) -> datetime:
    """A logical date of its own for each run, so that a command can name it."""
    return datetime(2026, 1, int(run_id[1:]), tzinfo=timezone.utc)


def _loop(over: threading.Event, pause: float, act: Any) -> None:
    while not over.wait(pause):
        act()


def troubles(result: dict[str, Any]) -> dict[str, Any]:
    """What has to be nothing, and is not."""
    end = result["at the end"]
    counts = {"losses": result["losses"]}
    counts |= {name: end[name] for name in ("dangling", "corrupt", "orphans after the collector")}
    counts["failed runs"] = result["runs left"].get("failed", 0)
    return {name: count for name, count in counts.items() if count}
