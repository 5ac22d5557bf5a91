from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given

from offload_backend.row import ENVELOPE_KEY, envelope, envelope_size, fits_row, open_envelope, row_text
from tests.inner.values import QUICK, THOROUGH, any_text, json_values, same

REF = "s3://bucket/v1/default/asset/name=a/k/01999999-0000-7000-8000-000000000001.json.zst#offload=1&size=1"


def test_the_envelope_is_airflows_own():
    assert envelope(REF) == f'{{"__airflow_state_ref__": "{REF}"}}'


@QUICK
@given(any_text.filter(bool))
@example(REF)
def test_an_envelope_gives_back_its_text(text):
    assert open_envelope(json.loads(envelope(text))) == text
    assert envelope(text).isascii()


@THOROUGH
@given(json_values)
@example('한글 "quoted" \\ 😀 \x00')
@example({"a": [1, 2.5, None]})
@example([[], {}, ""])
def test_the_size_is_that_of_the_row_airflow_stores(value):
    stored = json.dumps({"__airflow_state_ref__": json.dumps(value)})
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert envelope_size(compact) == len(stored.encode())


@THOROUGH
@given(json_values)
@example("")
@example("😀" * 300)  # no character of JSON takes more of a row
@example('\x7f\\"\n' * 300)
@example([1e16, 1e-7, -1e300] * 100)
def test_a_row_fits_exactly_up_to_its_size_however_long_it_is(value):
    # As the codec writes it.
    compact = orjson.dumps(value).decode()
    size = envelope_size(compact)
    assert fits_row(compact, size)
    assert not fits_row(compact, size - 1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        7,
        [ENVELOPE_KEY],
        {},
        {"other": REF},
        {ENVELOPE_KEY: ""},
        {ENVELOPE_KEY: None},
        {ENVELOPE_KEY: 7},
        {ENVELOPE_KEY: {"a": 1}},
    ],
)
def test_other_values_are_not_envelopes(value):
    assert open_envelope(value) is None


@THOROUGH
@given(json_values)
@example({ENVELOPE_KEY: REF})
@example({ENVELOPE_KEY: "{}"})
@example([{"deep": {ENVELOPE_KEY: 1}}])
@example(ENVELOPE_KEY)
@example(REF)
def test_a_row_gives_back_the_users_value_whatever_it_looks_like(value):
    row = json.loads(row_text(json.dumps(value)))
    text = open_envelope(row)
    assert same(row if text is None else json.loads(text), value)


def test_plain_json_stays_as_it_is_for_people_to_query():
    assert row_text('{"epoch":3}') == '{"epoch":3}'


def test_a_ref_is_wrapped():
    assert open_envelope(json.loads(row_text(REF))) == REF
