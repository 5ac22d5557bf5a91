"""What a row says about a blob: ref format v1 (``docs/formats.md``).

A ref is a URL that a person can paste, with the facts in its fragment::

    s3://bucket/…/<id>.json.zst#offload=1&size=5213&raw=34102&seal=113&blake3=…&codec=json&frames=sealed&about=list[9]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, quote, urlencode

from offload_backend.errors import ForeignRefError, UnreadableBlobError
from offload_backend.location import shown

__all__ = ["BlobRef", "PeerRef", "Signature", "format_ref", "is_ref", "parse_ref", "signature_of", "to_sign"]

VERSION = "1"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s#]+", re.ASCII | re.IGNORECASE)
_REQUIRED = ("size", "raw", "codec", "frames")
_PINS = {"sealed": ("seal", "blake3"), "zstd": ("sha256",), "encrypted": ("key", "seal", "blake3")}
"""What pins the blob's bytes, for each framing, its digest last; and the key that opens them, if one is needed."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_SIGNED = re.compile(
    r"(?P<signed>.*)&signer=(?P<signer>[a-z][a-z0-9_-]{0,31})&mac=(?P<mac>[0-9a-f]{64})", re.ASCII | re.DOTALL
)
"""The end of a signed ref; the same two facts anywhere else are unknown ones."""


@dataclass(frozen=True)
class BlobRef:
    """A ref to one of our blobs.

    ``url`` holds neither a connection id nor a credential. ``size`` is of the stored bytes, ``raw`` of what
    they decompress to. ``codec`` says how those bytes become a value, ``frames`` how the blob is framed.
    ``digest`` pins the blob: of a ``sealed`` one it is the BLAKE3 of its seal, the last ``seal`` bytes; of an
    older one, ``zstd``, the SHA-256 of all that is stored. An ``encrypted`` one is pinned like a sealed one, and
    ``key`` is the id of the key that opens it. ``about`` describes the value's type and length for people, never
    its content.
    """

    url: str
    size: int
    raw: int
    digest: str
    codec: str
    seal: int = 0
    frames: str = "sealed"
    about: str = ""
    key: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether it takes the key to read the blob."""
        return self.frames == "encrypted"


@dataclass(frozen=True)
class PeerRef:
    """A bare URL, as Airflow's own common-io backend writes it; nothing in it can be verified."""

    url: str


@dataclass(frozen=True)
class Signature:
    """Who signed a ref, with what: ``text`` is what was signed, all of the ref before ``&mac=``."""

    text: str
    signer: str
    mac: str


def format_ref(ref: BlobRef) -> str:
    """The ref as text, ASCII if the configured path is; ``parse_ref(format_ref(ref)) == ref``."""
    pins = {"key": ref.key, "seal": str(ref.seal), "blake3": ref.digest, "sha256": ref.digest}
    facts = {
        "offload": VERSION,
        "size": str(ref.size),
        "raw": str(ref.raw),
        **{name: pins[name] for name in _PINS.get(ref.frames, ("sha256",))},
        "codec": ref.codec,
        "frames": ref.frames,
    }
    if ref.about:
        facts["about"] = ref.about
    return f"{ref.url}#{urlencode(facts, quote_via=quote, safe='[]')}"


def is_ref(text: str) -> bool:
    """Whether the text is a ref, of whatever format, rather than JSON, which never starts ``scheme://``."""
    return _SCHEME.match(text) is not None


def to_sign(text: str, signer: str) -> str:
    """What the signer signs of a ref; with ``&mac=`` and the MAC in hexadecimal it is the signed ref."""
    return f"{text}&signer={signer}"


def signature_of(text: str) -> Signature | None:
    """The signature at the end of a ref, whether or not it is right; ``None`` for a ref that has none."""
    match = _SIGNED.fullmatch(text) if "#" in text else None
    return Signature(to_sign(match["signed"], match["signer"]), match["signer"], match["mac"]) if match else None


@lru_cache(maxsize=16)  # whoever reads a value asks for the same one three times
def parse_ref(text: str) -> BlobRef | PeerRef | None:
    """The ref that ``text`` is, signed or not, or ``None`` if it is not one (then it is JSON).

    A signature is not looked at: see :class:`offload_backend.signature.Signatures`.

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
    signed = _SIGNED.fullmatch(fragment)
    fragment = signed["signed"] if signed else fragment
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
    about, frames = facts.pop("about", ""), facts.get("frames", "")
    if frames not in _PINS and _WORD.fullmatch(frames):
        raise _newer(f"has the framing {frames!r}, which this version does not know", url)
    pins = _PINS.get(frames, ())
    unknown = sorted(facts.keys() - {*_REQUIRED, *pins})
    if unknown and pins:
        raise _newer(f"states {', '.join(unknown)[:80]!r}, which this version does not know", url)
    missing = [name for name in (*_REQUIRED, *pins) if name not in facts]
    numbers = all(_NUMBER.fullmatch(facts[name]) for name in ("size", "raw", "seal") if name in facts)
    named = ("codec", "frames", "key") if "key" in pins else ("codec", "frames")
    words = all(_WORD.fullmatch(facts.get(name, "")) for name in named)
    digest = facts[pins[-1]] if pins and not missing else ""
    if not numbers or not words or not _DIGEST.fullmatch(digest):
        raise ForeignRefError("the ref's facts are incomplete or malformed", location=shown(url))
    return BlobRef(
        url=url,
        size=int(facts["size"]),
        raw=int(facts["raw"]),
        digest=digest,
        codec=facts["codec"],
        seal=int(facts.get("seal", 0)),
        frames=frames,
        about=about,
        key=facts.get("key", ""),
    )


def _newer(what: str, url: str) -> UnreadableBlobError:
    return UnreadableBlobError(
        f"the ref {what}", location=shown(url), hint="upgrade offload-backend where the value is read"
    )
