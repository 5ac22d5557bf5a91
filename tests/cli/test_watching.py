"""How far a verb is, as a person at a terminal sees it while it runs; and that nobody else does."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.collected import Site
from tests.cli.deployments import OnDisk


class Seen:
    """What the command printed, and what it showed on a terminal meanwhile."""

    def __init__(self, *command: str) -> None:
        code = "import sys; from offload_backend.cli.main import app; app(sys.argv[1:])"
        ours, theirs = pty.openpty()
        line = [sys.executable, "-c", code, *command]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
            os.close(theirs)
            self.shown = b"".join(iter(lambda: _read(ours), b"")).decode()
            self.stdout = process.stdout.read().decode()
        os.close(ours)
        assert process.returncode == 0, self.shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other side is closed
        return b""


@pytest.fixture
def site(no_configuration, tmp_path):
    return Site(tmp_path).fill()


@pytest.mark.parametrize("output", ["table", "json"])
def test_reading_all_blobs_tells_of_how_many_and_keeps_out_of_the_output(site, output):
    seen = Seen("verify", "--contents", *site.place, "--output", output)
    assert re.search(r"blobs read +20 of 20 \(", seen.shown)
    assert re.search(r"rows read +20 \(", seen.shown)
    assert "of 20" not in seen.stdout
    if output == "json":
        assert json.loads(seen.stdout)["checked"]["count"] == 20


def test_deleting_tells_of_how_many(site):
    assert site.run("gc", "adopt").exit_code == 0
    assert site.run("gc", "mark").exit_code == 0
    site.age_marks(10)
    seen = Seen("gc", "purge", "--delete", *site.place, "--output", "json")
    assert re.search(r"objects deleted +2 of 2 \(", seen.shown)


def test_erasing_tells_of_how_many(no_configuration, tmp_path):
    deployment = OnDisk(tmp_path).adopted()
    for key in "abc":
        deployment.set(key)
    deployment.make_old()
    place = ["--path", deployment.path, "--core-store", deployment.core_store]
    seen = Seen("erase", "--dag", "etl", "--delete", *place)
    assert re.search(r"objects deleted +3 of 3 \(", seen.shown)
    assert "3 blobs" in seen.stdout


@pytest.mark.parametrize("verb", [["verify", "--contents"], ["ls"], ["stats"]])
def test_nothing_is_shown_where_stderr_is_no_terminal(site, verb):
    done = site.run(*verb)
    assert "\x1b" not in done.output
    assert "rows read" not in done.output
