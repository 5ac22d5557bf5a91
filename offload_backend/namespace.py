"""The rows of one address, with their values: what task stores and asset stores are made of."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

from offload_backend.address import MAX_KEY
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    InvalidKeyError,
    StoreError,
    concerning,
    may_be_gone,
)
from offload_backend.isolation import of_address, of_row
from offload_backend.observation.observer import Observer
from offload_backend.row import open_envelope, row_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from offload_backend.address import StateAddress
    from offload_backend.corestore import CoreStore, Row
    from offload_backend.isolation import IsOwn
    from offload_backend.offloader import Offloader

__all__ = ["Namespace", "OffloadedValues", "Values", "decoded"]

REPLACEMENTS = 10
"""How often a row may be replaced under a reader before it gives up; each time costs a whole ``set``."""

_log = logging.getLogger(__name__)


class Values(Protocol):
    """How a value becomes the text of a row, and what else must go when rows have gone."""

    def write(self, value: Any, address: StateAddress, key: str) -> str:
        """The row's text; what it refers to is stored when this returns."""
        ...

    def read(self, row: Row) -> Any:
        """The value that was written, or raises."""
        ...

    def replaced(self, address: StateAddress, key: str, text: str) -> None:
        """A commit put another text in the place of the key's, which was this."""
        ...

    def deleted(self, address: StateAddress, key: str, text: str | None) -> None:
        """A commit removed the key's row, whose text was this, or is not known."""
        ...

    def cleared(self, address: StateAddress, texts: list[str], *, all_map_indices: bool) -> None:
        """A commit removed the rows of the address, whose texts were these, as far as is known."""
        ...


class OffloadedValues:
    """Values by our :class:`~offload_backend.offloader.Offloader`.

    What a commit proves dead is deleted at once, unless ``[offload_backend] reclaim`` is ``never``;
    trouble with that is logged and raises nothing. A row whose text was copied from another one proves
    nothing dead, and is not read but with ``[offload_backend] isolation = deployment``.
    """

    def __init__(self, offloader: Offloader) -> None:
        self._offloader = offloader
        self._observer = Observer()

    def write(self, value: Any, address: StateAddress, key: str) -> str:
        """The value's JSON, or an envelope around the ref of its blob."""
        return row_text(self._observer.offload(address, lambda: self._offloader.offload(value, address, key)))

    def read(self, row: Row) -> Any:
        """The value, verified."""
        return self._observer.resolve(row.text, lambda: self._read(row))

    def _read(self, row: Row) -> Any:
        value = decoded(row.text)
        text = open_envelope(value)
        if text is None:
            return value
        by_row = self._offloader.settings.isolation == "state"
        return self._offloader.resolve(text, of_row(row.address, row.key) if by_row else None)

    def replaced(self, address: StateAddress, key: str, text: str) -> None:
        """Delete the superseded blob."""
        self._discard([text], of_row(address, key))

    def deleted(self, address: StateAddress, key: str, text: str | None) -> None:
        """Delete the row's blob."""
        self._discard([] if text is None else [text], of_row(address, key))

    def cleared(self, address: StateAddress, texts: list[str], *, all_map_indices: bool) -> None:
        """Delete the rows' blobs."""
        self._discard(texts, of_address(address, all_map_indices=all_map_indices))

    def _discard(self, texts: Iterable[str], is_own: IsOwn) -> None:
        if self._offloader.settings.reclaim == "never":
            return
        report = self._offloader.discard([ref for text in texts if (ref := _ref_in(text))], is_own)
        self._observer.reclaimed(report)
        if report.failed:
            reasons = ", ".join(sorted(set(report.failed.values())))
            _log.warning("%d dead blobs were left behind: %s", len(report.failed), reasons)


class Namespace:
    """The rows of one address. Keys are strings of at most 512 characters, of any Unicode."""

    def __init__(self, core_store: CoreStore, values: Values, address: StateAddress) -> None:
        self.address = address
        self._core_store = core_store
        self._values = values

    def get(self, key: str, default: Any) -> Any:
        """The value, verified, or ``default`` if there is no row."""
        with concerning(self.address, key):
            row = self._core_store.get(self.address, _checked(key))
            for _ in range(REPLACEMENTS):
                if row is None:
                    return default
                try:
                    return self._values.read(row)
                except (BlobNotFoundError, StoreError) as error:
                    # The row may have been replaced, and its blob deleted, since it was read.
                    current = self._core_store.get(self.address, key) if may_be_gone(error) else row
                    if current is not None and current.text == row.text:
                        raise
                    row = current
            raise BlobNotFoundError(
                "the key was replaced again and again while it was read",
                hint="get it again, or let its writers write less often",
            )

    def set(self, key: str, value: Any, expires_at: datetime | None) -> None:
        """Insert or replace the row.

        If the core store fails, the new blob stays, because the row may have been committed after all.
        """
        with concerning(self.address, key):
            text = self._values.write(value, self.address, _checked(key))
            replaced = self._core_store.set(self.address, key, text, expires_at=expires_at)
            if replaced is not None:
                self._values.replaced(self.address, key, replaced)

    def delete(self, key: str) -> None:
        """Remove the row, if there is one."""
        with concerning(self.address, key):
            text = self._core_store.delete(self.address, _checked(key))
            self._values.deleted(self.address, key, text)

    def clear(self, *, all_map_indices: bool) -> None:
        """Remove every row, or every row of the whole task."""
        with concerning(self.address):
            texts = self._core_store.clear(self.address, all_map_indices=all_map_indices)
            self._values.cleared(self.address, texts, all_map_indices=all_map_indices)


def decoded(text: str) -> Any:
    """The row's JSON; :class:`~offload_backend.errors.BlobCorruptError` for anything else."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise BlobCorruptError("the row is not JSON", hint="set the key again, or delete it") from error


def _ref_in(text: str) -> str | None:
    try:
        return open_envelope(json.loads(text))
    except ValueError:
        return None  # not written by us, and the row is gone already


def _checked(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    if len(key) > MAX_KEY:
        raise InvalidKeyError(
            f"the key has {len(key)} characters", hint=f"use a key of at most {MAX_KEY} characters"
        )
    return key
