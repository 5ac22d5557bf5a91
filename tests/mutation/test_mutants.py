"""The mutants that ``python -m tests.mutation`` runs are about the code as it is, and all are in the document."""

from __future__ import annotations

import re

import pytest

from tests.mutation.mutants import EQUIVALENT, MUTANTS
from tests.mutation.mutate import NOT_RUN, ROOT, SURVIVED
from tests.mutation.table import DOCUMENT, key_of, known, write


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.what}")
def test_a_mutant_can_still_be_made(mutant) -> None:
    code = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert code.count(mutant.old) == 1
    assert mutant.old != mutant.new
    if mutant.file.endswith(".py"):
        compile(code.replace(mutant.old, mutant.new), mutant.file, "exec")


def test_every_test_that_a_mutant_is_for_is_there() -> None:
    files = {test for mutant in MUTANTS for test in mutant.tests if test.endswith(".py")}
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_the_document_lists_every_mutant_and_no_other_and_none_survives_without_a_reason() -> None:
    listed = known()
    assert set(listed) == {key_of(mutant) for mutant in MUTANTS}
    survivors = {key for key, killer in listed.items() if killer.startswith(SURVIVED)}
    assert survivors == set(EQUIVALENT)
    assert [key for key, killer in listed.items() if killer.startswith(NOT_RUN)] == []


def test_every_test_that_the_document_names_is_there() -> None:
    for killer in known().values():
        if "::" in killer:
            file, *_, name = killer.partition("[")[0].split("::")
            # A contract's tests are inherited by those of each adapter.
            places = [ROOT / file, *(ROOT / "offload_backend" / "testing").glob("*.py")]
            assert any(re.search(rf"def {name}\b", place.read_text(encoding="utf-8")) for place in places), killer


def test_the_document_is_written_as_it_is_read(tmp_path) -> None:
    write(known(), tmp_path / "mutants.md")
    assert (tmp_path / "mutants.md").read_text(encoding="utf-8") == DOCUMENT.read_text(encoding="utf-8")
