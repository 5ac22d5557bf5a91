"""What one worker process does with values: offload, resolve, give space back, tell hooks."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from offload_backend.address import StateAddress
from offload_backend.airflow.configuration import clears_on_success, load_settings
from offload_backend.airflow.loop import beside_the_loop
from offload_backend.airflow.ownership import Ownership
from offload_backend.airflow.reclaiming import Reclaiming
from offload_backend.airflow.rows import RowNow, Rows, on_event_loop, place_of
from offload_backend.airflow.stats import open_meter
from offload_backend.errors import BlobNotFoundError, ConfigError, StoreError, may_be_gone
from offload_backend.isolation import IsOwn
from offload_backend.observation.observer import Observer
from offload_backend.offloader import Offloader
from offload_backend.reclaimer import Reclaimer
from offload_backend.ref import is_ref

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.lifecycle.hooks import Hooks
    from offload_backend.settings import Settings

__all__ = ["Worker"]

_READS = 5
_log = logging.getLogger(__name__)


class Worker:
    """Configured once, at the first use of state; safe in several threads, on an event loop, after a fork.

    ``reclaim = never`` makes it remember and delete nothing; what others delete it copes with all the same.
    """

    def __init__(self) -> None:
        self.settings = settings = load_settings()
        self._offloader = Offloader(settings, lambda path: open_store(path, settings))
        self._observer = Observer(open_meter())
        self._rows = Rows()
        self.ownership = Ownership(self._rows)
        self._reclaimer: Reclaimer | None = None
        if settings.reclaim == "eager":
            self._reclaimer = Reclaimer(self._offloader, self._tell_reclaimed, self._observer)
            self._reclaiming = Reclaiming(self._offloader, self._reclaimer, self._rows)

    def offload(self, value: Any, address: StateAddress, key: str) -> str:
        """The text for the row, as :meth:`Offloader.offload`."""
        if self._reclaimer is not None:
            self._reclaiming.before_set(address, key)
        text = self._observer.offload(address, lambda: self._offloader.offload(value, address, key))
        if not is_ref(text):
            if self._reclaimer is not None:
                self._reclaimer.wrote_inline(address, key)
            return text
        if self._reclaimer is not None:
            self._reclaimer.wrote(text)
        if self._hooks is not None:
            hooks = self._hooks
            _notified("on_offloaded", lambda: hooks.on_offloaded(address, key, text))
        return text

    def resolve(self, text: str, is_own: IsOwn) -> Any:
        """The value, as :meth:`Offloader.resolve`; under ``isolation = deployment``, whosesoever it is.

        A row that is overwritten or rewritten while its blob is read may lose that blob, whoever deletes
        here; then what the row says now is the answer, also if that is plain JSON.

        Where the row cannot be read again, the store's error is raised: on an event loop, as in a task's ``aget``,
        on which nothing may wait for an answer; for another task's state; for a key that a blob's name does not
        spell out; and for what the peer has stored.

        In a trigger all this is done beside the loop, and others go on meanwhile; what is inline is there at once.
        """
        asked_by = is_own if self.settings.isolation == "state" else None

        def watched() -> Any:
            return self._observer.resolve(text, lambda: self._resolve_row(text, asked_by, _READS))

        if not isinstance(text, str) or not is_ref(text):  # of an envelope, anything may come
            return watched()
        return beside_the_loop(watched)

    def dead_of_key(self, address: StateAddress, key: str) -> list[str]:
        """The row is confirmed gone: what may be deleted."""
        return self._reclaimer.dead_of_key(address, key) if self._reclaimer is not None else []

    def dead_of_scope(self, address: StateAddress) -> list[str]:
        """As :meth:`dead_of_key`, for all rows of the address.

        Nothing under ``clear_on_success``, where the rows may still be there: the end of the task tells.
        """
        if self._reclaimer is None:
            return []
        if clears_on_success():
            self._reclaiming.clears(address)
            return []
        return self._reclaimer.dead_of_scope(address)

    def delete(self, dead: list[str]) -> None:
        """Delete the blobs of these refs; trouble with the store is only logged."""
        if self._reclaimer is not None:
            self._reclaimer.delete(dead)

    def _resolve_row(self, text: str, is_own: IsOwn | None, reads: int) -> Any:
        try:
            return self._resolve(text, is_own)
        except (BlobNotFoundError, StoreError) as error:
            now = self._row_now(text) if may_be_gone(error) else None
            if now is None or now.named in (None, text) or reads == 1:
                raise
        # Airflow itself gives what a row of plain JSON holds to the task, and asks no backend.
        return self._resolve_row(now.named, is_own, reads - 1) if now.named else now.plain

    def _row_now(self, text: str) -> RowNow | None:
        """What the row says now that said ``text`` a moment ago; ``None`` if it cannot be told."""
        blob = self._offloader.blob_read(text)
        if blob is None or on_event_loop():
            return None
        place = self._reclaiming.place_of(blob) if self._reclaimer is not None else place_of(blob)
        return self._rows.read(place) if place else None

    def _resolve(self, text: str, is_own: IsOwn | None) -> Any:
        value = self._offloader.resolve(text, is_own)
        if not is_ref(text):
            return value
        if self._reclaimer is not None:
            self._reclaimer.read(text)
            self._reclaiming.was_read(text)
        if self._hooks is not None:
            hooks = self._hooks
            _notified("on_resolved", lambda: hooks.on_resolved(text))
        return value

    def _tell_reclaimed(self, refs: list[str]) -> None:
        if self._hooks is not None:
            hooks = self._hooks
            _notified("on_reclaimed", lambda: hooks.on_reclaimed(refs))

    @cached_property
    def _hooks(self) -> Hooks | None:
        """The hooks, where there are any; most workers never import their module."""
        if not self.settings.hooks and not _is_any_installed("offload_backend.hooks"):
            return None
        from offload_backend.lifecycle.hooks import load_hooks

        try:
            return load_hooks(self.settings)
        except ConfigError as error:
            _log.warning("no hook is called: %s", error)
            return None


def open_store(path: str, settings: Settings) -> BlobStore:
    """The store of a configured path; a process that keeps its values inline imports none."""
    from offload_backend.airflow import connections

    return connections.open_store(path, settings)


def _is_any_installed(group: str) -> bool:
    """Whether a package has an entry point of the group.

    Airflow has read those of all packages, and a task's process inherits what it found; to read them anew
    takes a task longer than everything else before its first blob.
    """
    try:
        from airflow.sdk._shared.module_loading import entry_points_with_dist as found
    except ImportError:  # a later Airflow
        from importlib.metadata import entry_points

        return bool(entry_points(group=group))
    return next(found(group), None) is not None


def _notified(method: str, call: Any) -> None:
    from offload_backend.lifecycle.hooks import notified

    notified(method, call)
