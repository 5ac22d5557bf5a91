from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend import address as address_module
from offload_backend.address import (
    MAX_SEGMENT,
    AssetAddress,
    StateAddress,
    TaskAddress,
    blob_name,
    blob_scope,
    new_blob_id,
    parse_blob_name,
)
from tests.inner.values import QUICK, THOROUGH, addresses, any_text, names

ID = "01999999-0000-7000-8000-000000000001"
REGION = UUID("11111111-2222-4333-8444-555555555555")
TASK = TaskAddress("dag", "run", "task")
long_text = st.text(st.characters(exclude_categories=()), min_size=100, max_size=512)


def name_of(address: StateAddress, key: str = "k", deployment: str = "default") -> str:
    return blob_name(deployment, address, key, ID, "json.zst")


def test_a_task_and_an_asset_have_the_documented_names():
    assert name_of(TASK) == f"v1/default/task/dag/run/task/-1/k/{ID}.json.zst"
    assert name_of(TaskAddress("d", "r", "t", 3, REGION)) == (
        f"v1/default/task/d/r/region={REGION}/t/3/k/{ID}.json.zst"
    )
    assert name_of(AssetAddress(name="orders/daily")) == (f"v1/default/asset/name=orders%2Fdaily/k/{ID}.json.zst")
    assert name_of(AssetAddress(uri="s3://b/o")) == f"v1/default/asset/uri=s3%3A%2F%2Fb%2Fo/k/{ID}.json.zst"


@THOROUGH
@given(addresses, names, addresses, names)
@example(AssetAddress(name="x"), "k", AssetAddress(uri="x"), "k")
@example(TaskAddress("assets", "x", "t"), "k", AssetAddress(name="x"), "k")
@example(TaskAddress("d", "r", f"region={REGION}"), "k", TaskAddress("d", "r", "t", 0, REGION), "k")
@example(TaskAddress("a/b", "c", "t"), "k", TaskAddress("a", "b/c", "t"), "k")
@example(TaskAddress("a", "%2F", "t"), "k", TaskAddress("a", "/", "t"), "k")
@example(TASK, "", TASK, "~")
@example(TASK, ".", TASK, "%2E")
@example(TASK, "😀", TASK, "\ud83d\ude00")
@example(TASK, "é", TASK, "e\u0301")
@example(TASK, "a/b", TASK, "a%2Fb")
@example(TASK, "k/1", TaskAddress("dag", "run", "task", 1), "k")
def test_two_namespaces_or_keys_never_share_a_name(one, key, other, other_key):
    shared = name_of(one, key) == name_of(other, other_key)
    assert shared == ((one, key) == (other, other_key))
    assert shared == (blob_scope(one, key) == blob_scope(other, other_key))


@QUICK
@given(st.lists(long_text, min_size=2, max_size=2, unique=True))
def test_long_texts_never_share_a_name(texts):
    assert len({name_of(TASK, text) for text in texts}) == 2
    assert len({name_of(AssetAddress(name=text)) for text in texts}) == 2


def test_long_texts_that_differ_only_at_the_end_have_different_names():
    assert name_of(TASK, "a" * 511 + "b") != name_of(TASK, "a" * 511 + "c")


def test_a_text_that_looks_like_the_shortened_form_of_another_has_its_own_name():
    long = "a" * 300
    shortened = blob_scope(TASK, long)[1]
    assert blob_scope(TASK, shortened)[1] != shortened


