"""Few bytes never ask for much: of memory, or of steps that nothing could interrupt."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from offload_backend.errors import UnsupportedValueError
from tests.codecs.trees import encoded, round_trip
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


REFUSED = {
    "elements of one hash": ({bombs.PRIME * n for n in range(2000)}, "store a list"),
    "keys of one hash": ({bombs.PRIME * n: n for n in range(2000)}, "store a list"),
    "a large pool": (np.random.SeedSequence(1, pool_size=200), "store value.state"),
    "a level of a long range": (
        pd.MultiIndex(levels=[pd.RangeIndex(2**26 + 1)], codes=[[0]], names=["a"]),
        "remove_unused_levels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_be_read_is_not_stored(name):
    value, hint = REFUSED[name]
    with pytest.raises(UnsupportedValueError) as caught:
        encoded([value])
    assert hint in caught.value.hint


def test_what_is_a_little_alike_comes_back():
    value = {bombs.PRIME * n for n in range(900)} | {(-1, n) for n in range(2000)}
    assert round_trip(value) == value
    shared = tuple(range(1000))
    nested = (shared, (shared, (shared, shared)))
    back = round_trip({nested})
    assert back == {nested}
    index = pd.MultiIndex.from_product([range(300), range(4)])[:10]
    assert round_trip(index).equals(index)
