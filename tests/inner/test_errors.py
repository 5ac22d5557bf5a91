from __future__ import annotations

import pickle

import pytest

from offload_backend import errors
from offload_backend.address import TaskAddress
from offload_backend.errors import (
    BlobNotFoundError,
    CoreStoreError,
    OffloadError,
    StoreError,
    UnsupportedValueError,
)


def test_every_exported_error_is_an_offload_error():
    kinds = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, OffloadError) for kind in kinds)
    assert {kind.__name__ for kind in kinds} == set(errors.__all__)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("InvalidKeyError", ValueError),
        ("UnsupportedValueError", TypeError),
        ("BlobNotFoundError", LookupError),
        ("ForeignRefError", ValueError),
    ],
)
def test_code_that_knows_only_pythons_errors_still_catches_ours(name, builtin):
    assert issubclass(getattr(errors, name), builtin)


def test_an_error_tells_what_where_and_how_to_repair_it():
    error = BlobNotFoundError(
        "no such blob", hint="set the key again", address=TaskAddress("d", "r", "t"), key="k", location="s3://b/x"
    )
    assert str(error) == (
        "no such blob [address=task d.t run r, key='k', location='s3://b/x']\nHint: set the key again"
    )
    assert error.message == "no such blob"


def test_an_error_without_context_is_its_message():
    assert str(OffloadError("it broke")) == "it broke"


def test_what_is_learned_later_shows_in_the_text():
    error = OffloadError("it broke")
    error.key, error.hint = "", "mend it"
    assert str(error) == "it broke [key='']\nHint: mend it"


def test_an_unsupported_value_names_its_element_first():
    error = UnsupportedValueError("NaN is not JSON", path='value["metrics"][3]')
    assert str(error) == 'value["metrics"][3]: NaN is not JSON'
    assert error.path == 'value["metrics"][3]'


def test_a_path_of_any_length_is_kept_whole_and_shown_in_part():
    path = "value" + '["' + "k" * 1000 + '"]'
    error = UnsupportedValueError("NaN is not JSON", path=path)
    assert error.path == path
    assert len(str(error)) < 250
    assert str(error).endswith("NaN is not JSON")


def test_store_errors_say_whether_trying_again_may_help():
    assert StoreError("slow down", reason="throttled", retryable=True).retryable
    assert not StoreError("no", reason="denied").retryable
    assert StoreError("no", reason="denied").reason == "denied"
    assert CoreStoreError("locked", retryable=True).retryable
    assert not CoreStoreError("gone").retryable


@pytest.mark.parametrize(
    "error",
    [
        OffloadError("m", hint="h", key="k"),
        BlobNotFoundError("m", location="s3://b/k", address=TaskAddress("d", "r", "t")),
        UnsupportedValueError("m", path="value[0]", hint="h"),
        StoreError("m", reason="denied", retryable=True, location="s3://b"),
        CoreStoreError("m", retryable=True, key="k"),
    ],
)
def test_an_error_survives_the_way_from_another_process(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
