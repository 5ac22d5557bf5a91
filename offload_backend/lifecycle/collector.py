"""What every verb of the collector works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from offload_backend.blobstore import BlobStore
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.rootsource import RootSource
from offload_backend.settings import Settings

__all__ = ["DELETED", "READ", "Collector"]


READ, DELETED = "blobs read", "objects deleted"
"""What can be expected."""


def _nobody_listens(_what: str, _count: int) -> None:
    pass


def _utc_now() -> datetime:
    return datetime.now(tz=timezone.utc)


@dataclass(frozen=True)
class Collector:
    """One deployment's blobs, the roots that keep them, and the rules.

    ``clock`` is this machine's; it is compared with the store's and judges no age. ``expect`` hears how many of a
    thing are to come, as soon as that is known: for whoever shows how far a verb is.
    """

    settings: Settings
    store: BlobStore
    roots: RootSource
    hooks: Hooks = field(default_factory=Hooks)
    clock: Callable[[], datetime] = _utc_now
    expect: Callable[[str, int], None] = _nobody_listens
