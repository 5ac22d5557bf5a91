"""What every run begins with: is this the right database, the right place, the right time?"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from offload_backend.errors import CollectorError, OffloadError, Refusal, RefusedError
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control, RunEntry
from offload_backend.lifecycle.evidence import Clocks, Standing
from offload_backend.lifecycle.hooks import raised
from offload_backend.lifecycle.records import Layout, Marker, moment, moment_text
from offload_backend.lifecycle.refusals import about_clocks, about_ownership, about_standing, is_behind, remaining
from offload_backend.lifecycle.report import Limits
from offload_backend.location import relative_name
from offload_backend.ref import parse_ref
from offload_backend.rootsource import Ledger

__all__ = ["Run", "ask", "begin", "control_of", "limits_of", "refuse", "require_owner", "skew_of"]
__all__ += ["standing_of"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Run:
    """A run that has begun; ``now`` is its marker's time, by the store's clock. JSON carries it elsewhere."""

    name: str
    sequence: int
    verb: str
    now: datetime
    skew: timedelta
    owner: str
    accepted: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For :meth:`from_json`, in another process."""
        texts = {"now": moment_text(self.now), "skew": self.skew.total_seconds(), "accepted": list(self.accepted)}
        return {**vars(self), **texts}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Run:
        """The run that :meth:`as_json` told."""
        moments = {"now": moment(found["now"]), "skew": timedelta(seconds=found["skew"])}
        return cls(**{**found, **moments, "accepted": tuple(found["accepted"])})


def begin(collector: Collector, verb: str, accept: Collection[str]) -> Run:
    """Preflight, one more run in the database's ledger, and then the marker.

    In this order: a run that is killed in between leaves the database ahead, which is harmless. Raises
    :class:`RefusedError`.
    """
    control = control_of(collector)
    runs = control.runs()
    standing = standing_of(collector, control, max((run.counted for run in runs), default=0))
    _stop_if_behind(control, standing, runs)
    refuse(collector, about_standing(standing), accept)
    ledger, owner = standing.ledger, standing.owner_id
    if ledger is None or owner is None:
        raise CollectorError("neither ledger nor owner, and yet no refusal")
    sequence = ledger.sequence + 1
    collector.roots.record(Ledger(sequence, ledger.canary))
    before = collector.clock()
    name, now = control.begin(Marker(verb, sequence, owner))
    run = Run(name, sequence, verb, now, skew_of(before, now, collector.clock()), owner, tuple(sorted(accept)))
    clocks = Clocks(
        now=now,
        skew=run.skew,
        previous=max((run.began for run in runs if run.began is not None), default=None),
        read_at=standing.origin.read_at,
        max_skew=collector.settings.gc_max_skew,
    )
    refuse(collector, about_clocks(clocks), accept)
    return run


def _stop_if_behind(control: Control, standing: Standing, runs: list[RunEntry]) -> None:
    """Remember that an export made after the last run did not know of it: its database went back.

    Each export takes numbers from the database, so later ones would catch up with the bucket by themselves.
    """
    read_at, owner = standing.origin.read_at, standing.owner_id
    began = [run.began for run in runs if run.began is not None]
    if is_behind(standing) and read_at is not None and owner is not None and began and read_at > max(began):
        control.stop(owner)


def require_owner(collector: Collector) -> None:
    """Refuse where the blobs are another database's: in a copy or a restored one, a row proves nothing.

    For verbs that remove rows and what they name.
    """
    control = control_of(collector)
    refuse(collector, about_ownership(standing_of(collector, control, control.sequence())), ())


def standing_of(collector: Collector, control: Control, bucket_sequence: int) -> Standing:
    """What is known before a run begins."""
    owners = control.owners()
    ledger = collector.roots.ledger()
    return Standing(
        location=collector.store.location,
        settings=collector.settings,
        owner_id=owners[-1] if owners else None,
        owner=control.owner_or_none(owners[-1]) if owners else None,
        origin=collector.roots.origin(),
        ledger=ledger,
        canary=canary_owner(ledger, collector.store.location, control.layout) if ledger is not None else None,
        bucket_sequence=bucket_sequence,
        stopped=bool(owners) and control.is_stopped(owners[-1]),
    )


def canary_owner(ledger: Ledger, location: str, layout: Layout) -> str | None:
    """The id of the owner whose adoption wrote the ledger's canary; ``None`` for a canary that is elsewhere."""
    try:
        ref = parse_ref(ledger.canary)
    except OffloadError:
        return None
    name = relative_name(ref.url, location) if ref is not None else None
    owner = layout.id_of(name) if name else None
    return owner if owner is not None and name == layout.canary(owner) else None


def refuse(collector: Collector, refusals: Collection[Refusal], accept: Collection[str]) -> None:
    """Raise :class:`RefusedError` for those that are not accepted, if any, after telling the hooks."""
    found = remaining(refusals, accept)
    if not found:
        return
    try:
        collector.hooks.on_refused(tuple(found))
    except Exception as error:  # noqa: BLE001 - told as one more refusal, so that it hides none
        found.append(raised("on_refused", error))
    raise RefusedError(found)


def ask(collector: Collector, method: str, call: Callable[[], _T]) -> _T:
    """What a hook answers; one that raises is a refusal. A lazy answer must be exhausted within ``call``."""
    try:
        return call()
    except Exception as error:
        refuse(collector, [raised(method, error)], ())
        raise


def control_of(collector: Collector) -> Control:
    """The deployment's control objects."""
    return Control(collector.store, collector.settings.deployment)


def limits_of(collector: Collector) -> Limits:
    """The settings that a run goes by."""
    settings = collector.settings
    return Limits(
        min_age=settings.gc_min_age,
        quarantine=settings.gc_quarantine,
        max_ratio=settings.gc_max_ratio,
        max_count=settings.gc_max_count,
        min_match=settings.gc_min_match,
        max_skew=settings.gc_max_skew,
    )


def skew_of(before: datetime, now: datetime, after: datetime) -> timedelta:
    """The clock here minus the store's; the store's was read at some moment in between."""
    if now < before:
        return before - now
    return after - now if now > after else timedelta(0)
