"""From what an operation did to metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from offload_backend.address import blob_scope, parse_blob_name
from offload_backend.ref import BlobRef

if TYPE_CHECKING:
    from offload_backend.blobstore import DeleteReport
    from offload_backend.observation.metrics import Meter, Tags
    from offload_backend.observation.operation import Operation

__all__ = ["measure", "measure_reclaimed"]

_LONGEST_TAG = 100
"""Characters. Where tags are part of a name, all of it has to stay below StatsD's 250."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_ALARMS = {"BlobNotFoundError": "dangling", "BlobCorruptError": "corrupt"}


def measure(operation: Operation, meter: Meter) -> None:
    """One operation, which has ended."""
    verb, ref, tags = operation.verb, operation.ref, _tags(operation)
    if operation.error:
        meter.count(f"{verb}.failed", 1, {**tags, "error": operation.error})
        if verb == "resolve" and operation.error in _ALARMS:
            meter.count(f"{verb}.{_ALARMS[operation.error]}", 1, tags)
    elif ref is None:
        meter.count(f"{verb}.inline", 1, tags)
    else:
        raw, stored, codec = (ref.raw, ref.size, ref.codec) if isinstance(ref, BlobRef) else (0, 0, "peer")
        tags = {**tags, "codec": codec}
        meter.count(f"{verb}.offloaded", 1, tags)
        meter.time(f"{verb}.duration", operation.seconds * 1000, tags)
        sizes = {"raw_bytes": raw, "stored_bytes": stored, "copied_bytes": operation.copied}
        _count(meter, verb, sizes, tags)
    _count(meter, verb, {"retries": len(operation.retries)}, tags)


def measure_reclaimed(report: DeleteReport, meter: Meter) -> None:
    """One delete of dead blobs."""
    _count(meter, "reclaim", {"blobs": len(report.deleted), "failed": len(report.failed)}, {})


def _count(meter: Meter, verb: str, amounts: Mapping[str, int], tags: Tags) -> None:
    for name, amount in amounts.items():
        if amount:
            meter.count(f"{verb}.{name}", amount, tags)


def _tags(operation: Operation) -> Tags:
    """Whose state it is, as far as that is known."""
    if operation.address is not None:
        return _of_scope(blob_scope(operation.address, "")[0])
    return _of_url(operation.ref.url) if isinstance(operation.ref, BlobRef) else {}


def _of_url(url: str) -> Tags:
    """By the blob's name at the end of the URL; what stands before it may look like the beginning of one."""
    start = url.find("/v1/")
    while start >= 0:
        if name := parse_blob_name(url[start + 1 :]):
            return _of_scope(name.scope)
        start = url.find("/v1/", start + 1)
    return {}


@lru_cache(maxsize=256)
def _of_scope(scope: str) -> Tags:
    """A DAG and a task, or an asset; no run and no key, of which there is no end."""
    kind, _, rest = scope.partition("/")
    segments = rest.split("/")
    if kind == "task":
        return {"dag_id": _tag(segments[0]), "task_id": _tag(segments[-2])}
    return {"asset": _tag(rest.partition("=")[2])}


def _tag(segment: str) -> str:
    """The text that a segment was made of, in characters that every back end takes."""
    return _UNSAFE.sub("_", unquote(segment))[:_LONGEST_TAG]
