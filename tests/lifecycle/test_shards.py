"""The shards of a listing partition every name that the key grammar can produce; scopes lead back to addresses."""

from __future__ import annotations

from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.address import (
    AssetAddress,
    TaskAddress,
    address_of_scope,
    blob_name,
    blob_scope,
    new_blob_id,
    parse_blob_name,
)
from offload_backend.lifecycle.mark import shards
from offload_backend.lifecycle.records import Layout
from offload_backend.location import checked_prefix

TEXTS = st.text(st.characters(), max_size=60) | st.text(min_size=100, max_size=300)
TEXTS = TEXTS | st.sampled_from(["", ".", "..", "~", "~x", "%", "a/b", "region=x", "name=", "\ud800", "é" * 90])
DEPLOYMENTS = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
ASSETS = st.builds(lambda text: AssetAddress(name=text), TEXTS) | st.builds(
    lambda text: AssetAddress(uri=text), TEXTS
)
TASKS = st.builds(TaskAddress, TEXTS, TEXTS, TEXTS, st.integers(-1, 2**31), st.none() | st.uuids())
ADDRESSES = TASKS | ASSETS


@given(DEPLOYMENTS, ADDRESSES, TEXTS)
@example("prod", TaskAddress("", "", ""), "")
def test_every_name_is_in_exactly_one_shard(deployment, address, key):
    name = blob_name(deployment, address, key, new_blob_id(), "json.zst")
    assert sum(name.startswith(shard) for shard in shards(deployment)) == 1


@given(DEPLOYMENTS)
def test_the_canary_is_in_exactly_one_shard(deployment):
    name = Layout(deployment).canary(new_blob_id())
    assert sum(name.startswith(shard) for shard in shards(deployment)) == 1


def test_no_shard_holds_another_and_every_store_can_list_it():
    found = shards("prod")
    assert len(set(found)) == len(found) == 202
    for shard in found:
        assert checked_prefix(shard) == shard
        assert not any(other != shard and other.startswith(shard) for other in found)


def test_every_name_that_parses_is_in_a_shard():
    """Whatever character a segment may begin with by the grammar."""
    for code in range(128):
        for rest in ("", "0", "00", "2E"):
            segment = chr(code) + rest
            for scope in (f"task/{segment}/r/t/-1", f"asset/name={segment}", f"asset/uri={segment}"):
                name = f"v1/prod/{scope}/k/{new_blob_id()}.json.zst"
                if parse_blob_name(name):
                    assert sum(name.startswith(shard) for shard in shards("prod")) == 1, name


@given(ADDRESSES)
@example(TaskAddress("d", "r", "t", 3, UUID(int=7)))
def test_a_scope_leads_back_to_its_address_unless_a_segment_was_cut(address):
    scope = blob_scope(address, "k")[0]
    cut = any("~" in segment and segment.rpartition("=")[2] != "~" for segment in scope.split("/"))
    assert address_of_scope(scope) == (None if cut else address)


@given(st.text(max_size=60) | st.from_regex(r"\A(task|asset)/[a-z~%=0-9/-]{0,40}\Z"))
@example("task/d/r/t/007")
@example("task/d/r/t/--1")
@example("task/d/r/region=x/t/1")
@example("task/d/r/region=00000000-0000-0000-0000-000000000000/t/1")
@example("asset/name=%41")
@example("asset/name=%ff")
@example("asset/name=%FF")
@example("asset/alias=x")
def test_a_text_that_no_address_makes_leads_nowhere(text):
    address = address_of_scope(text)
    assert address is None or blob_scope(address, "k")[0] == text
