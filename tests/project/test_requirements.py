"""What `make` installs is pinned, and comes from wherever the reader's own pip or uv gets its packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,-]+\])?==[^\s;]+( ; .+)?")
FILES = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_is_a_name_and_one_version(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def test_the_demo_runs_what_the_tests_ran() -> None:
    demo, test = (set((ROOT / "requirements" / name).read_text().splitlines()) for name in ("demo.txt", "test.txt"))
    assert demo - test == set()


@pytest.mark.parametrize("promise", ["test 3.3.2", "demo 3.3.2", "airflow34 3.4.0b2"])
def test_airflow_is_the_release_that_is_promised(promise: str) -> None:
    name, version = promise.split()
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    assert f"apache-airflow=={version}" in lines
