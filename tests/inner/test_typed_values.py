"""Which codec a value gets, where it lies, and what a deployment has to have chosen to read it."""

from __future__ import annotations

import json
import math
import threading
from datetime import datetime, timezone
from decimal import Decimal

import numpy as np
import pytest

from offload_backend.airflow.backend import _kept_inline
from offload_backend.description import described
from offload_backend.errors import ForeignRefError, OffloadError, UnreadableBlobError, UnsupportedValueError
from offload_backend.row import TYPED, envelope, is_json, open_envelope, row_text
from tests.inner.stores import BIG, HOME, TASK, a_ref, changed, name_in

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
WEIGHTS = np.arange(100_000, dtype="f4")


class Opaque:
    """Neither JSON nor a tree holds it, and pickle does."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Opaque

    def __hash__(self) -> int:
        return 1


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("the secret is hunter2")


@pytest.mark.parametrize("value", [{"epoch": 3}, [1.5] * 50_000, "x" * 100_000, BIG])
@pytest.mark.parametrize("limit", [0, 65535])
def test_what_json_holds_stays_json(stores, value, limit):
    text = stores.offloader(inline_limit=limit).offload(value, TASK, "k")
    if is_json(text):
        assert json.loads(text) == value
    else:
        assert a_ref(text).codec == "json"
        assert a_ref(text).url.endswith(".json.zst")


@pytest.mark.parametrize(
    "value",
    [NOON, (1, 2), {1: "a"}, b"\x00\xff", Decimal("0.10"), {"a": {1, 2}}, math.inf, 2**70, "\ud800", WEIGHTS[:9]],
)
def test_a_small_value_that_is_not_json_stays_in_its_row(stores, value):
    offloader = stores.offloader()
    text = offloader.offload(value, TASK, "k")
    assert text.startswith(TYPED)
    assert text.isascii()
    assert "\n" not in text
    assert stores.opened == []
    found = offloader.resolve(text)
    assert type(found) is type(value)
    assert np.array_equal(found, value)
    row = row_text(text)
    assert open_envelope(json.loads(row)) == text
    assert not _kept_inline(text), "Airflow would try to write it as JSON"


def test_a_typed_row_is_within_the_inline_limit(stores):
    limits = range(100, 3000, 13)
    value = {"name": '"' * 300, "when": NOON}
    inline = 0
    for limit in limits:
        text = stores.offloader(inline_limit=limit).offload(value, TASK, "k")
        if text.startswith(TYPED):
            inline += 1
            assert len(envelope(text)) <= limit
        else:
            assert a_ref(text).codec == "tree"
    assert 0 < inline < len(limits)


@pytest.mark.parametrize(
    "value", [{"w": WEIGHTS}, b"x" * 70_000, [(n, NOON) for n in range(30_000)], {0: "x" * 70_000}]
)
def test_a_large_value_that_is_not_json_is_a_tree(stores, value):
    offloader = stores.offloader()
    text = offloader.offload(value, TASK, "k")
    assert a_ref(text).codec == "tree"
    assert a_ref(text).url.endswith(".safetensors.zst")
    found = offloader.resolve(text)
    assert type(found) is type(value)
    if isinstance(value, dict) and "w" in value:
        assert found["w"].dtype == WEIGHTS.dtype
        assert np.array_equal(found["w"], WEIGHTS)
    else:
        assert found == value


@pytest.mark.parametrize(
    ("value", "about"),
    [
        (WEIGHTS.reshape(100, 1000), "ndarray[100,1000] float32"),
        (b"x" * 70_000, "bytes[70000]"),
        ((WEIGHTS, 1), "tuple[2]"),
        ({"a": WEIGHTS}, "dict[1]"),
        ([1] * 50_000, "list[50000]"),
    ],
)
def test_a_ref_says_what_the_value_is_and_not_what_is_in_it(stores, value, about):
    text = stores.offloader().offload(value, TASK, "k")
    assert a_ref(text).about == about
    assert "%0A" not in text
    assert len(text) < 400


def test_a_long_name_of_a_type_is_cut_short():
    assert described(type("K" * 300, (), {})()) == "K" * 80


@pytest.mark.parametrize(
    "text",
    [
        TYPED,
        TYPED + "{}",
        TYPED + '{"offload_tree":1}',
        TYPED + "not json",
        TYPED + '{"offload_tree":1,"value":{"$":["tuple",1]}}',
        TYPED + '{"offload_tree":1,"value":[],"buffers":["*"]}',
        TYPED + "[" * 100_000,
        TYPED + '"é"',
    ],
)
def test_a_typed_row_that_nobody_wrote_is_foreign(stores, text):
    with pytest.raises(OffloadError) as caught:
        stores.offloader().resolve(text)
    assert isinstance(caught.value, (ForeignRefError, UnreadableBlobError))
    assert caught.value.hint


def test_a_typed_row_of_a_newer_version_says_upgrade(stores):
    with pytest.raises(UnreadableBlobError) as caught:
        stores.offloader().resolve(TYPED + '{"offload_tree":2,"value":1}')
    assert "upgrade" in caught.value.hint


def test_what_neither_holds_is_refused_where_it_is(stores):
    with pytest.raises(UnsupportedValueError) as caught:
        stores.offloader().offload({"a": [1, Opaque()]}, TASK, "k")
    assert caught.value.path == 'value["a"][1]'
    assert caught.value.key == "k"
    assert stores.opened == []


def test_pickle_is_for_what_nothing_else_holds_and_only_where_it_is_chosen(stores):
    chosen = stores.offloader(codec="pickle", inline_limit=0)
    text = chosen.offload([Opaque()], TASK, "k")
    assert a_ref(text).codec == "pickle"
    assert chosen.resolve(text) == [Opaque()]
    assert a_ref(chosen.offload([1], TASK, "k")).codec == "json"
    assert a_ref(chosen.offload((1,), TASK, "k")).codec == "tree"
    with pytest.raises(UnreadableBlobError) as caught:
        stores.offloader().resolve(text)
    assert "codec = pickle" in caught.value.hint


def test_a_ref_cannot_make_a_pickle_of_something_else(stores, monkeypatch):
    """Not even where pickles are read: what is pinned is the blob, but not what it is taken for."""
    text = stores.offloader(inline_limit=0).offload("cos\nsystem\n(S'true'\ntR.", TASK, "k")
    with pytest.raises(UnreadableBlobError):
        stores.offloader().resolve(changed(text, codec="pickle"))


def test_what_cannot_be_pickled_is_refused_without_its_words(stores):
    with pytest.raises(UnsupportedValueError) as caught:
        stores.offloader(codec="pickle").offload(Unpicklable(), TASK, "k")
    assert "hunter2" not in str(caught.value)
    assert stores.at[HOME].names() == []


def test_a_pickle_whose_class_is_gone_is_unreadable(stores, monkeypatch):
    offloader = stores.offloader(codec="pickle", inline_limit=0)
    text = offloader.offload(Opaque(), TASK, "k")
    monkeypatch.delattr(f"{__name__}.Opaque")
    with pytest.raises(UnreadableBlobError, match="cannot be unpickled: AttributeError"):
        offloader.resolve(text)


def test_a_codec_of_a_newer_version_says_upgrade(stores):
    offloader = stores.offloader(inline_limit=0)
    text = changed(offloader.offload([1], TASK, "k"), codec="cbor")
    with pytest.raises(UnreadableBlobError, match="no codec 'cbor'") as caught:
        offloader.resolve(text)
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize("codec", ["json", "tree"])
def test_bytes_of_another_codec_are_corrupt(stores, codec):
    offloader = stores.offloader(inline_limit=0)
    value = (1,) if codec == "json" else [1]
    with pytest.raises(OffloadError, match=f"the bytes are not {codec}"):
        offloader.resolve(changed(offloader.offload(value, TASK, "k"), codec=codec))


def test_an_array_that_changes_while_it_is_stored_leaves_no_blob_and_no_ref(stores, monkeypatch):
    random = np.random.default_rng(1)
    weights = random.integers(0, 2**63, 2**18)
    offloader = stores.offloader()
    store = stores.open(HOME)
    put = store.put

    def changing(name, chunks):
        put(name, list(chunks))
        weights[7] += 1

    monkeypatch.setattr(store, "put", changing)
    with pytest.raises(UnsupportedValueError, match="changed while it was being stored") as caught:
        offloader.offload({"w": weights}, TASK, "k")
    assert "copy.deepcopy" in caught.value.hint
    assert store.names() == []


def test_no_thread_is_left_by_a_set_that_fails_or_succeeds(stores):
    offloader = stores.offloader()
    store = stores.open(HOME)
    value = {"w": np.random.default_rng(2).integers(0, 2**63, 4 * 2**20)}
    before = set(threading.enumerate())
    store.fails = {"middle"}
    with pytest.raises(OffloadError):
        offloader.offload(value, TASK, "k")
    store.fails = set()
    assert store.names() == []
    text = offloader.offload(value, TASK, "k")
    assert np.array_equal(offloader.resolve(text)["w"], value["w"])
    assert store.names() == [name_in(text)]
    assert set(threading.enumerate()) <= before
