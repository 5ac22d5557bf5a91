"""What an fsspec driver's listings tell, which each driver does in its own way."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from offload_backend.stores.fsspec_errors import is_bucket_missing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["as_moment", "entries", "find_in_azure", "lists_by_itself", "takes_prefix"]


def lists_by_itself(filesystem: AbstractFileSystem) -> bool:
    """Whether an object store's driver has a listing of its own: a flat one, which fails as a whole."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    kind = type(filesystem)
    asynchronous = getattr(kind, "_find", None)
    return kind.find is not AbstractFileSystem.find or (
        asynchronous is not None and asynchronous is not AsyncFileSystem._find  # noqa: SLF001 - which is overridden
    )


def takes_prefix(filesystem: AbstractFileSystem) -> bool:
    """Whether this version of the driver declares it; one that does not might ignore it, or fail."""
    return "prefix" in inspect.signature(filesystem.find).parameters


def find_in_azure(filesystem: AbstractFileSystem, folder: str, beginning: str) -> Iterable[dict[str, Any]]:
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


def entries(filesystem: AbstractFileSystem, folder: str) -> Iterable[dict[str, Any]]:
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
