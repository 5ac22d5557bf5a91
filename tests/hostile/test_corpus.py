"""Every input that was found worth keeping still ends in a value or in an error of ours, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from tests.hostile.fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
PEAK = 64 * 2**20
"""Bytes; what is allowed for an input of a few kilobytes."""


def test_every_target_has_a_corpus():
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_stays_harmless(target):
    tracemalloc.start()
    try:
        for path in sorted((CORPUS / target).iterdir()):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            TARGETS[target](path.read_bytes())
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < PEAK, path.name
    finally:
        tracemalloc.stop()
