"""Apply each mutant to a copy of the repository, and see which test notices."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.mutation.mutants import Mutant

__all__ = ["NOT_RUN", "ROOT", "SURVIVED", "run_all"]

ROOT = Path(__file__).parents[2]
SURVIVED = "survives"
NOT_RUN = "not run"
ENDLESS = "a test that never ends"
WORKERS = 2
PATIENCE = 300
EVERYTHING = (
    "tests/lifecycle",
    "--ignore=tests/lifecycle/stateful/test_bugs.py",
    "tests/golden",
    "tests/inner/test_reclaimer.py",
    "tests/inner/test_spared_refs.py",
    "tests/contracts/test_roots_export.py",
    "tests/cli/test_gc.py",
)
"""What a mutant has to survive after its own tests."""

_COPIED = ("offload_backend", "tests", "docs", "examples", "demo", "pyproject.toml", "README.md", "Makefile")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_times = itertools.count(1_600_000_000, 2)


def run_all(mutants: Iterable[Mutant], told: Callable[[Mutant, str], None], warn: Callable[[str], None]) -> None:
    """Tell of each mutant the test that kills it, or that it survives; tests that fail without any are left out."""
    chosen = list(mutants)
    turn = threading.Lock()

    def judge(mutant: Mutant) -> None:
        with turn:
            copy = copies.pop()
        try:
            told(mutant, _judged(mutant, copy, left_out))
        finally:
            with turn:
                copies.append(copy)

    with tempfile.TemporaryDirectory(prefix="offload-mutants-") as directory, ThreadPoolExecutor(WORKERS) as pool:
        copies = [_copied(Path(directory) / str(number)) for number in range(WORKERS)]
        sets = sorted({mutant.tests for mutant in chosen} | {EVERYTHING})
        failing = pool.map(lambda tests: _failed(copies[0], tests, ()), sets)
        left_out = sorted(set(itertools.chain.from_iterable(failing)))
        for test in left_out:
            warn(f"left out, for it fails without any mutant: {test}")
        for _ in pool.map(judge, chosen):
            pass


def _copied(copy: Path) -> Path:
    copy.mkdir()
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, copy / name)
    return copy


def _judged(mutant: Mutant, copy: Path, left_out: Sequence[str]) -> str:
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        return f"{NOT_RUN}: the code has changed"
    try:
        _write(file, text.replace(mutant.old, mutant.new))
        for tests in (mutant.tests, EVERYTHING):
            for killer in _failed(copy, ("-x", *tests), left_out):
                return killer
        return SURVIVED
    finally:
        _write(file, text)


def _write(file: Path, text: str) -> None:
    """With a time that no other version had, so that what was compiled of another is not taken for this one's."""
    file.write_text(text, encoding="utf-8")
    os.utime(file, (next(_times),) * 2)


def _failed(copy: Path, tests: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """The tests that fail."""
    options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    options += [f"--deselect={test}" for test in left_out]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "1000"}
    # A group of its own, so that what a test has forked ends with it.
    running = subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        told, _ = running.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return [ENDLESS]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    if running.returncode == 0:
        return []
    return _FAILED.findall(told) or [f"pytest itself: {told[-200:]!r}"]
