"""When a task's space is given back: before a set, now and then, and at the end of the task.

While it runs, the row is read before the next blob is written: nothing comes between a blob and its row.
At its end Airflow calls ``before_stopping`` last of all, in the task's own process, whatever became of the
task: success, failure, skip, deferral, another appointment. Two ends leave what came together since the last
look, a handful of a key, to a collector: a process that is killed, and an attempt that is tried again, which
Airflow replaces, and answers no more, before it tells anybody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any

from pluggy import HookimplMarker

from offload_backend.address import BlobName, StateAddress, blob_scope
from offload_backend.airflow.rows import Place, Rows, on_event_loop, place_for, place_of
from offload_backend.airflow.running import running
from offload_backend.knownrefs import LIMIT, Row
from offload_backend.offloader import Offloader
from offload_backend.reclaimer import Reclaimer

__all__ = ["Reclaiming"]

END_SECONDS = 5.0
"""Each for reading and for deleting: Airflow kills what goes on for ``[core] task_success_overtime``, 20 s."""
_log = logging.getLogger(__name__)
_hookimpl = HookimplMarker("airflow")


class Reclaiming:
    """What one process does for the space of its task. Costs nothing where no task runs."""

    def __init__(self, offloader: Offloader, reclaimer: Reclaimer, rows: Rows) -> None:
        self._offloader = offloader
        self._reclaimer = reclaimer
        self._rows = rows
        self._places: OrderedDict[Row, Place] = OrderedDict()
        self._cleared: set[Row] = set()
        self._listens = False

    def before_set(self, address: StateAddress, key: str) -> None:
        """Delete what earlier sets of this key left behind, if it is time to, and if a row can be read here."""
        row = blob_scope(address, key)
        place = self._places.get(row) or self._found(row, place_for(address, key))
        if place is None or not self._reclaimer.is_due(row) or on_event_loop():
            return
        now = self._rows.read(place)
        self._reclaimer.delete(self._reclaimer.superseded(row, now.named if now else None))

    def was_read(self, text: str) -> None:
        """The text came from a row, which may be overwritten or cleared before the task ends."""
        blob = self._offloader.blob_of(text)
        if blob is not None and (blob.scope, blob.key) not in self._places and running("ti") is not None:
            self._found((blob.scope, blob.key), place_of(blob))

    def clears(self, address: StateAddress) -> None:
        """The address's rows are gone, or will be as soon as the task has succeeded: found out at its end."""
        self._cleared.update(self._reclaimer.rows_of(address))

    def place_of(self, blob: BlobName) -> Place | None:
        """Where the blob's row is: also for a key that was set here and that the name does not tell."""
        return self._places.get((blob.scope, blob.key)) or place_of(blob)

    @_hookimpl
    def before_stopping(self, component: Any) -> None:  # noqa: ARG002 - Airflow passes arguments by name
        """The end of the task: leave one blob a key, the one that its row names."""
        if not on_event_loop():
            self._delete(self._left_over(time.monotonic() + END_SECONDS))

    def _left_over(self, deadline: float) -> list[str]:
        dead: list[str] = []
        places = [
            (row, place)
            for row in {*self._reclaimer.overwritten_rows(), *self._cleared}
            if (place := self._places.pop(row, None))
        ]
        if not places or not self._rows.is_in_step(places[0][1]):
            return dead
        for row, place in places:
            now = self._rows.read(place) if time.monotonic() < deadline else None
            if now is None:
                break
            if now.named is not None:
                dead += self._reclaimer.outlived(row, now.named)
            elif row in self._cleared and self._rows.is_gone(place):
                dead += self._reclaimer.died(row)
        self._cleared.clear()
        return dead

    def _delete(self, dead: list[str]) -> None:
        """In a thread that the process does not wait for: a store that hangs must not fail a finished task."""
        if dead:
            thread = threading.Thread(target=self._reclaimer.delete, args=(dead,), daemon=True)
            thread.start()
            thread.join(END_SECONDS)
            if thread.is_alive():
                _log.warning("%d dead blobs may be left behind: the store does not answer", len(dead))

    def _found(self, row: Row, place: Place | None) -> Place | None:
        if place is None:
            return None
        self._places[row] = place
        if len(self._places) > LIMIT:
            self._places.popitem(last=False)
        if not self._listens:
            from airflow.sdk.listener import get_listener_manager

            get_listener_manager().add_listener(self)
            self._listens = True
        return place
