"""Lists of Airflow's REST API, read so that no row which was there all the time is missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from offload_backend.corestores.rest_client import Answer, RestClient

__all__ = ["UnseenError", "read_all", "segment", "text_of"]

PAGE = 100
"""Most rows the API gives at once, unless ``[api] maximum_page_limit`` is smaller."""
READINGS = 5

Kept = TypeVar("Kept")


class UnseenError(Exception):
    """The API answered, but the answer does not prove what was asked; the text says why."""


def read_all(
    client: RestClient,
    path: str,
    params: Mapping[str, str | int],
    member: str,
    keep: Callable[[dict[str, Any]], tuple[Any, Kept]],
) -> dict[Any, Kept]:
    """Every row of a list, by what identifies it: each that was there all the time, or :class:`UnseenError`.

    The API pages by offset, so a row deleted meanwhile would move others out of sight. Each page
    therefore begins with the last row of the page before; if it does not, the list is read anew.
    """
    for _ in range(READINGS):
        found = _read_once(client, path, params, member, keep)
        if found is not None:
            return found
    raise UnseenError(f"the list changed each of the {READINGS} times it was read")


def _read_once(
    client: RestClient,
    path: str,
    params: Mapping[str, str | int],
    member: str,
    keep: Callable[[dict[str, Any]], tuple[Any, Kept]],
) -> dict[Any, Kept] | None:
    found: dict[Any, Kept] = {}
    offset = 0
    joint: Any = None
    while True:
        answer = client.get(path, {**params, "limit": PAGE, "offset": offset})
        rows, total = _page(answer, member)
        kept = [_kept(row, keep) for row in rows]
        if offset and (not kept or kept[0][0] != joint):
            return None
        found.update(kept)
        if offset + len(kept) >= total:
            return found
        if len(kept) < 2:  # noqa: PLR2004 - one row is the joint, so that nothing new would ever come
            return None
        offset += len(kept) - 1
        joint = kept[-1][0]


def _page(answer: Answer, member: str) -> tuple[list[dict[str, Any]], int]:
    if answer.status != HTTPStatus.OK:
        raise UnseenError(str(answer))
    rows, total = answer.object.get(member), answer.object.get("total_entries")
    if not isinstance(rows, list) or type(total) is not int or not all(isinstance(row, dict) for row in rows):
        raise UnseenError("the answer is not the list that was asked for")
    return rows, total


def _kept(row: dict[str, Any], keep: Callable[[dict[str, Any]], tuple[Any, Kept]]) -> tuple[Any, Kept]:
    try:
        return keep(row)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnseenError(f"a row cannot be read ({type(error).__name__})") from error


def segment(text: str) -> str:
    """``text`` as one segment of a path; :class:`UnseenError` for what would not arrive as it was sent.

    ``~`` means every DAG and every run to Airflow; a slash, ``.`` and ``..`` change the path.
    """
    if text in ("", ".", "..", "~") or "/" in text:
        raise UnseenError(f"{text!r} cannot be asked for by its id")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise UnseenError(f"{text!r} cannot be asked for by its id") from None


def text_of(value: Any) -> str:
    """``value``, which must be text; for the rows that :func:`read_all` keeps."""
    if not isinstance(value, str):
        raise TypeError
    return value
