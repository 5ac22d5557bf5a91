"""Whose state it is, and the one key grammar that turns it into a name in a blob store.

Key grammar v1, relative to the configured path (``docs/formats.md`` has it byte by byte)::

    v1/<deployment>/task/<dag>/<run>/[region=<uuid>/]<task>/<index>/<key>/<id>.<extension>
    v1/<deployment>/asset/name=<name>/<key>/<id>.<extension>
    v1/<deployment>/asset/uri=<uri>/<key>/<id>.<extension>
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes
from uuid import UUID

__all__ = [
    "MAX_KEY",
    "AssetAddress",
    "BlobName",
    "StateAddress",
    "TaskAddress",
    "address_of_header",
    "address_of_scope",
    "blob_name",
    "blob_scope",
    "deployment_prefix",
    "header_facts",
    "is_header_of",
    "new_blob_id",
    "parse_blob_name",
    "without_index",
]

GRAMMAR = "v1"
MAX_KEY = 512
"""Characters of a key: the width of the column in Airflow's ``task_state_store`` and ``asset_state_store``."""
MAX_SEGMENT = 160
"""Longest encoded segment in bytes: four of them, the fixed parts and 200 bytes of the user's own
prefix stay within S3's limit of 1024 bytes, and each within the 255 of a local file name."""

_DIGEST = 32
_WITH_REGION = 5
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_SEGMENT = r"(?=[^/])(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9_.-]|%[0-9A-F]{2})*(?:~(?:[0-9a-f]{32})?)?"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME = (
    rf"v1/(?P<deployment>{_SEGMENT})/"
    rf"(?P<scope>task/{_SEGMENT}/{_SEGMENT}/(?:region={_UUID}/)?{_SEGMENT}/-?[0-9]+"
    rf"|asset/(?:name|uri)={_SEGMENT})/"
    rf"(?P<key>{_SEGMENT})/(?P<id>{_UUID})\.(?P<extension>[a-z0-9]+(?:\.[a-z0-9]+)*)"
)


@dataclass(frozen=True)
class TaskAddress:
    """The state namespace of one task instance across its retries.

    ``region_id`` is Airflow 3.4's second coordinate of mapped tasks and loops; ``None`` and the zero
    UUID are the same namespace and add nothing to a blob's name, so names survive the upgrade from 3.3.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    region_id: UUID | None = None

    def __post_init__(self) -> None:
        if self.region_id is not None and self.region_id.int == 0:
            object.__setattr__(self, "region_id", None)

    def __str__(self) -> str:
        region = f" region {self.region_id}" if self.region_id else ""
        index = f" [{self.map_index}]" if self.map_index != -1 or region else ""
        return f"task {self.dag_id}.{self.task_id}{index}{region} run {self.run_id}"


@dataclass(frozen=True)
class AssetAddress:
    """The state namespace of one asset, known by its name or by its uri, never by both."""

    name: str | None = None
    uri: str | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.uri is None):
            raise ValueError("an asset address has either a name or a uri")

    def __str__(self) -> str:
        return f"asset {self.name!r}" if self.name is not None else f"asset uri {self.uri!r}"


StateAddress = TaskAddress | AssetAddress


class BlobName(NamedTuple):
    """A parsed blob name: who owns it (``deployment``), whose state (``scope``, ``key``, encoded) and its id."""

    deployment: str
    scope: str
    key: str
    id: str
    extension: str


def new_blob_id() -> str:
    """A fresh UUIDv7 (RFC 9562, 5.7): sorted by time for people; no code may judge age by it."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 68) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return str(UUID(int=value))


def blob_name(deployment: str, address: StateAddress, key: str, blob_id: str, extension: str) -> str:
    """The name of a blob below the configured path: injective in its arguments, at most 820 bytes."""
    parts = [GRAMMAR, _segment(deployment), _scope(address), _segment(key), f"{blob_id}.{extension}"]
    return "/".join(parts)


def blob_scope(address: StateAddress, key: str) -> tuple[str, str]:
    """The ``scope`` and ``key`` that :func:`parse_blob_name` finds in the names of these blobs."""
    return _scope(address), _segment(key)


def without_index(scope: str) -> str:
    """What the scopes of all map indices and regions of a task have in common; an asset's own."""
    kind, *segments = scope.split("/")
    return "/".join((kind, *segments[:2], segments[-2])) if kind == "task" else scope


