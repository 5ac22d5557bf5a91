"""Signatures of S3 requests: AWS Signature Version 4 with an unsigned payload.

A checksum that S3 verifies is among the signed headers instead: hashing the body as well would cost more
than sending it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["Credentials", "encoded_path", "encoded_query", "signed"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "UNSIGNED-PAYLOAD"


class Credentials(NamedTuple):
    """An access key, its secret, and the token of a temporary one, else empty."""

    key: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


def encoded_path(path: str) -> str:
    """The path as S3 wants it in a request and in its signature: encoded once, and not normalised."""
    return quote(path, safe="/~")


def encoded_query(query: Iterable[tuple[str, str]]) -> str:
    """The query string in the order in which it is signed."""
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    credentials: Credentials,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers with those that sign them.

    ``path`` and ``query`` are encoded as above, ``headers`` have lower-case names and include ``host``,
    ``now`` is in UTC.
    """
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    day = moment[:8]
    complete = {**headers, "x-amz-content-sha256": _UNSIGNED, "x-amz-date": moment}
    if credentials.token:
        complete["x-amz-security-token"] = credentials.token
    names = sorted(complete)
    lines = "".join(f"{name}:{' '.join(complete[name].split())}\n" for name in names)
    signed_names = ";".join(names)
    request = f"{method}\n{path}\n{query}\n{lines}\n{signed_names}\n{_UNSIGNED}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(credentials.secret, day, region), text.encode(), "sha256").hex()
    complete["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key}/{scope}, SignedHeaders={signed_names}, Signature={signature}"
    )
    return complete


@lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key
