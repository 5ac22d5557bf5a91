from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "resumable_job.py"


def test_a_retry_reconnects_to_the_job_that_a_killed_attempt_submitted(tmp_path):
    first = subprocess.Popen([sys.executable, EXAMPLE, tmp_path], stdout=subprocess.PIPE, text=True)
    said = first.stdout.readline()
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    first.stdout.close()
    job_id = said.removeprefix("submitted ").strip()
    (tmp_path / "cluster" / f"{job_id}.done").write_text("42 rows")
    command = [sys.executable, EXAMPLE, tmp_path]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.stdout.splitlines() == [f"reconnected to {job_id}", "finished: 42 rows"]
    assert [file.stem for file in (tmp_path / "cluster").glob("*.job")] == [job_id]
