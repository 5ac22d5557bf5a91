"""``make demo``: a real Airflow task stores checkpoints of more than 100 MB, is killed, and resumes."""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
from typing import IO, TYPE_CHECKING, NoReturn

from demo.processes import ProcessError, Processes, wait_until
from demo.report import Report
from demo.stage import FOLDER, Stage
from demo.verdict import explain, judge

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED, TERMINATED = 130, 143  # 128 + the signal, as shells have it
A_DAY = 86_400.0


def main() -> int:
    """0 when everything held, 1 when not, 130 or 143 when interrupted; nothing is left running."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave Airflow running until Ctrl-C")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, _terminated)
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        if not _is_ours(lock):
            sys.stderr.write("another demo is running in this folder\n")
            return 1
        for old in ("airflow", "servers"):
            shutil.rmtree(FOLDER / old, ignore_errors=True)
        try:
            return _play(keep)
        except KeyboardInterrupt:
            return INTERRUPTED


def _play(keep: bool) -> int:
    with Report() as report:
        try:
            with Processes(FOLDER / "servers") as processes:
                _act(report, processes)
                if keep:
                    _wait_for_the_visitor(report)
        except ProcessError as error:
            report.console.print(f"failed: {error}", style="red", markup=False)
            return 1
        finally:
            report.phase("every process is stopped")
    if not report.failed:
        explain(report)
    report.finish()
    return int(report.failed)


def _act(report: Report, processes: Processes) -> None:
    report.line("A task enriches product reviews in eight steps and stores all of them, more than 100 MB of JSON,")
    report.line("after every second one. It is killed in the sixth; its retry resumes from the last checkpoint.")
    report.phase("starting an S3 server (moto)")
    stage = Stage(report, processes)
    report.phase("starting Airflow: database, API server, scheduler with LocalExecutor, DAG processor")
    stage.start_airflow()
    report.phase(f"Airflow {stage.version} runs at {stage.rest.url}; one DAG run, one task, eight steps")
    judge(stage, stage.run())


def _wait_for_the_visitor(report: Report) -> None:
    report.phase("Ctrl-C ends it")
    try:
        wait_until(lambda: False, "a visitor", A_DAY)
    except KeyboardInterrupt:
        return


def _is_ours(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
