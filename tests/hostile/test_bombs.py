"""Few bytes never ask for much: of memory, or of steps that nothing could interrupt."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.hostile import bombs

NAMES = [name for group in bombs.BOMBS for name in group()]


@pytest.fixture(scope="module")
def outcomes():
    command = [sys.executable, "-m", "tests.hostile.bombs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as Linux does")
@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_refused_in_little_memory(outcomes, name):
    assert outcomes[name].startswith("refused: ")
