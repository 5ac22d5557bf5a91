from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offload_backend import __version__
from offload_backend.cli import demo
from offload_backend.cli.main import app

OFFLOAD = [str(Path(sys.executable).parent / "offload")]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith("AIRFLOW"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def offload(*arguments):
    return subprocess.run([*OFFLOAD, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_the_version_is_shown():
    shown = offload("--version")
    assert (shown.returncode, shown.stdout) == (0, f"offload-backend {__version__}\n")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One run of the demo, and its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment["AIRFLOW_HOME"] = str(tmp_path_factory.mktemp("airflow-home"))
    directory = tmp_path_factory.mktemp("demo") / "a$directory"
    command = [*OFFLOAD, "demo", "--keep", directory]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def test_the_demo_kills_a_task_resumes_it_and_verifies_it(kept):
    assert (kept.returncode, kept.stderr) == (0, "")
    for sentence in (
        "killed (SIGKILL) before the checkpoint of step 5 was stored",
        "its progress, read from this process while it runs: step 5 of 8",
        '{"__airflow_state_ref__": "file://',
        "resumes after step 4",
        "The crash cost step 5 again",
        "Verified: the result is that of an unbroken run",
    ):
        assert sentence in kept.stdout
    assert kept.stdout.count("step 8 of 8") == 1
    assert "\x1b" not in kept.stdout


@pytest.mark.skipif(not all(map(shutil.which, ("sqlite3", "zstd", "jq"))), reason="needs sqlite3, zstd and jq")
def test_a_kept_directory_can_be_looked_at_with_the_commands_that_are_shown(kept):
    commands = re.findall(r"^  ((?:sqlite3|zstd) .*)$", kept.stdout, re.MULTILINE)
    sqlite, zstd = (
        subprocess.run(command, shell=True, capture_output=True, text=True, check=False) for command in commands
    )
    assert 'checkpoint|{"__airflow_state_ref__": "file://' in sqlite.stdout
    assert 'progress|{"step":8,"of":8}' in sqlite.stdout
    assert zstd.stdout.split() == ["8", "24000"]


def test_a_directory_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    refused = offload("demo", "--keep", str(tmp_path))
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_wrong_configuration_is_told_without_a_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PAHT", "s3://bucket")
    failed = offload("demo")
    assert failed.returncode == 2
    assert "no setting 'paht'" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_demo_fails_if_something_does_not_hold_and_cleans_up(monkeypatch, tmp_path):
    blobs, result = demo._blobs, demo.step_result
    monkeypatch.setattr(demo, "_show_what_is_left", lambda directory: None)
    monkeypatch.setattr(demo, "_blobs", lambda directory: [*blobs(directory), directory / "orphan"])
    monkeypatch.setattr(demo, "step_result", lambda step, before: {**result(step, before), "step": -1})
    shown = CliRunner().invoke(app, ["demo"])
    assert shown.exit_code == 1
    assert "Verified" not in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_fails_if_the_task_cannot_start(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert CliRunner().invoke(app, ["demo"]).exit_code == 1


def test_ctrl_c_ends_the_task_and_cleans_up(tmp_path):
    process = subprocess.Popen([*OFFLOAD, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "process" not in (line := process.stdout.readline()):
        assert line
    child = int(line.split()[-1])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while still_runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def still_runs(pid: int) -> bool:
    """Whether the process is there; one that has ended and waits for its parent to notice is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
