"""What an fsspec driver tells of files, in lists and alone, which each driver does in its own way."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from offload_backend.stores.fsspec_errors import is_bucket_missing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["as_moment", "files_below", "moment_of", "protocols_of", "version_of"]

# Their find() takes a prefix relative to the folder and lets the server apply it; elsewhere it may mean another.
_LIST_BY_PREFIX = frozenset({"s3", "s3a", "gs", "gcs"})
_AZURE = frozenset({"abfs", "abfss", "az"})

_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "timeModified", "created")
# What is another after every write.
_VERSIONS = ("generation", "etag", "ETag", "version_id", "VersionId")


def protocols_of(filesystem: AbstractFileSystem) -> set[str]:
    """The schemes that the driver is for."""
    names = filesystem.protocol
    return {names} if isinstance(names, str) else set(names)


def files_below(
    filesystem: AbstractFileSystem, folder: str, beginning: str, *, keeps_objects: bool
) -> Iterable[dict[str, Any]]:
    """Every file below a folder, or an error: fsspec's own ``find`` leaves out folders it cannot read.

    Those whose path in the folder does not begin with ``beginning`` may be missing.
    """
    protocols = protocols_of(filesystem)
    if protocols & _AZURE:
        return _find_in_azure(filesystem, folder, beginning)
    if keeps_objects and _lists_by_itself(filesystem):
        takes_prefix = protocols & _LIST_BY_PREFIX and _takes_prefix(filesystem)
        narrowed = {"prefix": beginning} if beginning and takes_prefix else {}
        found: dict[str, dict[str, Any]] = filesystem.find(folder, detail=True, **narrowed)
        return found.values()
    files: dict[str, dict[str, Any]] = {}
    pending = [folder]
    while pending:
        path = pending.pop()
        for entry in _entries(filesystem, path):
            if entry["type"] != "directory":
                files[entry["name"]] = entry
            elif entry["name"].strip("/") != path.strip("/"):
                pending.append(entry["name"])
    return files.values()


def _lists_by_itself(filesystem: AbstractFileSystem) -> bool:
    """Whether an object store's driver has a listing of its own: a flat one, which fails as a whole."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    kind = type(filesystem)
    asynchronous = getattr(kind, "_find", None)
    return kind.find is not AbstractFileSystem.find or (
        asynchronous is not None and asynchronous is not AsyncFileSystem._find  # noqa: SLF001 - which is overridden
    )


def _takes_prefix(filesystem: AbstractFileSystem) -> bool:
    """Whether this version of the driver declares it; one that does not might ignore it, or fail."""
    return "prefix" in inspect.signature(filesystem.find).parameters


def _find_in_azure(filesystem: AbstractFileSystem, folder: str, beginning: str) -> Iterable[dict[str, Any]]:
    """Every file of a container below the folder whose path in it begins so, or an error.

    By itself, adlfs tells of nothing below a folder that shares its name with a blob, and takes a container that
    does not exist for an empty one.
    """
    found = filesystem.find(folder, detail=True, prefix=beginning)
    if not isinstance(found, dict):
        container, _, rest = folder.partition("/")
        found = filesystem.find(container, detail=True, prefix=f"{rest}/{beginning}")
    if not found:
        _require_container(filesystem, folder)
    return [entry for path, entry in found.items() if path.startswith(f"{folder}/")]


def _require_container(filesystem: AbstractFileSystem, folder: str) -> None:
    """Raise if there is none: only the reading of a blob that is not there tells the two apart."""
    try:
        filesystem.cat_file(f"{folder}/~", start=0, end=1)
    except FileNotFoundError as error:
        if is_bucket_missing(error):
            raise


def _entries(filesystem: AbstractFileSystem, folder: str) -> Iterable[dict[str, Any]]:
    """What is in the folder; nothing if there is none."""
    try:
        found: list[dict[str, Any]] = filesystem.ls(folder, detail=True)
    except FileNotFoundError:
        return []
    return found


def as_moment(value: object) -> datetime | None:
    """A listing's time, with a time zone; ``None`` for what is none."""
    if isinstance(value, str) and value:
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, (int, float)):
        value = datetime.fromtimestamp(value, tz=timezone.utc)
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)


def moment_of(entry: dict[str, Any]) -> datetime | None:
    """When the blob of a listing's entry was written; ``None`` where the entry does not say."""
    return next(filter(None, map(as_moment, map(entry.get, _TIMES))), None)


def version_of(entry: dict[str, Any]) -> tuple[Any, ...] | None:
    """What of a file's entry is another after every write; ``None`` where nothing is sure to be.

    A time alone is not: two writes may have the same. It counts beside an ETag, which S3 makes of the content.
    """
    if not any(map(entry.get, _VERSIONS)):
        return None
    return tuple(map(entry.get, (*_VERSIONS, *_TIMES, "size")))
