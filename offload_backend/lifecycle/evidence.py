"""What refusals are judged by: facts that a run has gathered, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from offload_backend.lifecycle.records import Owner
from offload_backend.lifecycle.report import Limits
from offload_backend.rootsource import Ledger, Origin
from offload_backend.settings import Settings

__all__ = ["Clocks", "Findings", "Standing"]


@dataclass(frozen=True)
class Standing:
    """What is known before a run begins. ``canary`` is the owner that the ledger's canary is named for.

    ``stopped`` tells that the bucket was once ahead of an export: later ones only seem to have caught up.
    """

    location: str
    settings: Settings
    owner_id: str | None
    owner: Owner | None
    origin: Origin
    ledger: Ledger | None
    canary: str | None
    bucket_sequence: int
    stopped: bool = False


@dataclass(frozen=True)
class Clocks:
    """``skew`` is this machine's clock minus the store's; ``previous`` the newest marker before this run's."""

    now: datetime
    skew: timedelta
    previous: datetime | None
    read_at: datetime | None
    max_skew: timedelta


@dataclass(frozen=True)
class Findings:
    """What listing and roots together show. ``refs`` name blobs of this deployment at this location, the canary
    left out; ``old`` ones are older than the cut-off. ``going`` is how many blobs are to go.
    """

    listed: int
    old_blobs: int
    refs: int
    old_refs: int
    old_refs_found: int
    going: int
    canary_listed: bool
    canary_read: bool
    limits: Limits
