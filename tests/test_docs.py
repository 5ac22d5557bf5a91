"""What the documents show is true: code blocks run, links lead somewhere, tables are current."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readme import LIFECYCLE, REFUSALS, ROOT, with_refusals, with_settings

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def blocks() -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(ROOT)}:{number}", code)
        for path in DOCUMENTS
        for number, code in enumerate(BLOCK.findall(path.read_text()), 1)
    ]


@pytest.mark.parametrize(("where", "code"), blocks(), ids=[where for where, _ in blocks()])
def test_every_python_block_runs(where: str, code: str, tmp_path: Path) -> None:
    exec(compile(code, where, "exec"), {"tmp": tmp_path, "__name__": "example"})


def test_there_are_blocks_to_run() -> None:
    assert any(where.startswith("README.md") for where, _ in blocks())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    targets = [target for target, _ in LINK.findall(path.read_text()) if "://" not in target]
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


def test_the_settings_table_is_current() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme == with_settings(readme), "run: make readme"


def test_the_table_of_refusals_is_current() -> None:
    text = LIFECYCLE.read_text()
    assert text == with_refusals(text), "run: make readme"


def test_every_rule_of_the_collector_is_in_the_table_of_refusals() -> None:
    modules = [path for path in (ROOT / "offload_backend" / "lifecycle").glob("*.py") if path.stem != "erase"]
    found = {rule for path in modules for rule in _rules_in(ast.parse(path.read_text()))}
    assert found == REFUSALS.keys()


def _rules_in(tree: ast.AST) -> Iterator[str]:
    """The texts that are a refusal's rule, wherever one is made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            named = [keyword.value for keyword in node.keywords if keyword.arg == "rule"]
            first = [*named, *node.args][:1] if node.func.id in ("Refusal", "acceptable") else []
            yield from (rule.value for rule in first if isinstance(rule, ast.Constant))


def test_the_comparison_has_a_row_for_every_test() -> None:
    from tests.peer import test_defects, test_strengths

    page = (ROOT / "docs" / "comparison.md").read_text()
    for module in (test_defects, test_strengths):
        for name, function in vars(module).items():
            if name.startswith("test_") and function.__doc__:
                sentence = function.__doc__.strip().splitlines()[0]
                assert f"| {sentence} |" in page, "run: make compare"
