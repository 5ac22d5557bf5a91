"""The documentation as a site: built without a warning, complete, and without anything from elsewhere."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

from offload_backend.cli.main import app
from offload_backend.settings import SECTION, Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
INI = re.compile(r"^```ini\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:sh|console|bash)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


class Fetched(HTMLParser):
    """What a browser fetches for a page by itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.found.append(given.get("href") or "")


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        elsewhere = [url for url in Fetched(page.read_text(encoding="utf-8")).found if "//" in url]
        assert not elsewhere, page


def test_every_document_has_a_page(site):
    for document in DOCUMENTS:
        name = document.relative_to(ROOT).with_suffix(".html").as_posix()
        assert (site / ("index.html" if name == "README.html" else name.replace("README", "index"))).exists(), name


def test_the_reference_tells_every_setting_and_every_error(site):
    from offload_backend import errors

    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    assert all(f"<code>{name}</code>" in settings for name in Settings.model_fields)
    told = (site / "reference" / "errors.html").read_text(encoding="utf-8")
    assert all(name in told for name in errors.__all__ if name.endswith("Error"))


def blocks(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    return [
        (f"{document.relative_to(ROOT)}:{number}", text)
        for document in DOCUMENTS
        for number, text in enumerate(pattern.findall(document.read_text(encoding="utf-8")), 1)
    ]


@pytest.mark.parametrize(("where", "text"), blocks(INI), ids=[where for where, _ in blocks(INI)])
def test_every_configuration_that_is_shown_is_one(where, text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    if parser.has_section(SECTION):
        unknown = set(parser.options(SECTION)) - {*Settings.model_fields, "core_store"}
        assert not unknown, f"{where} shows settings that there are not"


def commands() -> list[tuple[str, list[str]]]:
    """Every ``offload …`` in a block of commands, with its words."""
    found = []
    for where, text in blocks(SHELL):
        for line in text.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ").removeprefix("airflow ")
            if re.match("offload [a-z]", command) and not re.search(r"[…{\[]", command):
                words = shlex.split(re.split(r" [|>&] ?| \|\| | 2>| && ", command)[0], comments=True)
                found.append((f"{where}: {command}", words[1:]))
    return found


@pytest.mark.parametrize("words", [words for _, words in commands()], ids=[where for where, _ in commands()])
def test_every_command_that_is_shown_can_be_given(words):
    """Parsed as it would be, and not run."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="offload")
    words = [word for word in words if word != "--help"]
    while words and hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, info_name=name, parent=context)
    command.make_parser(context).parse_args(list(words))


def test_there_are_commands_to_look_at():
    assert len(commands()) > 20
