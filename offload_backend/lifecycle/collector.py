"""What every verb of the collector works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from offload_backend.blobstore import BlobStore
from offload_backend.lifecycle.hooks import Hooks
from offload_backend.rootsource import RootSource
from offload_backend.settings import Settings

__all__ = ["Collector"]


def _utc_now() -> datetime:
    return datetime.now(tz=timezone.utc)


@dataclass(frozen=True)
class Collector:
    """One deployment's blobs, the roots that keep them, and the rules.

    ``clock`` is this machine's; it is compared with the store's and judges no age.
    """

    settings: Settings
    store: BlobStore
    roots: RootSource
    hooks: Hooks = field(default_factory=Hooks)
    clock: Callable[[], datetime] = _utc_now
