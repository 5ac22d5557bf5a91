from __future__ import annotations

import json
import random
import struct
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import blake3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.address import AssetAddress, TaskAddress, parse_blob_name
from offload_backend.codecs import json as json_module
from offload_backend.errors import ConfigError, InvalidKeyError, StoreError, UnsupportedValueError
from offload_backend.ref import is_ref
from tests.inner.stores import BIG, HOME, TASK, Stores, a_ref, name_in
from tests.inner.values import QUICK, THOROUGH, addresses, any_text, json_values, same

REGION = UUID("11111111-2222-4333-8444-555555555555")


def row_of(value: Any) -> bytes:
    """The row that Airflow 3.3.2 stores for a value that its backend keeps inline."""
    return json.dumps({"__airflow_state_ref__": json.dumps(value)}).encode()


@THOROUGH
@given(
    json_values.filter(lambda value: value is not None), addresses, any_text, st.sampled_from([0, 30, 60, 65535])
)
def test_what_was_set_comes_back_type_for_type_wherever_it_was_kept(value, address, key, limit):
    stores = Stores()
    offloader = stores.offloader(inline_limit=limit)
    text = offloader.offload(value, address, key)
    assert same(offloader.resolve(text), value)
    assert same(stores.offloader().resolve(text), value)
    assert is_ref(text) == (len(row_of(value)) > limit)
    assert bool(stores.at and stores.at[HOME].names()) == is_ref(text)


@QUICK
@given(
    st.sampled_from(["a", "é", "한", '"', "\\", "😀", "\x00", "\n", "/"]),
    st.integers(60, 400),
    st.integers(-2, 2),
    st.sampled_from([lambda text: text, lambda text: [text], lambda text: {text: [1.0, None]}]),
)
@example("한", 65535, 0, lambda text: text)
@example('"', 65535, 1, lambda text: text)
def test_the_boundary_between_inline_and_offloaded_changes_nothing(character, limit, slack, shape):
    count = 1
    while len(row_of(shape(character * (count + 1)))) <= limit:
        count += 1
    value = shape(character * max(1, count + slack))
    stores = Stores()
    offloader = stores.offloader(inline_limit=limit)
    text = offloader.offload(value, TASK, "k")
    assert is_ref(text) == (len(row_of(value)) > limit)
    assert same(offloader.resolve(text), value)


@pytest.mark.parametrize(
    "value", [0, False, "", [], {}, 0.0, -0.0, "s3://bucket/key", {"__airflow_state_ref__": "x"}]
)
@pytest.mark.parametrize("limit", [0, 65535])
def test_values_that_look_like_nothing_or_like_something_else_come_back(stores, value, limit):
    offloader = stores.offloader(inline_limit=limit)
    assert same(offloader.resolve(offloader.offload(value, TASK, "k")), value)


def test_a_limit_of_zero_offloads_everything(stores):
    assert is_ref(stores.offloader(inline_limit=0).offload(1, TASK, "k"))


def test_a_large_value_comes_back_in_bounded_chunks(stores, monkeypatch):
    monkeypatch.setattr(json_module, "PIECE", 1024)
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    assert same(offloader.resolve(text), BIG)


@pytest.mark.parametrize(
    "key", ["model.gz", "model.zip", "a/b/c", "/lead", "trail/", "", ".", "..", "k\n", "s3://x/y"]
)
def test_a_key_of_any_form_is_stored_and_read(stores, key):
    offloader = stores.offloader(inline_limit=0)
    assert offloader.resolve(offloader.offload(BIG, TASK, key)) == BIG


@pytest.mark.parametrize("character", ["k", "é", "한", "😀", "\ud800", "/", "%", "."])
def test_a_key_of_512_characters_is_stored_and_read(stores, character):
    offloader = stores.offloader(inline_limit=0)
    text = offloader.offload(BIG, TaskAddress("d" * 250, "r" * 250, "t" * 250), character * 512)
    assert offloader.resolve(text) == BIG
    assert len(text.encode()) < 2048


def test_a_key_too_long_for_any_reader_is_refused_and_leaves_nothing(stores):
    with pytest.raises(InvalidKeyError):
        stores.offloader(inline_limit=0).offload(BIG, TASK, "k" * 70_000)
    assert stores.at[HOME].names() == []


def test_an_asset_by_name_and_another_by_an_equal_uri_are_apart(stores):
    offloader = stores.offloader(inline_limit=0)
    by_name = offloader.offload("name", AssetAddress(name="s3://b/x"), "k")
    by_uri = offloader.offload("uri", AssetAddress(uri="s3://b/x"), "k")
    assert (offloader.resolve(by_name), offloader.resolve(by_uri)) == ("name", "uri")


def test_overwriting_a_key_leaves_the_blob_of_the_previous_value(stores):
    offloader = stores.offloader(inline_limit=0)
    first, second = offloader.offload(1, TASK, "k"), offloader.offload(2, TASK, "k")
    assert (offloader.resolve(first), offloader.resolve(second)) == (1, 2)


def test_a_ref_names_location_size_digest_codec_and_kind_but_no_content_and_no_connection(stores):
    offloader = stores.offloader(path="s3://conn_id@bucket/prefix/", inline_limit=0)
    text = offloader.offload({"password": "hunter2", "b": 1}, TASK, "k")
    ref = a_ref(text)
    data = b"".join(stores.at[HOME].get(name_in(text)))
    assert ref.url.startswith(f"{HOME}/v1/default/task/dag/run/task/3/k/")
    assert ref.url.endswith(".json.zst")
    assert (ref.size, ref.codec, ref.frames, ref.about) == (len(data), "json", "sealed", "dict[2]")
    assert ref.digest == blake3.blake3(data[-ref.seal :]).hexdigest()
    assert ref.raw == len(b'{"password":"hunter2","b":1}')
    assert "conn_id" not in text
    assert "hunter2" not in text
    assert stores.opened == ["s3://conn_id@bucket/prefix"]


