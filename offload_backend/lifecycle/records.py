"""What the collector keeps in the store: layout and formats, version 1 (``docs/formats.md``).

::

    v1/<deployment>/_gc/owner/<uuid>.json            whose blobs these are; the newest counts
    v1/<deployment>/_gc/canary/<uuid>.json.zst       a blob that every listing and every reading of roots must show
    v1/<deployment>/_gc/stopped/<owner>.json         no run begins before the next adoption
    v1/<deployment>/_gc/runs/<sequence>-<uuid>/marker.json
    v1/<deployment>/_gc/runs/<sequence>-<uuid>/listing/<shard>-<uuid>.jsonl.gz
    v1/<deployment>/_gc/runs/<sequence>-<uuid>/roots-<sequence>.json
    v1/<deployment>/_gc/runs/<sequence>-<uuid>/manifest.jsonl.gz
    v1/<deployment>/_gc/runs/<sequence>-<uuid>/purge/<batch>.intent.json, <batch>.result.json
    v1/<deployment>/_gc/pins/<blob id>.json
    v1/<deployment>/_gc/restored/<uuid>.jsonl.gz
    v1/<deployment>/_gc/doctor/<uuid>.json           what offload doctor puts, reads and deletes

Nothing here is ever overwritten, and no name here is a blob's by the key grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from offload_backend.address import deployment_prefix, parse_blob_name
from offload_backend.errors import CollectorError, Refusal
from offload_backend.lifecycle.report import Counts, Limits, Tally

__all__ = [
    "VERSION",
    "Candidate",
    "Layout",
    "ManifestHeader",
    "Marker",
    "Owner",
    "from_json",
    "moment",
    "moment_text",
    "to_json",
]

VERSION = 1
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RUN = re.compile(rf"runs/(?P<run>(?P<sequence>[0-9]{{10,}})-{_UUID})/(?P<rest>.+)")
_BLOB_ID = re.compile(_UUID)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Layout:
    """Names of a deployment's control objects."""

    deployment: str

    @property
    def everything(self) -> str:
        """Prefix of all that is stored for the deployment."""
        return deployment_prefix(self.deployment)

    @property
    def control(self) -> str:
        """Prefix of all control objects."""
        return f"{self.everything}_gc/"

    def owner(self, owner_id: str) -> str:
        """Name of the owner's record."""
        return f"{self.control}owner/{owner_id}.json"

    def canary(self, owner_id: str) -> str:
        """Name of the canary: it has the id of the owner whose adoption wrote it."""
        return f"{self.control}canary/{owner_id}.json.zst"

    def stopped(self, owner_id: str) -> str:
        """Name of the record that says that no run of this owner begins any more."""
        return f"{self.control}stopped/{owner_id}.json"

    def of_owner(self, owner_id: str) -> tuple[str, ...]:
        """Names of all that an owner has, whether or not they are there."""
        return self.owner(owner_id), self.canary(owner_id), self.stopped(owner_id)

    def run(self, run: str, *rest: str) -> str:
        """Prefix of a run's objects, or the name of one of them."""
        return f"{self.control}runs/{run}/{'/'.join(rest)}"

    def pin(self, blob_id: str) -> str:
        """Name of the pin of a blob."""
        return f"{self.control}pins/{blob_id}.json"

    def restored(self, record: str) -> str:
        """Name of a record of restored ids."""
        return f"{self.control}restored/{record}.jsonl.gz"

    def probe(self, probe_id: str = "") -> str:
        """Name of a probe of ``offload doctor``, or the prefix of all; no run of the collector looks at them."""
        return f"{self.control}doctor/{probe_id}{'.json' if probe_id else ''}"

    def run_of(self, name: str) -> tuple[str, int, str] | None:
        """Run, sequence and what follows, of an object of a run."""
        match = _RUN.fullmatch(name.removeprefix(self.control))
        return (match["run"], int(match["sequence"]), match["rest"]) if match else None

    def id_of(self, name: str) -> str | None:
        """The id that a control object is named for."""
        match = _BLOB_ID.match(name.rpartition("/")[2])
        return match[0] if match else None


@dataclass(frozen=True)
class Owner:
    """Which database the blobs of a deployment at a location belong to."""

    deployment: str
    kind: str
    fingerprint: str
    location: str
    created: datetime


@dataclass(frozen=True)
class Marker:
    """A run has begun; when, is told by the store's listing of this object."""

    verb: str
    sequence: int
    owner: str


