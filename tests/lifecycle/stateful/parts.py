"""Small parts of the world."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.blobstore import DeleteReport
from offload_backend.lifecycle.adopt import adopt
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.lifecycle.mark import mark
from offload_backend.lifecycle.purge import purge
from offload_backend.lifecycle.records import Candidate
from offload_backend.row import row_text
from tests.lifecycle.stateful.oracle import Blob
from tests.lifecycle.stateful.places import Store

LOCATION = "s3://bucket/prefix"
ACCEPT = ("no-roots", "match", "ratio")
"""What would only keep more; what is left of a run must be safe without it."""

START = datetime(2020, 1, 1, tzinfo=timezone.utc)
ADDRESSES: tuple[StateAddress, ...] = (TaskAddress("dag", "run", "task"), AssetAddress(name="asset"))
KEYS = ("a", "b")
OTHER = "v1/prod-2/task/dag/run/task/-1/a/018f0000-0000-7000-8000-000000000000.json.zst"
FOREIGN = "v1/prod/task/dag/notes.txt"


class Keep(Hooks):
    """Lets every other candidate go while it is told to."""

    def __init__(self) -> None:
        self.is_on = False

    def before_delete(self, batch: Sequence[Candidate]) -> Sequence[Candidate]:
        return batch[::2] if self.is_on else batch


@dataclass
class Pending:
    """A blob whose row may yet be written, and what the row will say."""

    blob: Blob
    address: StateAddress
    key: str
    text: str


class StoreOfWriters:
    """The store as the offloader has it."""

    def __init__(self, store: Store, before_delete: Callable[[Sequence[str]], None]) -> None:
        self._store = store
        self._before_delete = before_delete

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        self._before_delete(names)
        return self._store.delete(names)


def spelled(ref: str, spelling: str) -> str:
    """The text of a row that names the blob, not always as a worker writes it."""
    if spelling == "elsewhere":
        return row_text(ref.replace("s3://bucket", "s3a://alias"))
    if spelling == "within":
        return json.dumps({"copied": [ref.upper()]})
    return row_text(ref)


VERBS: dict[str, Callable[[Collector], object]] = {
    "adopt": lambda collector: adopt(collector, ()),
    "mark": lambda collector: mark(collector, ACCEPT),
    "purge": lambda collector: purge(collector, delete=True, accept=ACCEPT),
    "dry": lambda collector: purge(collector, delete=False, accept=ACCEPT),
}
