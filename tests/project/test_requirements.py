"""What `make` installs is pinned, and comes from wherever the reader's own pip or uv gets its packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,-]+\])?==[^\s;]+( ; .+)?")
FILES = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_is_a_name_and_one_version(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def test_the_demo_runs_what_the_tests_ran() -> None:
    """The same versions; where only one of them needs a package on an older Python, the markers differ."""
    demo, test = (
        {line.partition(" ; ")[0] for line in (ROOT / "requirements" / name).read_text().splitlines()}
        for name in ("demo.txt", "test.txt")
    )
    assert demo - test == set()


@pytest.mark.parametrize("promise", ["test 3.3.2", "demo 3.3.2", "airflow34 3.4.0b2"])
def test_airflow_is_the_release_that_is_promised(promise: str) -> None:
    name, version = promise.split()
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    assert f"apache-airflow=={version}" in lines


KEPT_OUT = re.compile(r"^\| (\S+) \| `(<[0-9.]+)` \| (bounds|pinned only) \| (.+) \|$", re.MULTILINE)
TABLE = KEPT_OUT.findall((ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"))


def bounds() -> dict[str, list[Requirement]]:
    """The requirements of pyproject.toml by package, those of extras and groups included."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    quoted = re.findall(r'"([A-Za-z0-9][\w.-]*(?:\[[\w,]+\])?[<>=!~][^"]*)"', text)
    found: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, quoted):
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_the_table_of_versions_that_are_kept_out_is_read() -> None:
    assert {"orjson", "cryptography", "pyarrow", "urllib3"} <= {package for package, *_ in TABLE}


@pytest.mark.parametrize(("package", "bad"), [(row[0], row[1]) for row in TABLE if row[2] == "bounds"])
def test_bounds_keep_bad_versions_out(package: str, bad: str) -> None:
    first_good = Version(bad.lstrip("<"))
    requirements = bounds()[canonicalize_name(package)]
    for requirement in requirements:
        lowest = [Version(each.version) for each in requirement.specifier if each.operator in (">=", "==", "~=")]
        assert max(lowest) >= first_good, f"{requirement} allows {bad}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_pinned_is_not_kept_out(file: Path) -> None:
    pinned = [Requirement(line) for line in file.read_text().splitlines()]
    kept_out = {canonicalize_name(package): SpecifierSet(bad) for package, bad, *_ in TABLE}
    for requirement in pinned:
        (pin,) = requirement.specifier
        bad = kept_out.get(canonicalize_name(requirement.name))
        assert bad is None or pin.version not in bad, f"{requirement} is kept out: docs/dependencies.md"
