"""What a row says about a blob: ref format v1 (``docs/formats.md``).

A ref is a URL that a person can paste, with the facts in its fragment::

    s3://bucket/prefix/v1/…/<id>.json.zst#offload=1&size=5213&raw=34102&sha256=…&codec=json&frames=zstd&about=list[9]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from offload_backend.errors import ForeignRefError, UnreadableBlobError
from offload_backend.location import shown

__all__ = ["BlobRef", "PeerRef", "format_ref", "is_ref", "parse_ref"]

VERSION = "1"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s#]+", re.ASCII | re.IGNORECASE)
_REQUIRED = ("size", "raw", "sha256", "codec", "frames")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True)
class BlobRef:
    """A ref to one of our blobs.

    ``url`` holds neither a connection id nor a credential. ``size`` and ``sha256`` are of the stored
    bytes, ``raw`` is the size in bytes after decompression. ``codec`` says how those bytes become a
    value, ``frames`` how the blob is framed. ``about`` describes the value's type and length for
    people, never its content.
    """

    url: str
    size: int
    raw: int
    sha256: str
    codec: str
    frames: str = "zstd"
    about: str = ""


@dataclass(frozen=True)
class PeerRef:
    """A bare URL, as Airflow's own common-io backend writes it; nothing in it can be verified."""

    url: str


def format_ref(ref: BlobRef) -> str:
    """The ref as text, ASCII if the configured path is; ``parse_ref(format_ref(ref)) == ref``."""
    facts = {
        "offload": VERSION,
        "size": str(ref.size),
        "raw": str(ref.raw),
        "sha256": ref.sha256,
        "codec": ref.codec,
        "frames": ref.frames,
    }
    if ref.about:
        facts["about"] = ref.about
    return f"{ref.url}#{urlencode(facts, quote_via=quote, safe='[]')}"


def is_ref(text: str) -> bool:
    """Whether the text is a ref, of whatever format, rather than JSON, which never starts ``scheme://``."""
    return _SCHEME.match(text) is not None


def parse_ref(text: str) -> BlobRef | PeerRef | None:
    """The ref that ``text`` is, or ``None`` if it is not one (then it is JSON).

    Raises :class:`UnreadableBlobError` for a ref of a newer format and :class:`ForeignRefError` for
    one that breaks the grammar.
    """
    if not is_ref(text):
        return None
    url, hash_mark, fragment = text.partition("#")
    if not _URL.fullmatch(url):
        raise ForeignRefError("the ref holds a character that no ref holds")
    if not hash_mark:
        return PeerRef(url)
    try:
        pairs = parse_qsl(fragment, keep_blank_values=True, strict_parsing=True, max_num_fields=32)
    except ValueError as error:
        raise ForeignRefError("the ref's fragment is not a list of facts", location=shown(url)) from error
    facts = dict(pairs)
    if len(facts) != len(pairs) or "offload" not in facts:
        raise ForeignRefError("the ref was not written by this backend", location=shown(url))
    if facts.pop("offload") != VERSION:
        raise _newer("has a newer format", url)
    return _from_facts(url, facts)


def _from_facts(url: str, facts: dict[str, str]) -> BlobRef:
    about = facts.pop("about", "")
    unknown = [name for name in facts if name not in _REQUIRED]
    if unknown:
        raise _newer(f"states {', '.join(sorted(unknown))[:80]!r}, which this version does not know", url)
    missing = [name for name in _REQUIRED if name not in facts]
    numbers = all(_NUMBER.fullmatch(facts.get(name, "")) for name in ("size", "raw"))
    words = all(_WORD.fullmatch(facts.get(name, "")) for name in ("codec", "frames"))
    if missing or not numbers or not words or not _SHA256.fullmatch(facts["sha256"]):
        raise ForeignRefError("the ref's facts are incomplete or malformed", location=shown(url))
    return BlobRef(
        url=url,
        size=int(facts["size"]),
        raw=int(facts["raw"]),
        sha256=facts["sha256"],
        codec=facts["codec"],
        frames=facts["frames"],
        about=about,
    )


def _newer(what: str, url: str) -> UnreadableBlobError:
    return UnreadableBlobError(
        f"the ref {what}", location=shown(url), hint="upgrade offload-backend where the value is read"
    )
