"""Whose a blob is: a ref counts only in a row of the state that its blob was written for.

Rows are data that others can write, and a ref may be copied from one row to another. So a value is read, and
a blob deleted, by what its name says of whose state it is, never by the row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from offload_backend.address import StateAddress, blob_scope, without_index
from offload_backend.errors import ForeignRefError

__all__ = ["IsOwn", "of_address", "of_row", "require_own"]

IsOwn: TypeAlias = "Callable[[str, str | None], bool]"
"""Whether state is one's own, by its scope and, where that is told, its key, both as names of blobs have them."""


def of_row(address: StateAddress, key: str) -> IsOwn:
    """Only what was written for this very row."""
    row = blob_scope(address, key)
    return lambda scope, encoded: (scope, row[1] if encoded is None else encoded) == row


def of_address(address: StateAddress, *, all_map_indices: bool = False) -> IsOwn:
    """What was written for any key of the address, or of its whole task."""
    own, _ = blob_scope(address, "")
    if all_map_indices:
        return lambda scope, _: without_index(scope) == without_index(own)
    return lambda scope, _: scope == own


def require_own(is_own: IsOwn | None, *places: tuple[str, str | None]) -> None:
    """Raise :class:`ForeignRefError` unless one of the scopes, with its key, is own; ``None`` asks for nothing."""
    if is_own is not None and not any(is_own(scope, key) for scope, key in places):
        raise ForeignRefError(
            "the row names a value that was stored for other state",
            hint="somebody wrote this ref into the row: set the key again, or delete it; if rows were moved on "
            "purpose, set [offload_backend] isolation = deployment",
        )
