"""The triggerer's benchmark at a tiny size: that it runs, and that what is inline asks nothing of the store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_quick_run_measures_every_case(tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.triggerer", "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "times say nothing" in done.stdout
    found = json.loads(out.read_text())
    cases = {(each["operation"], each["value"], each["portal"]) for each in found}
    assert len(found) == len(cases) == 7
    for each in found:
        assert each["requests"] == (0 if each["value"].startswith("inline") else 2 * each["watchers"])
        assert each["p50"] <= each["p99"] <= each["max"]
