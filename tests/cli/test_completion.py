"""What a shell is offered when a person presses the tabulator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

SHELLS = {"bash": "complete -o default", "zsh": "#compdef offload", "fish": "complete --command offload"}


def offload(*arguments, **environment):
    """The command as a shell starts it: by its name."""
    code = "import sys; sys.argv[0] = 'offload'; from offload_backend.cli.main import app; app()"
    command = [sys.executable, "-c", code, *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell):
    assert SHELLS[shell] in offload(_OFFLOAD_COMPLETE=f"source_{shell}").stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("offload s", {"show", "stats"}),
        ("offload gc re", {"restore"}),
        ("offload ls --so", {"--sort"}),
        ("offload ls --sort ", {"key", "size", "age"}),
        ("offload cat --ra", {"--raw"}),
    ],
)
def test_verbs_options_and_choices_are_completed(words, offered):
    place = len(words.split(" ")) - 1
    done = offload(_OFFLOAD_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(place))
    assert set(done.stdout.split()) == offered, done.stderr


def test_other_shells_are_offered_what_they_mean_as_well():
    zsh = offload(_OFFLOAD_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="offload ls --pa")
    assert '"--path":"Where the blobs are' in zsh.stdout
    fish = {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_ARGS": "offload ls --pa"}
    assert offload(_OFFLOAD_COMPLETE="complete_fish", **fish).stdout.startswith("--path\t")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_itself_completes(tmp_path):
    script = tmp_path / "offload"
    code = "import sys; sys.argv[0] = 'offload'; from offload_backend.cli.main import app; app()"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    script.chmod(0o755)
    said = offload(_OFFLOAD_COMPLETE="source_bash").stdout
    lines = [said, "COMP_WORDS=(offload gc st)", "COMP_CWORD=2", "_offload_completion offload"]
    command = ["bash", "--norc", "-c", "\n".join([*lines, 'echo "${COMPREPLY[@]}"'])]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split() == ["status"]
