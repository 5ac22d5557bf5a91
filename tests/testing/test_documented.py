"""What docs/testing.md shows is run by pytest as it stands; and with a defect in it, each contract fails."""

from __future__ import annotations

import subprocess
import sys

from tests.test_docs import ROOT
from tests.testing.documented import examples

EXAMPLES = examples()
DEFECTS = {
    "A blob store": ("len(data) != total or ", "", "a_blob_of_another_size_is_corrupt"),
    "A core store": ("return replaced.text if replaced else None", "return None", "set_returns_the_text"),
    "A source of roots": ("        if self.recorded:\n", "        if False:\n", "the_canary_is_among_the_roots"),
    "A kind": ("type(value) is Celsius", "isinstance(value, Celsius)", "what_it_does_not_hold_is_refused"),
    "A source of keys": ("if wrapped in VAULT else []", "if wrapped in VAULT else [bytes(32)]", "never_gave"),
}
"""What to put in place of what, and a test that fails then."""


def run_pytest(place, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "-c", "/dev/null"]
    command += ["--rootdir", str(place if place.is_dir() else place.parent), str(place), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_every_example_passes(tmp_path):
    for number, code in enumerate(EXAMPLES.values()):
        (tmp_path / f"test_{number}.py").write_text(code)
    done = run_pytest(tmp_path, "--strict-markers", "-W", "error::pytest.PytestWarning")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_the_example_passes():
    example = ROOT / "examples" / "test_resume_training.py"
    done = run_pytest(example, "--strict-markers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_defect_fails_its_contract_and_only_there(tmp_path):
    for number, (heading, (right, wrong, _)) in enumerate(DEFECTS.items()):
        assert EXAMPLES[heading].count(right) == 1, heading
        (tmp_path / f"test_{number}.py").write_text(EXAMPLES[heading].replace(right, wrong))
    done = run_pytest(tmp_path, "-rf")
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    for number, (heading, (*_, test)) in enumerate(DEFECTS.items()):
        of_this = [line for line in failed if f"test_{number}.py" in line]
        assert of_this, f"no test has found the defect in {heading!r}\n{done.stdout}"
        assert any(test in line for line in of_this), of_this
    assert len(failed) < 15, done.stdout
