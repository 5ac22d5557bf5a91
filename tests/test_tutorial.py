"""The tutorial, done as it says: its file is written, its commands run one after the other in one shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What each block of commands printed, by its first line."""
    folder = tmp_path_factory.mktemp("tutorial")
    blocks = BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))
    script = ["set -e", "exec 2>&1"]
    for language, text in blocks:
        if language == "python":
            (folder / text.split("\n", 1)[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        else:
            script += [f"printf '\\n== %s\\n' {shlex.quote(text.splitlines()[0])}", text]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"HOME": str(folder), "PATH": path, "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    found = re.split(r"^== ", done.stdout, flags=re.MULTILINE)[1:]
    return {first: rest for first, _, rest in (each.partition("\n") for each in found)}


def output(said: dict[str, str], start: str) -> str:
    (found,) = [text for first, text in said.items() if first.startswith(start)]
    return found


def test_the_task_is_killed_and_goes_on_where_it_was(said):
    assert output(said, "timeout").splitlines()[0] == "starts after step 0"
    assert "killed" in output(said, "timeout")
    begun = re.search(r"starts after step (\d+)", output(said, "python train.py 0"))
    assert begun
    assert int(begun[1]) > 0


def test_the_value_is_listed_shown_and_written_out(said):
    looked = output(said, "offload ls")
    assert looked.count("checkpoint") >= 2
    assert '{"step":' in looked
    assert ".zst" in output(said, "find")


def test_a_lost_blob_is_told_and_found_again(said):
    lost = output(said, "mv blobs")
    assert "exit code 5" in lost
    assert "BlobNotFoundError" in lost
    assert "the task failed" in lost
    assert "starts after step" in output(said, "mv moved")


def test_the_collector_deletes_nothing(said):
    assert "nothing" in output(said, "offload gc adopt").lower()