@pytest.mark.parametrize(
    ("value", "about"),
    [([1, 2], "list[2]"), ({}, "dict[0]"), ("abc", "str[3]"), (7, "int"), (True, "bool"), (1.5, "float")],
)
def test_a_ref_describes_type_and_length(stores, value, about):
    assert a_ref(stores.offloader(inline_limit=0).offload(value, TASK, "k")).about == about


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        (TASK, {"task": {"dag": "dag", "run": "run", "task": "task", "index": 3}}),
        (AssetAddress(name="n"), {"asset": {"name": "n"}}),
        (AssetAddress(uri="u"), {"asset": {"uri": "u"}}),
    ],
)
def test_a_blob_tells_whose_it_is_without_its_name(stores, address, identity):
    text = stores.offloader(inline_limit=0).offload(1, address, "the key")
    data = b"".join(stores.at[HOME].get(name_in(text)))
    header = json.loads(data[8 : 8 + struct.unpack_from("<I", data, 4)[0]])
    created = datetime.fromisoformat(header.pop("created"))
    assert abs(datetime.now(tz=timezone.utc) - created) < timedelta(hours=1)
    name = parse_blob_name(name_in(text))
    assert name is not None
    assert header == {"offload": 2, "id": name.id, **identity, "key": "the key", "codec": "json"}


def test_a_region_is_told_too(stores):
    text = stores.offloader(inline_limit=0).offload(1, TaskAddress("d", "r", "t", 0, REGION), "k")
    data = b"".join(stores.at[HOME].get(name_in(text)))
    assert f'"region":"{REGION}"'.encode() in data
    assert f"/region={REGION}/t/0/k/" in text


@pytest.mark.parametrize("value", [1, "", BIG, {1: 2}])
def test_without_a_path_everything_is_refused_before_anything_is_written(stores, value):
    with pytest.raises(ConfigError, match="no location") as caught:
        stores.offloader(path="").offload(value, TASK, "k")
    assert "[offload_backend] path" in caught.value.hint
    assert "s3://" in caught.value.hint
    assert (caught.value.address, caught.value.key) == (TASK, "k")
    assert stores.opened == []


@pytest.mark.parametrize("limit", [0, 65535])
def test_none_is_refused(stores, limit):
    with pytest.raises(UnsupportedValueError, match="None cannot be stored") as caught:
        stores.offloader(inline_limit=limit).offload(None, TASK, "k")
    assert caught.value.path == "value"
    assert stores.opened == []


def test_an_element_found_late_leaves_no_blob_and_no_ref(stores, monkeypatch):
    monkeypatch.setattr(json_module, "PIECE", 1024)
    value = {**BIG, "last": [*range(2000), (1, 2), object()]}
    seen: list[int] = []
    store = stores.open(HOME)
    monkeypatch.setattr(store, "_torn", lambda chunks: (seen.append(len(chunk)) or chunk for chunk in chunks))
    monkeypatch.setattr("offload_backend.blobfile.writer.CHUNK", 1024)
    with pytest.raises(UnsupportedValueError) as caught:
        stores.offloader(inline_limit=0).offload(value, TASK, "k")
    assert caught.value.path == 'value["last"][2001]'
    assert (caught.value.address, caught.value.key) == (TASK, "k")
    assert len(seen) > 10
    assert store.names() == []


def test_an_element_that_is_found_late_not_to_be_json_leaves_one_blob(stores, monkeypatch):
    monkeypatch.setattr(json_module, "PIECE", 1024)
    value = {**BIG, "last": [*range(2000), (1, 2)]}
    offloader = stores.offloader(inline_limit=0)
    text = offloader.offload(value, TASK, "k")
    assert a_ref(text).codec == "tree"
    assert stores.at[HOME].names() == [name_in(text)]
    assert offloader.resolve(text) == value
    assert type(offloader.resolve(text)["last"][2000]) is tuple


def test_a_value_beyond_max_value_bytes_is_refused_and_leaves_no_blob(stores):
    with pytest.raises(UnsupportedValueError, match="larger than 1000 bytes"):
        stores.offloader(max_value_bytes=1000, inline_limit=0).offload("x" * 999, TASK, "k")
    assert stores.at[HOME].names() == []


def test_a_value_of_exactly_max_value_bytes_is_read_even_if_it_does_not_compress(stores):
    for size in (2, 100, 5000, 300_000):
        value = "".join(random.Random(size).choices("0123456789abcdefghijklmnopqrstuvwxyz", k=size))
        offloader = stores.offloader(max_value_bytes=size + 2, inline_limit=0)
        assert offloader.resolve(offloader.offload(value, TASK, "k")) == value


@pytest.mark.parametrize("fault", ["put", "middle", "after put"])
def test_a_failing_put_gives_no_ref(stores, fault):
    offloader = stores.offloader()
    stores.open(HOME).fails = {fault}
    with pytest.raises(StoreError, match="network is down") as caught:
        offloader.offload(BIG, TASK, "k")
    assert (caught.value.address, caught.value.key) == (TASK, "k")
