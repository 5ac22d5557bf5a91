"""Why nothing may be deleted: pure functions from evidence to refusals, each measured, limited and overridable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from offload_backend.durations import format_duration
from offload_backend.errors import CollectorError, ConfigError, Refusal
from offload_backend.lifecycle.evidence import Clocks, Standing
from offload_backend.lifecycle.records import ManifestHeader
from offload_backend.location import parse_location

__all__ = [
    "ACCEPTABLE",
    "ADOPT",
    "OLDEST_MANIFEST",
    "about_adoption",
    "about_clocks",
    "about_manifest",
    "about_ownership",
    "about_standing",
    "acceptable",
    "is_behind",
    "remaining",
    "unreadable_manifest",
]

LEAST_MIN_AGE = timedelta(hours=24)
OLDEST_MANIFEST = timedelta(days=30)
ACCEPTABLE = frozenset(
    {
        "adopted",
        "location",
        "min-age",
        "commit-window",
        "clock-skew",
        "clock-backwards",
        "no-roots",
        "match",
        "ratio",
        "count",
    }
)
"""Rules that ``--accept`` overrides. The others tell of something that must be mended."""

ADOPT = "if this database is the right one, offload gc adopt; all blobs are then marked from zero"
_MARK = "offload gc mark"
_WHY_BEHIND = {
    False: "it was restored or copied",
    True: "the export was used before, is older than one that was, or the database was restored or copied",
}


def about_standing(standing: Standing) -> list[Refusal]:
    """Refusals before anything is written."""
    rules = (_location, _min_age, _commit_window, _owner, _ledger, _sequence, _replica)
    return [refusal for rule in rules for refusal in rule(standing)]


def about_adoption(standing: Standing) -> list[Refusal]:
    """Refusals of an adoption."""
    return [refusal for rule in (_location, _replica, _adopted) for refusal in rule(standing)]


def about_ownership(standing: Standing) -> list[Refusal]:
    """Refusals of a verb that removes rows, and what they name."""
    return [refusal for rule in (_owner, _sequence, _replica) for refusal in rule(standing)]


def about_clocks(clocks: Clocks) -> list[Refusal]:
    """Refusals once the marker is written."""
    return [*_skew(clocks), *_export_from_the_future(clocks), *_backwards(clocks)]


def about_manifest(
    header: ManifestHeader | None, *, deployment: str, location: str, owner: str, now: datetime
) -> list[Refusal]:
    """Refusals of a purge because of the newest manifest; ``None`` where there is none."""
    if header is None:
        return [_manifest("there is none", "a concluded mark")]
    found = []
    if header.state != "concluded":
        found.append(_manifest(f"the last mark, {header.run}, was {header.state}", "a concluded mark"))
    if header.deployment != deployment:
        found.append(_manifest(f"it is of the deployment {header.deployment!r}", deployment))
    if header.location != location:
        found.append(_manifest(f"it is of the location {header.location}", location))
    if header.owner != owner:
        found.append(_manifest("it was made before the deployment was adopted", "the current owner"))
    if now - header.t0 > OLDEST_MANIFEST:
        found.append(_manifest(f"it is {_days(now - header.t0)} old", _days(OLDEST_MANIFEST)))
    return found


def unreadable_manifest(error: CollectorError) -> Refusal:
    """The refusal for a manifest of another format version, or an incomplete one."""
    return _manifest(error.message, "a complete manifest of this format version")


def remaining(refusals: Iterable[Refusal], accept: Collection[str]) -> list[Refusal]:
    """Those that the operator has not accepted; :class:`ConfigError` for rules that cannot be accepted."""
    unknown = sorted(set(accept) - ACCEPTABLE)
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: cannot be accepted",
            hint=f"the rules that can be accepted are {', '.join(sorted(ACCEPTABLE))}",
        )
    return [refusal for refusal in refusals if refusal.rule not in accept]


def _location(standing: Standing) -> Iterator[Refusal]:
    url = parse_location(standing.location)
    if not url.path and url.scheme != "memory":
        yield acceptable(
            "location",
            f"{standing.location} is a whole bucket",
            "a location below a bucket's root",
            "set [offload_backend] path to a prefix of its own",
        )


def _min_age(standing: Standing) -> Iterator[Refusal]:
    age = standing.settings.gc_min_age
    if age < LEAST_MIN_AGE:
        yield acceptable(
            "min-age",
            f"gc_min_age is {format_duration(age)}",
            f"at least {format_duration(LEAST_MIN_AGE)}",
            "raise [offload_backend] gc_min_age",
        )


def _commit_window(standing: Standing) -> Iterator[Refusal]:
    age, window = standing.settings.gc_min_age, standing.settings.commit_window
    if age <= window:
        yield acceptable(
            "commit-window",
            f"gc_min_age is {format_duration(age)}",
            f"more than commit_window, {format_duration(window)}",
            "raise [offload_backend] gc_min_age",
        )


def _owner(standing: Standing) -> Iterator[Refusal]:
    owner, origin = standing.owner, standing.origin
    if owner is None:
        measured = (
            "the owner's record cannot be read" if standing.owner_id else "nobody has adopted this deployment"
        )
        yield Refusal("owner", measured, "an owner", "offload gc adopt")
        return
    if owner.deployment != standing.settings.deployment:
        yield _foreign_owner(f"the deployment {owner.deployment!r}", repr(standing.settings.deployment))
    if owner.location != standing.location:
        yield _foreign_owner(f"blobs at {owner.location}", standing.location)
    if owner.kind != origin.kind:
        yield _foreign_owner(f"a database of the kind {owner.kind!r}", repr(origin.kind))
    if owner.fingerprint != origin.fingerprint:
        yield _foreign_owner(f"the database {owner.fingerprint}", f"{origin.fingerprint}, {origin.location}")


def _adopted(standing: Standing) -> Iterator[Refusal]:
    owner, origin = standing.owner, standing.origin
    if owner is not None and (owner.kind, owner.fingerprint) != (origin.kind, origin.fingerprint):
        yield acceptable(
            "adopted",
            f"since {owner.created:%Y-%m-%d %H:%M} the blobs belong to {owner.kind} {owner.fingerprint}",
            f"nobody, or {origin.fingerprint}",
            "if that database still has rows for them, give this one a [offload_backend] deployment of its own",
        )


def _ledger(standing: Standing) -> Iterator[Refusal]:
    if standing.owner is None:
        return
    if standing.ledger is None:
        yield Refusal("ledger", "the database has no ledger of the collector", "one, from adopt", ADOPT)
    elif standing.canary != standing.owner_id:
        yield Refusal(
            "ledger", "the database's canary is not the current owner's", f"canary {standing.owner_id}", ADOPT
        )


def is_behind(standing: Standing) -> bool:
    """Whether the bucket has seen runs of which this database, or this export of it, does not know."""
    return standing.ledger is not None and standing.bucket_sequence > standing.ledger.sequence


def _sequence(standing: Standing) -> Iterator[Refusal]:
    sequence = standing.ledger.sequence if standing.ledger is not None else 0
    if is_behind(standing):
        yield Refusal(
            "sequence",
            f"the bucket has seen run {standing.bucket_sequence}, the database only {sequence}: "
            f"{_WHY_BEHIND[standing.origin.read_at is not None]}",
            f"at most run {sequence}",
            ADOPT,
        )
    elif standing.stopped:
        yield Refusal(
            "sequence",
            "the bucket was ahead of an export; that a later one has a higher number proves nothing",
            "an adoption since then",
            ADOPT,
        )


def _replica(standing: Standing) -> Iterator[Refusal]:
    if standing.origin.replica:
        yield Refusal(
            "replica",
            f"{standing.origin.location} is a replica or read-only",
            "the primary",
            "point --core-store at the primary",
        )


def _skew(clocks: Clocks) -> Iterator[Refusal]:
    if abs(clocks.skew) > clocks.max_skew:
        where = "ahead of" if clocks.skew > timedelta(0) else "behind"
        yield acceptable(
            "clock-skew",
            f"this machine's clock is {format_duration(abs(clocks.skew))} {where} the store's",
            format_duration(clocks.max_skew),
            "set the clock, or [offload_backend] gc_max_skew",
        )


def _export_from_the_future(clocks: Clocks) -> Iterator[Refusal]:
    if clocks.read_at is not None and clocks.read_at - clocks.now > clocks.max_skew:
        yield acceptable(
            "clock-skew",
            f"the roots were read {format_duration(clocks.read_at - clocks.now)} after now by the store's clock",
            format_duration(clocks.max_skew),
            "set the clock of the machine that exported the roots, and export again",
        )


def _backwards(clocks: Clocks) -> Iterator[Refusal]:
    if clocks.previous is not None and clocks.now < clocks.previous - clocks.max_skew:
        yield acceptable(
            "clock-backwards",
            f"this run's marker is {format_duration(clocks.previous - clocks.now)} older than the previous run's",
            f"not older by more than {format_duration(clocks.max_skew)}",
            "find out what set the store's clock back",
        )


def acceptable(rule: str, measured: str, limit: str, advice: str) -> Refusal:
    """A refusal that ``--accept`` overrides."""
    return Refusal(rule, measured, limit, f"{advice}; or --accept {rule}")


def _foreign_owner(measured: str, limit: str) -> Refusal:
    return Refusal("owner", f"the blobs belong to {measured}", limit, ADOPT)


def _manifest(measured: str, limit: str) -> Refusal:
    return Refusal("manifest", measured, limit, _MARK)


def _days(duration: timedelta) -> str:
    return f"{duration.days}d"
