"""Every step of every operation, with every fault: nothing is lost, nothing is made up, nothing hangs.

``make test`` takes a part of the trials, always the same, and all of those of ``set`` and ``get`` on S3.
``OFFLOAD_LONG=1`` takes all. What is seen must be what ``docs/faults.md`` says; its rows are found anew each time.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.kinds import BY_NAME, FAULTS
from tests.faults.matrix import Matrix, cases, is_chosen
from tests.faults.table import DOCUMENT, known, write
from tests.faults.trial import Trial

LONG = bool(os.environ.get("OFFLOAD_LONG"))
WHOLE = {("set", "s3"), ("get", "s3"), ("get, large", "s3")}
SHARE = 7
_ANEW = "run python -m tests.faults and look at what has changed"


@pytest.mark.parametrize(("operation", "place"), cases(), ids=lambda each: getattr(each, "name", each))
def test_whatever_goes_wrong_the_document_says_what_is_seen(operation, place, places, tmp_path) -> None:
    matrix, said = Matrix(Trial(places[place], operation, tmp_path)), known()[operation.name]
    rows = {row for row, _ in said if row[0] in matrix.layers}
    assert set(matrix.rows) == rows, _ANEW
    for row in matrix.rows:
        for fault in FAULTS:
            assert bool(said[row, fault.name].reason) == bool(matrix.reason(row, fault.name)), (row, fault, _ANEW)
    share = 1 if LONG or (operation.name, place) in WHOLE else SHARE
    for aim in matrix.aims():
        if is_chosen(operation.name, aim, share):
            expected = said[aim.step[:2], aim.fault].seen[BY_NAME[aim.fault].variants.index(aim.variant)]
            found = matrix.look(aim)
            assert found in expected, f"{aim}: {found}, but the document says {expected}; {_ANEW}"


def test_the_document_is_written_as_it_is_read(tmp_path) -> None:
    write(known(), tmp_path / "faults.md")
    assert (tmp_path / "faults.md").read_text(encoding="utf-8") == DOCUMENT.read_text(encoding="utf-8")
