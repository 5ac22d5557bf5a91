"""Run a command; when the caller goes away, however it goes, end the command and all that it started.

usage: python leash.py FD COMMAND...        FD is the read end of a pipe whose write end the caller holds open.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from types import FrameType

GRACE_SECONDS = 2.0
POLL_SECONDS = 0.1
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    """Exit code of the command, or 0 when it was ended because the caller let go."""
    leash, command = int(sys.argv[1]), sys.argv[2:]
    _adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _let_go)
    child = subprocess.Popen(command)  # noqa: S603 - the caller's own command
    exit_code = 0
    try:
        exit_code = _until_exit_or_release(child.pid, leash)
    except KeyboardInterrupt:
        pass
    finally:
        _end_descendants()
    return exit_code


def _adopt_orphans() -> None:
    # Airflow puts each task into a process group of its own; without this a task whose
    # parents are dead would belong to init and nobody could tell that it is ours.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _let_go(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _until_exit_or_release(pid: int, leash: int) -> int:
    while True:
        for ended, status in _reap():
            if ended == pid:
                return os.waitstatus_to_exitcode(status)
        released, _, _ = select.select([leash], [], [], POLL_SECONDS)
        if released:
            return 0


def _reap() -> list[tuple[int, int]]:
    reaped: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped
        if pid == 0:
            return reaped
        reaped.append((pid, status))


def _end_descendants() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    deadline = time.monotonic() + GRACE_SECONDS
    told: set[int] = set()
    while descendants := psutil.Process().children(recursive=True):
        patience_is_over = time.monotonic() > deadline
        for process in descendants:
            if patience_is_over:
                _signal(process.pid, signal.SIGKILL)
            elif process.pid not in told:
                told.add(process.pid)
                _signal(process.pid, signal.SIGTERM)
        _reap()
        time.sleep(POLL_SECONDS)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have been quicker
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main())
