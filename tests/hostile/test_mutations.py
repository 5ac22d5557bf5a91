"""Genuine bytes of each sort, changed a little: a value, or an error of ours that quotes nothing."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.codecs.trees import JUNK, places, replaced
from tests.hostile.fuzz_targets import HOME, ID, MARK, MODULE, SCOPE, TARGETS, document, ref, sealed, skippable
from tests.hostile.fuzz_targets import _resolve_blob as resolve_blob

CORPUS = Path(__file__).parent / "corpus"
SEEDS = {
    name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir()) if path.stat().st_size < 20_000]
    for name in TARGETS
}


def structures():
    """The documents of the corpus that are ones, with their buffers."""
    for seed in SEEDS["document"]:
        head, *buffers = seed.split(b"\0BUFFER\0")
        with suppress(ValueError):
            structure = orjson.loads(head)
            if isinstance(structure, dict):
                yield structure, buffers


STRUCTURES = list(structures())
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

numbers = st.sampled_from([0, 1, 2, 7, 8, 127, 128, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1])
pieces = (
    st.binary(max_size=8)
    | st.tuples(numbers, st.sampled_from([1, 2, 4, 8])).map(lambda n: (n[0] % 256 ** n[1]).to_bytes(n[1], "little"))
    | st.sampled_from([b"%2e", b"..", b"&", b"#", b"\0", b"[", b"{", b'"$"', b"e999", b"\xff\xfe", MARK.encode()])
)
junk = st.sampled_from(JUNK) | st.recursive(
    st.none() | st.integers(-(2**65), 2**65) | st.text(max_size=4) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def changed(draw, seeds):
    """One of them with up to four changes, one of which may be a stretch of another."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 1, 2, 4, 8, 64]))
        if draw(st.integers(0, 9)):
            data[at : at + length] = draw(pieces)
        else:
            other = draw(st.sampled_from(seeds))
            start = draw(st.integers(0, len(other)))
            data[at : at + length] = other[start : start + draw(st.integers(0, 200))]
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_anywhere_ends_in_a_value_or_an_error_of_ours(target):
    @QUICK
    @given(changed(SEEDS[target]))
    def run(data):
        TARGETS[target](data)

    run()


@settings(QUICK, max_examples=100)
@given(st.sampled_from(STRUCTURES), st.data())
def test_a_changed_structure_ends_in_a_value_or_an_error_of_ours(seed, data):
    structure, buffers = copy.deepcopy(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(list(places(structure))))
        other, _ = data.draw(st.sampled_from(STRUCTURES))
        parts = [part_of(other, found) for found in places(other)]
        piece = data.draw(junk | st.sampled_from(parts))
        structure = replaced(structure, way, piece)
    document(b"\0BUFFER\0".join([json.dumps(structure, allow_nan=False, default=str).encode(), *buffers]))


def part_of(node, way):
    for step in way:
        node = node[step]
    return node


@settings(QUICK, max_examples=150)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2**32 - 1) | st.integers(0, 50)), max_size=4),
    st.integers(0, 2**40) | st.none(),
    st.integers(0, 300) | st.none(),
    st.sampled_from([{}, {"offload": 2**70, "id": MARK}, {"offload": 2, "id": [MARK]}, [MARK], 1]),
)
def test_any_frames_under_a_right_digest_end_in_an_error_of_ours(frames, raw, seal, header):
    data, held, length = sealed(frames)
    if header:
        data = skippable(json.dumps(header).encode()) + data
    resolve_blob("json", data, held if raw is None else raw, length if seal is None else seal)


DIGEST = "0" * 64
FACTS = (
    *("offload=1", "size=300", "raw=1", "seal=121", f"blake3={DIGEST}", f"sha256={DIGEST}", "codec=json", "key=k1"),
    *("frames=sealed", "frames=zstd", "frames=encrypted", "about=x", "codec=pickle", "raw=9999999999999999999"),
    *("codec=tree", f"codec={MODULE}", "signer=s1", f"mac={DIGEST}", "offload=2", "frames=x", "size=%31", "=", ""),
)
STARTS = (HOME, "s3://bucket", "S3://bucket/prefix", "file://", "http://169.254.169.254", "s3://c@bucket/prefix")
STEPS = (
    HOME,
    SCOPE,
    f"{ID}.json.zst",
    "..",
    ".",
    "",
    "%2e%2e",
    "v1",
    "default",
    "\\..",
    "\u2025",
    "\uff0e\uff0e",
    "x@y",
)


@settings(QUICK, max_examples=150)
@given(
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(STEPS), max_size=4),
    st.lists(st.sampled_from(FACTS), max_size=12),
    st.sampled_from(["#", "", "?", "%23"]),
)
def test_any_ref_made_of_the_grammars_words_ends_in_a_value_or_an_error_of_ours(start, names, stated, mark):
    ref(f"{start}/{'/'.join(names)}{mark}{'&'.join(stated)}".encode())
