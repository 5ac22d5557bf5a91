"""Locations and what lies below them: the one place that takes storage URLs apart.

A location is a URL without connection id, credentials and trailing slash; a ref begins with it.
Nothing is percent-decoded: names mean the characters they are written in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from offload_backend.errors import ConfigError, ForeignRefError

__all__ = [
    "StorageUrl",
    "checked_name",
    "checked_prefix",
    "is_location",
    "location_of",
    "parse_location",
    "relative_name",
    "shown",
    "without_user",
]

EXAMPLE = "for example path = s3://conn_id@bucket/airflow-state, or file:///shared/airflow-state"

_SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "local": "file"}
_NEED_AUTHORITY = {
    "s3": "bucket",
    "gs": "bucket",
    "abfs": "container",
    "memory": "name, as in memory://name",
}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/]*)(?P<path>.*)", re.DOTALL)
_STRANGE = re.compile(r"[\x00-\x20\x7f#?\\]")
_QUERY = re.compile(r"[?#]")
_SHOWN = 300
_NAME_CHARACTERS = re.compile(r"[!-~]*", re.ASCII)
_NOT_IN_NAMES = frozenset("#?\\")


class StorageUrl(NamedTuple):
    """A location taken apart; ``authority`` is the bucket or the host, ``path`` has no outer slashes."""

    scheme: str
    user: str
    authority: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}" + (f"/{self.path}" if self.path else "")


@lru_cache(maxsize=64)  # the same few paths, with every ref
def parse_location(path: str) -> StorageUrl:
    """The parts of a configured path; :class:`ConfigError` for one that names no single place."""
    url = path if "://" in path else f"file://{path}"
    match = _URL.fullmatch(url)
    if match is None or _STRANGE.search(url):
        raise ConfigError("the path is not a storage URL", hint=f"correct [offload_backend] path, {EXAMPLE}")
    scheme = _canonical(match["scheme"])
    _refuse_stray_password(scheme, match["authority"], match["path"])
    user, _, authority = match["authority"].rpartition("@")
    if scheme == "file" and authority == "localhost":
        authority = ""
    parsed = StorageUrl(scheme, user, authority, match["path"][1:].rstrip("/"))
    _check(parsed)
    return parsed


def location_of(path: str) -> str:
    """The location of a configured path: what the refs of its blobs begin with.

    One place has one location: ``s3a://conn_id@bucket/prefix/`` and ``s3://bucket/prefix`` give
    ``s3://bucket/prefix``, an absolute file path gives ``file:///…``.
    """
    return str(parse_location(path))


def is_location(path: str) -> bool:
    """Whether blobs of ours could lie there; what is not cannot hold anything this backend has to read."""
    try:
        return bool(location_of(path))
    except ConfigError:
        return False


def without_user(url: str) -> str:
    """The URL without the ``conn_id@`` that may stand before its bucket."""
    match = _URL.fullmatch(url)
    if match is None or "@" not in match["authority"]:
        return url
    return f"{match['scheme']}://{match['authority'].rpartition('@')[2]}{match['path']}"


def shown(url: str) -> str:
    """The URL as messages may show it: without user, password, query and fragment, in some 300 characters.

    A password may hold '/' or '?' although it should not, so what might still be one is left out as well.
    """
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    place = _QUERY.split(rest, maxsplit=1)[0]
    if "@" in rest[len(place) :]:
        place = "…"
    before, _, after = place.rpartition("@")
    short = f"{scheme}{mark}{'…' if '/' in before else ''}{after}"
    return short if len(short) <= _SHOWN else f"{short[:_SHOWN]}…"


def relative_name(url: str, location: str) -> str | None:
    """The blob name of a URL that lies strictly below the location, else ``None``.

    Compared by segments, with the same scheme and bucket, so that neither ``..`` nor a sibling that
    shares a string prefix gets in.
    """
    scheme, mark, rest = url.partition("://")
    candidate = f"{_canonical(scheme)}{mark}{rest}"
    if not candidate.startswith(f"{location}/"):
        return None
    name = candidate[len(location) + 1 :]
    return name if _is_name(name) else None


def checked_name(name: str) -> str:
    """The name itself, if it may name a blob; :class:`ForeignRefError` otherwise."""
    if not _is_name(name):
        raise ForeignRefError("the name leaves the location or holds a character that no blob's name holds")
    return name


def checked_prefix(prefix: str) -> str:
    """The prefix itself, if names can start with it; :class:`ForeignRefError` otherwise."""
    folder, slash, _ = prefix.rpartition("/")
    if not _has_name_characters(prefix) or (slash and not _is_name(folder)):
        raise ForeignRefError("no blob's name starts with this prefix")
    return prefix


def _refuse_stray_password(scheme: str, authority: str, path: str) -> None:
    """Refuse a URL that a '/' in its password has cut in two, before anything else can quote the pieces."""
    host = authority.rpartition("@")[2]
    colon_in_bucket = scheme in _NEED_AUTHORITY and ":" in host and not host.startswith("arn:")
    if colon_in_bucket or (":" in authority and "@" in path):
        raise ConfigError(
            "the path holds a ':' or an '@' where none belongs, as if it held a password",
            hint="put credentials into an Airflow connection, storage_options or the environment, and name the "
            f"connection in [offload_backend] path, {EXAMPLE}",
        )


def _check(url: StorageUrl) -> None:
    if url.scheme == "file" and (url.authority or not url.path):
        raise ConfigError(
            f"{url!s} is not an absolute path of a directory",
            hint=f"write [offload_backend] path with three slashes or from the root, {EXAMPLE}",
        )
    if not url.authority and url.scheme in _NEED_AUTHORITY:
        raise ConfigError(
            f"{url.scheme}:// names no {_NEED_AUTHORITY[url.scheme]}",
            hint=f"complete [offload_backend] path, {EXAMPLE}",
        )
    if url.path and any(segment in ("", ".", "..") for segment in url.path.split("/")):
        raise ConfigError(
            f"{url!s} has an empty, '.' or '..' segment",
            hint="write [offload_backend] path without '//', '.' and '..' segments",
        )


def _canonical(scheme: str) -> str:
    return _SAME_SCHEME.get(scheme.lower(), scheme.lower())


def _is_name(name: str) -> bool:
    segments = name.split("/")
    return _has_name_characters(name) and not any(segment in ("", ".", "..") for segment in segments)


def _has_name_characters(name: str) -> bool:
    return _NAME_CHARACTERS.fullmatch(name) is not None and _NOT_IN_NAMES.isdisjoint(name)