@dataclass(frozen=True)
class Candidate:
    """A blob that no row names: what it was when it was listed, and since when it is a candidate."""

    id: str
    name: str
    size: int
    modified: datetime
    first_marked: datetime

    def __post_init__(self) -> None:
        parsed = parse_blob_name(self.name)
        if parsed is None or parsed.id != self.id or self.size < 0:
            raise ValueError("a candidate is a blob under its own name")


@dataclass(frozen=True)
class ManifestHeader:
    """What a mark found. Only a ``concluded`` one is ever acted upon."""

    run: str
    sequence: int
    state: str
    deployment: str
    location: str
    owner: str
    t0: datetime
    limits: Limits
    counts: Counts
    refusals: tuple[Refusal, ...] = ()
    accepted: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.state not in ("concluded", "refused"):
            raise ValueError("a mark is concluded or refused")


_KINDS: dict[type, str] = {Owner: "owner", Marker: "marker", ManifestHeader: "manifest"}


def to_json(record: Owner | Marker | ManifestHeader | Candidate) -> dict[str, Any]:
    """The record as its format has it, its version first."""
    kind = _KINDS.get(type(record))
    facts = {name: _packed(value) for name, value in vars(record).items()}
    return {f"offload_{kind}": VERSION, **facts} if kind else facts


def from_json(kind: type[_T], found: object) -> _T:
    """The record; :class:`CollectorError` for one that is incomplete, malformed or of another version."""
    name = _KINDS.get(kind)
    try:
        facts = dict(found)  # type: ignore[call-overload]  # the type is judged here
        if name is not None and _integer(facts.pop(f"offload_{name}")) != VERSION:
            raise CollectorError(
                f"the {name} has another format version",
                hint="use the version of offload-backend that wrote it, or a newer one",
            )
        unpack = _UNPACK[kind]
        if facts.keys() != unpack.keys():
            raise ValueError("facts are missing or unknown")  # noqa: TRY301 - told like every other defect
        return kind(**{fact: unpack[fact](facts[fact]) for fact in unpack})
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CollectorError(
            f"a record of the collector cannot be read: {name or 'candidate'}",
            hint="something else wrote below _gc/, or damaged it: look at it, then run offload gc adopt",
        ) from error


def moment_text(when: datetime) -> str:
    """A moment as every format has it: UTC, ISO 8601, microseconds."""
    return when.astimezone(timezone.utc).isoformat(timespec="microseconds")


def moment(text: str) -> datetime:
    """The moment; ``ValueError`` for one without a time zone."""
    when = datetime.fromisoformat(text)
    if when.utcoffset() is None:
        raise ValueError("a moment has a time zone")
    return when


def _packed(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Tally):
        return [value.count, value.bytes]
    if isinstance(value, tuple):
        return [_packed(item) for item in value]
    if isinstance(value, (Limits, Counts, Refusal)):
        return {name: _packed(item) for name, item in vars(value).items()}
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError("a fact has another type")
        return value

    return checked


def _seconds(value: Any) -> timedelta:
    return timedelta(seconds=_float(value))


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError("a fact is not a number")
    return float(value)


def _tally(value: Any) -> Tally:
    count, size = _items(value)
    return Tally(_integer(count), _integer(size))


def _limits(value: Any) -> Limits:
    unpack: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("min_age", "quarantine", "max_skew"), _seconds),
        **dict.fromkeys(("max_ratio", "min_match"), _float),
        "max_count": _integer,
    }
    return Limits(**{name: unpack[name](item) for name, item in value.items()})


def _counts(value: Any) -> Counts:
    return Counts(**{name: _tally(item) for name, item in value.items()})


def _refusals(value: Any) -> tuple[Refusal, ...]:
    return tuple(Refusal(**{name: _text(text) for name, text in item.items()}) for item in _items(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _items(value))


_text = _exactly(str)
_integer = _exactly(int)
_items = _exactly(list)
_UNPACK: dict[type, dict[str, Callable[[Any], Any]]] = {
    Owner: {"deployment": _text, "kind": _text, "fingerprint": _text, "location": _text, "created": moment},
    Marker: {"verb": _text, "sequence": _integer, "owner": _text},
    Candidate: {"id": _text, "name": _text, "size": _integer, "modified": moment, "first_marked": moment},
    ManifestHeader: {
        **dict.fromkeys(("run", "state", "deployment", "location", "owner"), _text),
        "sequence": _integer,
        "t0": moment,
        "limits": _limits,
        "counts": _counts,
        "refusals": _refusals,
        "accepted": _texts,
    },
}


def json_bytes(found: dict[str, Any]) -> bytes:
    """A small record as it is stored: one line of ASCII JSON."""
    return json.dumps(found, separators=(",", ":")).encode("ascii") + b"\n"