def deployment_prefix(deployment: str) -> str:
    """What the name of everything begins with that is stored for this deployment."""
    return f"{GRAMMAR}/{_segment(deployment)}/"


def address_of_scope(scope: str) -> StateAddress | None:
    """The address that :func:`blob_scope` made this scope of.

    ``None`` for a text that is no scope, and for one that holds a cut segment: then only the header of a
    blob tells.
    """
    kind, _, rest = scope.partition("/")
    address = _task_of(rest.split("/")) if kind == "task" else _asset_of(rest) if kind == "asset" else None
    # Whatever the way there, an address counts only if it leads back to where it came from.
    return address if address is not None and _scope(address) == scope else None


def header_facts(address: StateAddress, key: str) -> dict[str, Any]:
    """What a blob's header says of whose state it is."""
    if isinstance(address, AssetAddress):
        asset = {"name": address.name} if address.name is not None else {"uri": address.uri}
        return {"asset": asset, "key": key}
    task = {"dag": address.dag_id, "run": address.run_id, "task": address.task_id, "index": address.map_index}
    return {"task": {**task, "region": str(address.region_id)} if address.region_id else task, "key": key}


def address_of_header(header: dict[str, Any]) -> StateAddress:
    """Whose state a blob is, by its header. Raises anything for a header that does not say it as it should."""
    if "asset" in header:
        return AssetAddress(**header["asset"])
    task = header["task"]
    region = UUID(task["region"]) if "region" in task else None
    return TaskAddress(task["dag"], task["run"], task["task"], task["index"], region)


def is_header_of(blob: BlobName, header: dict[str, Any]) -> bool:
    """Whether the header is of the state and the key that the blob's name tells."""
    try:
        return blob_scope(address_of_header(header), header["key"]) == (blob.scope, blob.key)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _task_of(segments: list[str]) -> TaskAddress | None:
    region = None
    if len(segments) == _WITH_REGION:
        name, _, text = segments.pop(2).partition("=")
        if name != "region" or not re.fullmatch(_UUID, text):
            return None
        region = UUID(text)
    if len(segments) != _WITH_REGION - 1 or not re.fullmatch(r"-?[0-9]{1,18}", segments[-1]):
        return None
    dag, run, task = map(_text, segments[:-1])
    if dag is None or run is None or task is None:
        return None
    return TaskAddress(dag, run, task, int(segments[-1]), region)


def _asset_of(segment: str) -> AssetAddress | None:
    kind, _, encoded = segment.partition("=")
    text = _text(encoded)
    if text is None or kind not in ("name", "uri"):
        return None
    return AssetAddress(name=text) if kind == "name" else AssetAddress(uri=text)


def _scope(address: StateAddress) -> str:
    if isinstance(address, AssetAddress):
        if address.name is not None:
            return f"asset/name={_segment(address.name)}"
        return f"asset/uri={_segment(address.uri or '')}"
    region = f"region={address.region_id}/" if address.region_id else ""
    owner = f"{_segment(address.dag_id)}/{_segment(address.run_id)}"
    return f"task/{owner}/{region}{_segment(address.task_id)}/{address.map_index}"


def parse_blob_name(name: str) -> BlobName | None:
    """The parts of a name written by :func:`blob_name`, or ``None`` for anything else."""
    match = re.fullmatch(_NAME, name)  # compiled, and kept by re, where there is a name to parse
    return BlobName(**match.groupdict()) if match else None


def _text(segment: str) -> str | None:
    """The text that a segment was made of, or ``None`` if it was cut."""
    if "~" in segment:
        return "" if segment == "~" else None
    try:
        return unquote_to_bytes(segment).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=256)  # a task says the same few names again with every set
def _segment(text: str) -> str:
    """One path segment: percent-encoded, never empty, ``.`` or ``..``; a long one is cut and hashed."""
    if not text:
        return "~"
    raw = text.encode("utf-8", "surrogatepass")
    encoded = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw)
    if encoded in (".", ".."):
        return encoded.replace(".", "%2E")
    if len(encoded) <= MAX_SEGMENT:
        return encoded
    head = encoded[: MAX_SEGMENT - _DIGEST - 1]
    cut = head.rfind("%", len(head) - 2)
    return f"{head if cut < 0 else head[:cut]}~{hashlib.sha256(raw).hexdigest()[:_DIGEST]}"