@THOROUGH
@given(addresses, names | long_text, st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_every_name_parses_back(address, key, deployment):
    parsed = parse_blob_name(name_of(address, key, deployment))
    assert parsed is not None
    assert (parsed.scope, parsed.key) == blob_scope(address, key)
    assert (parsed.deployment, parsed.id, parsed.extension) == (deployment, ID, "json.zst")


@THOROUGH
@given(addresses, names | long_text)
def test_segments_are_plain_and_never_empty_dotted_or_long(address, key):
    for segment in name_of(address, key).split("/"):
        assert segment not in ("", ".", "..")
        assert len(segment) <= MAX_SEGMENT + len("name=")
        assert re.fullmatch(r"(?:[A-Za-z0-9_.=~-]|%[0-9A-F]{2})+", segment), segment


@QUICK
@given(
    st.text(st.characters(exclude_categories=()), min_size=200, max_size=250),
    st.text(st.characters(exclude_categories=()), min_size=512, max_size=512),
)
@example("😀" * 250, "😀" * 512)
@example("a" * 250, "\ud800" * 512)
def test_the_longest_name_leaves_room_for_the_users_prefix(identity, key):
    widest = TaskAddress(identity, identity, identity, 2**31 - 1, REGION)
    for address in (widest, AssetAddress(name=identity), AssetAddress(uri=identity)):
        assert len(name_of(address, key, "d" * 64).encode("ascii")) <= 820


@QUICK
@given(st.text(st.characters(exclude_categories=()), min_size=40, max_size=300), st.integers(0, 3))
@example("é" * 100, 0)
@example("é" * 100, 1)
@example("é" * 100, 2)
def test_a_cut_never_splits_an_escape(text, offset):
    segment = blob_scope(TASK, "a" * offset + text)[1]
    head = segment.partition("~")[0]
    assert "%" not in re.sub("%[0-9A-F]{2}", "", head)


def test_a_segment_of_exactly_the_limit_is_kept_and_a_longer_one_is_cut():
    assert blob_scope(TASK, "a" * MAX_SEGMENT)[1] == "a" * MAX_SEGMENT
    cut = blob_scope(TASK, "a" * (MAX_SEGMENT + 1))[1]
    assert len(cut) == MAX_SEGMENT
    assert re.fullmatch(r"a+~[0-9a-f]{32}", cut)


@QUICK
@given(names, names, names, st.integers(-1, 99), names)
def test_a_zero_region_is_no_region(dag, run, task, index, key):
    zero = TaskAddress(dag, run, task, index, UUID(int=0))
    assert zero == TaskAddress(dag, run, task, index)
    assert name_of(zero, key) == name_of(TaskAddress(dag, run, task, index), key)
    assert "region=" not in name_of(zero, key).partition("/k/")[0]


@pytest.mark.parametrize("key", ["model.gz", "a/b/c.zip", "/lead", "trail/", "s3://x/y", "a b", "k\n", "\x00"])
def test_a_key_is_one_segment_whatever_it_holds(key):
    parts = name_of(TASK, key).split("/")
    assert len(parts) == 9
    assert parts[-1] == f"{ID}.json.zst"


@QUICK
@given(any_text)
def test_arbitrary_text_parses_as_a_name_or_as_nothing(text):
    parsed = parse_blob_name(text)
    assert parsed is None or text.startswith("v1/")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        f"v2/default/task/dag/run/task/-1/k/{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/k/{ID}.json.zst\n",
        f"/v1/default/task/dag/run/task/-1/k/{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/{ID}.json.zst",
        f"v1/default/task/dag/run/task/x/k/{ID}.json.zst",
        f"v1/default/task/../run/task/-1/k/{ID}.json.zst",
        f"v1/../task/dag/run/task/-1/k/{ID}.json.zst",
        f"v1/default/task/dag//task/-1/k/{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/./{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/%2f/{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/k%/{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/é/{ID}.json.zst",
        f"v1/default/task/dag/run/region={ID[:-1]}/task/-1/k/{ID}.json.zst",
        f"v1/default/asset/dag/k/{ID}.json.zst",
        f"v1/default/asset/name=/k/{ID}.json.zst",
        f"v1/default/task/dag/run/task/-1/k/{ID.upper().replace('9', 'A')}.json.zst",
        f"v1/default/task/dag/run/task/-1/k/{ID}",
        f"v1/default/task/dag/run/task/-1/k/{ID}.",
        f"v1/default/task/dag/run/task/-1/k/{ID}.json..zst",
        f"v1/default/task/dag/run/task/-1/k/{ID}.json.zst/x",
    ],
)
def test_what_the_grammar_does_not_make_is_not_a_name(wrong):
    assert parse_blob_name(wrong) is None


def test_an_asset_has_exactly_one_of_name_and_uri():
    for identity in ({}, {"name": "a", "uri": "b"}):
        with pytest.raises(ValueError, match="either a name or a uri"):
            AssetAddress(**identity)
    assert AssetAddress(name="").uri is None


def test_a_person_can_read_an_address():
    assert str(TASK) == "task dag.task run run"
    assert str(TaskAddress("d", "r", "t", 2)) == "task d.t [2] run r"
    assert str(TaskAddress("d", "r", "t", -1, REGION)) == f"task d.t [-1] region {REGION} run r"
    assert str(AssetAddress(name="n")) == "asset 'n'"
    assert str(AssetAddress(uri="u")) == "asset uri 'u'"


def test_a_hundred_thousand_ids_are_version_seven_and_unique():
    ids = [new_blob_id() for _ in range(100_000)]
    assert len(set(ids)) == len(ids)
    for number in map(UUID, ids[::997]):
        assert (number.version, number.variant) == (7, "specified in RFC 4122")


def test_every_random_bit_of_an_id_varies():
    numbers = [UUID(new_blob_id()).int for _ in range(500)]
    ones = zeros = 0
    for number in numbers:
        ones |= number
        zeros |= ~number
    fixed = 0b1111 << 76 | 0b11 << 62
    random = ((1 << 80) - 1) & ~fixed
    assert ones & zeros & random == random


def test_ids_sort_by_time(monkeypatch):
    made = []
    for milliseconds in (0, 1, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1):
        monkeypatch.setattr(address_module.time, "time_ns", lambda now=milliseconds: now * 1_000_000)
        made.append(new_blob_id())
        assert int(made[-1].replace("-", "")[:12], 16) == milliseconds
    assert made == sorted(made)
