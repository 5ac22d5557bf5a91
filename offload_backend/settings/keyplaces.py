"""How a setting says which keys there are: ``<id>=<source>``, a source being where the key is, never the key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["KeyPlace", "key_places", "with_fernet"]

_ID = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_NEEDS_NAME = ("env", "file", "kms", "class")


@dataclass(frozen=True)
class KeyPlace:
    """The key that refs call ``id`` is in a source of this ``kind``, there called ``name``.

    Of ``fernet``, the name is that of a function which has read ``[core] fernet_key``; empty, it stands for the
    environment.
    """

    id: str
    kind: str
    name: str


def key_places(entries: Iterable[str]) -> tuple[KeyPlace, ...]:
    """The entries of a setting, apart. Raises :class:`ValueError`, which quotes nothing: it might be a key."""
    found = tuple(map(_parsed, entries))
    if len({place.id for place in found}) != len(found):
        raise ValueError("an id stands for two keys")
    return found


def with_fernet(entries: Iterable[str], function: str) -> tuple[str, ...]:
    """The entries, with where ``fernet`` is to be had: the dotted path of a function that returns its text."""
    return tuple(f"{entry}:{function}" if entry.endswith("=fernet") else entry for entry in entries)


def _parsed(entry: str) -> KeyPlace:
    key_id, equals, source = entry.partition("=")
    kind, colon, name = source.partition(":")
    if not equals or not _ID.fullmatch(key_id):
        raise ValueError("each key is <id>=<source>; an id is of a-z, 0-9, - and _, at most 32, a letter first")
    if not (kind in _NEEDS_NAME and name) and not (kind == "fernet" and bool(colon) == bool(name)):
        raise ValueError(
            "a source is env:VARIABLE, file:/path, fernet, kms:<key id, alias or arn> or class:dotted.path"
        )
    return KeyPlace(key_id, kind, name)
