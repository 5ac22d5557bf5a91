"""``docs/cli.md`` is true: its reference is that of the verbs, and what it shows can be typed."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from offload_backend.cli.main import app
from tests.cli.looked_at import State
from tests.cli.page import PAGE, with_reference

COMMAND = re.compile(r"^\$ offload (.*)$", re.MULTILINE)


def test_the_reference_is_current():
    page = PAGE.read_text()
    assert page == with_reference(page), "run: python -m tests.cli.page"


def test_every_verb_is_among_those_to_choose_from():
    table = PAGE.read_text().partition("## What all verbs")[0]
    missing = [verb for verb in get_command(app).commands if f"`offload {verb}" not in table and verb != "demo"]
    assert not missing


def commands():
    """What the page shows, up to a pipe or a file; but for what would change the person's home."""
    found = [re.split(r" [|>] ", line)[0] for line in COMMAND.findall(PAGE.read_text())]
    return [line for line in found if "completion" not in line]


@pytest.mark.parametrize("line", commands())
def test_what_is_shown_can_be_typed(line, no_configuration, tmp_path, monkeypatch):
    state = State(tmp_path).fill()
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__PATH", state.path)
    monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__CORE_STORE", state.core_store)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == 0, done.output
    assert "No row is meant" not in done.stderr


def test_there_is_something_to_type():
    assert len(commands()) > 8
