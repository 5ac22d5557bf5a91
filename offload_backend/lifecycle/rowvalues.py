"""The values of rows, each read as a task reads it, for those who store them elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from offload_backend.isolation import IsOwn, of_row
from offload_backend.lifecycle.remaking import LARGE
from offload_backend.offloader import Offloader
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import FoundRow
    from offload_backend.settings import Settings

__all__ = ["RowValues", "enveloped", "is_own"]


def enveloped(found: FoundRow) -> str | None:
    """What the row's envelope holds, a ref or an inline value; ``None`` for a row of plain JSON."""
    try:
        return open_envelope(json.loads(found.row.text))
    except (ValueError, RecursionError):
        return None


def is_own(settings: Settings, found: FoundRow) -> IsOwn | None:
    """What a ref in the row must have been stored for, as ``isolation`` says; ``None`` asks for nothing."""
    if settings.isolation != "state":
        return None
    ways = [of_row(address, found.row.key) for address in found.addresses]
    return lambda scope, key: any(way(scope, key) for way in ways)


class RowValues:
    """Reads values, verified as far as they can be; what a task would refuse is refused. For any thread."""

    def __init__(self, settings: Settings, open_store: Callable[[str], BlobStore]) -> None:
        self._settings = settings
        self._offloader = Offloader(settings, lambda path: cast("BlobStore", _Watched(open_store(path), self)))
        self._turn = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def of(self, found: FoundRow, text: str) -> Iterator[Any]:
        """The value of the row's text; if it is large, no other one is in memory until the block ends.

        Raises an :class:`~offload_backend.errors.OffloadError` as ``get`` does.
        """
        try:
            yield self._offloader.resolve(text, is_own(self._settings, found))
        finally:
            if getattr(self._mine, "turn", False):
                self._mine.turn = False
                self._turn.release()

    def wait_for_turn(self) -> None:
        """Until this thread is the only one with a large value."""
        if not getattr(self._mine, "turn", False):
            self._turn.acquire()
            self._mine.turn = True


class _Watched:
    """A store whose long blobs are read by one thread at a time: a ref of the peer's does not tell how long."""

    def __init__(self, store: BlobStore, values: RowValues) -> None:
        self._store = store
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, name: str) -> Iterator[bytes]:
        size = 0
        for chunk in self._store.get(name):
            size += len(chunk)
            if size > LARGE:
                self._values.wait_for_turn()
            yield chunk
