"""The text of a row: plain JSON for an inline value that is JSON, an envelope around anything else.

The envelope ``{"__airflow_state_ref__": "<text>"}`` is Airflow's own (task-sdk 1.3.2,
``execution_time/context.py``), so a row written stand-alone and one written by a worker read alike.
"""

from __future__ import annotations

import json

from offload_backend.ref import is_ref

__all__ = [
    "ENVELOPE_KEY",
    "TYPED",
    "envelope",
    "envelope_size",
    "fits_row",
    "is_json",
    "is_typed",
    "open_envelope",
    "row_text",
]

ENVELOPE_KEY = "__airflow_state_ref__"

TYPED = "data:application/vnd.offload.tree+json,"
"""How an inline value that is not JSON begins: no JSON does, and no ref."""

_FIXED = len('{"__airflow_state_ref__": ""}')
_MOST_PER_CHARACTER = len(r"\\ud83d\\ude00")
"""Bytes of a row for one character of JSON: an emoji's two escapes, escaped once more."""


def envelope(text: str) -> str:
    """The row that wraps ``text`` (a ref, or the JSON of an inline value)."""
    return json.dumps({ENVELOPE_KEY: text})


def envelope_size(json_text: str) -> int:
    """Bytes of the row when ``json_text`` is kept inline in an envelope.

    It is what Airflow compares with ``[state_store] max_value_storage_bytes``: the text is encoded
    twice, and characters outside ASCII grow to escapes of up to seven bytes each.
    """
    return len(envelope(json.dumps(json.loads(json_text))))


def fits_row(json_text: str, limit: int) -> bool:
    """Whether the row takes at most ``limit`` bytes when ``json_text`` is kept inline in an envelope.

    As :func:`envelope_size` tells, which takes as long as encoding the value twice: a short text needs no telling.
    """
    return _FIXED + _MOST_PER_CHARACTER * len(json_text) <= limit or envelope_size(json_text) <= limit


def is_typed(text: str) -> bool:
    """Whether the text is an inline value that is not JSON."""
    return text.startswith(TYPED)


def is_json(text: str) -> bool:
    """Whether the text is the JSON of an inline value, and neither a ref nor a value that is not JSON."""
    return not is_ref(text) and not is_typed(text)


def open_envelope(value: object) -> str | None:
    """The text inside an envelope, or ``None`` when ``value`` (a decoded row) is not one."""
    if isinstance(value, dict):
        text = value.get(ENVELOPE_KEY)
        if isinstance(text, str) and text:
            return text
    return None


def row_text(text: str) -> str:
    """The row that holds ``text``: a ref, or an inline value.

    JSON stays as it is, for people to read and query, unless it holds the envelope's key: then it is
    wrapped, so that a user's own dictionary with that key is never taken for a ref.
    """
    return text if is_json(text) and ENVELOPE_KEY not in text else envelope(text)
