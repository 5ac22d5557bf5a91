"""The leash that every server of the tests and of the demo runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from demo.processes import ProcessError, Processes, wait_until

ROOT = Path(__file__).parents[2]
DRIVER = """
import os, pathlib, sys, time
from demo.processes import Processes
with Processes(pathlib.Path(sys.argv[1])) as processes:
    processes.start("child", [sys.executable, sys.argv[2]], os.environ)
    time.sleep(600)
"""
CHILD = """
import os, signal, time
if os.fork() == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_everything_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "child.py").write_text(CHILD)
    driver = subprocess.Popen(
        [sys.executable, tmp_path / "driver.py", tmp_path, tmp_path / "child.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    log = tmp_path / "child.log"
    try:
        stubborn = int(wait_until(lambda: log.exists() and log.read_text().strip(), "the grandchild", 20))
        assert psutil.pid_exists(stubborn)
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not psutil.pid_exists(stubborn), "the end of the grandchild", 20)


def test_waiting_for_a_server_that_ended_tells_so_with_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        server = processes.start("server", [sys.executable, "-c", "print('no such port')"], os.environ)
        with pytest.raises(ProcessError, match=r"server ended while waiting for an answer(.|\n)*no such port"):
            wait_until(lambda: None, "an answer", 20, server)


def test_waiting_is_bounded(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        server = processes.start("server", [sys.executable, "-c", "import time; time.sleep(600)"], os.environ)
        with pytest.raises(ProcessError, match="waited 0 s in vain for an answer"):
            wait_until(lambda: None, "an answer", 0, server)
