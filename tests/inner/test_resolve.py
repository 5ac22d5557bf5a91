from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.address import parse_blob_name
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ForeignRefError,
    OffloadError,
    StoreError,
    UnreadableBlobError,
)
from tests.inner.stores import BIG, HOME, TASK, Stores, a_ref, changed, name_in
from tests.inner.values import THOROUGH, any_text


def test_a_blob_that_is_gone_is_not_found_never_none(stores):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    stores.at[HOME].delete([name_in(text)])
    with pytest.raises(BlobNotFoundError) as caught:
        offloader.resolve(text)
    assert "lifecycle rule" in caught.value.hint
    assert "set the key again" in caught.value.hint
    assert name_in(text) in str(caught.value)


def test_a_peers_blob_that_is_gone_is_not_found_never_none(stores):
    with pytest.raises(BlobNotFoundError) as caught:
        stores.offloader().resolve("s3://conn@bucket/prefix/dag/run/task/-1/k")
    assert "set the key again" in caught.value.hint


def test_a_blob_with_another_of_ours_in_its_place_is_corrupt(stores):
    offloader = stores.offloader()
    mine, other = offloader.offload(BIG, TASK, "k"), offloader.offload(BIG, TASK, "k")
    store = stores.at[HOME]
    store.replace(name_in(mine), b"".join(store.get(name_in(other))))
    with pytest.raises(BlobCorruptError) as caught:
        offloader.resolve(mine)
    assert "versions" in caught.value.hint


def test_a_blob_copied_under_another_name_is_corrupt_even_with_a_ref_that_fits(stores):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    name = name_in(text)
    moved = name.replace(parse_blob_name(name).id, "01999999-0000-7000-8000-000000000001")
    stores.at[HOME].put(moved, stores.at[HOME].get(name))
    with pytest.raises(BlobCorruptError, match="header names the blob"):
        offloader.resolve(changed(text, url=f"{HOME}/{moved}"))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:99] + b"?" + data[100:]]
)
def test_a_damaged_blob_is_corrupt(stores, damage):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    store = stores.at[HOME]
    store.replace(name_in(text), damage(b"".join(store.get(name_in(text)))))
    with pytest.raises(BlobCorruptError) as caught:
        offloader.resolve(text)
    assert caught.value.location == a_ref(text).url


def test_a_read_that_fails_in_the_middle_fails(stores):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    stores.at[HOME].fails = {"middle"}
    with pytest.raises(StoreError, match="network is down"):
        offloader.resolve(text)


def test_whole_bytes_that_are_not_json_are_corrupt(stores, monkeypatch):
    offloader = stores.offloader(inline_limit=0)
    monkeypatch.setattr(offloader._codecs.json, "encode", lambda value: iter([b"not json"]))
    text = offloader.offload(1, TASK, "k")
    with pytest.raises(BlobCorruptError, match="the bytes are not json") as caught:
        offloader.resolve(text)
    assert "set the key again" in caught.value.hint


@pytest.mark.parametrize("facts", [{"codec": "leaves"}, {"frames": "aesgcm"}])
def test_a_codec_or_framing_of_a_newer_version_is_unreadable_and_nothing_is_fetched(stores, facts):
    offloader = stores.offloader()
    text = changed(offloader.offload(BIG, TASK, "k"), **facts)
    stores.at[HOME].calls.clear()
    with pytest.raises(UnreadableBlobError) as caught:
        offloader.resolve(text)
    assert "upgrade" in caught.value.hint
    assert stores.at[HOME].calls == []


@pytest.mark.parametrize("facts", [{"raw": 10**13}, {"size": 10**13}, {"raw": 100_001}, {"seal": 10**6}])
def test_a_ref_that_claims_too_much_is_unreadable_and_nothing_is_fetched(stores, facts):
    offloader = stores.offloader(max_value_bytes=100_000)
    text = changed(offloader.offload(BIG, TASK, "k"), **facts)
    stores.at[HOME].calls.clear()
    with pytest.raises(UnreadableBlobError, match="the ref claims") as caught:
        offloader.resolve(text)
    assert "max_value_bytes" in caught.value.hint
    assert stores.at[HOME].calls == []


def test_a_peers_value_beyond_max_value_bytes_is_unreadable(stores):
    stores.open(HOME).put("dag/k", [b'"' + b"x" * 200 + b'"'])
    with pytest.raises(UnreadableBlobError, match="larger than 100 bytes"):
        stores.offloader(max_value_bytes=100).resolve(f"{HOME}/dag/k")


@pytest.mark.parametrize("text", ["", "not json", "{", "[1,", "'x'", "[" * 100_000, "s3:/b", "\ud800"])
def test_a_row_of_neither_a_ref_nor_a_value_is_an_error_of_ours(stores, text):
    with pytest.raises(OffloadError, match="neither a ref nor a value") as caught:
        stores.offloader().resolve(text)
    assert "set the key again" in caught.value.hint


@pytest.mark.parametrize("text", [None, 7, {"a": 1}, ["x"], b"{}"])
def test_what_is_not_text_is_an_error_of_ours(stores, text):
    with pytest.raises(ForeignRefError, match="holds no text"):
        stores.offloader().resolve(text)


@THOROUGH
@given(
    any_text
    | st.builds("{}{}".format, st.sampled_from([HOME, f"{HOME}/v1/default/", "s3://", "file:///"]), any_text)
)
def test_arbitrary_text_never_reads_as_anything_but_json(text):
    stores = Stores()
    try:
        stores.offloader().resolve(text)
    except OffloadError:
        return
    json.loads(text)
