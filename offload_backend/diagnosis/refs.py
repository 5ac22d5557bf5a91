"""Checks of what rows hold: refs that this configuration could not read, and those of Airflow's own backend."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from offload_backend.address import parse_blob_name
from offload_backend.diagnosis.case import Case
from offload_backend.diagnosis.finding import Finding, SkippedError, Status, amount, failed, ok, warn
from offload_backend.diagnosis.ownership import rows_of
from offload_backend.errors import ForeignRefError, UnreadableBlobError
from offload_backend.location import location_of, relative_name, shown, without_user
from offload_backend.ref import BlobRef, PeerRef, is_ref, parse_ref, signature_of
from offload_backend.row import ENVELOPE_KEY, open_envelope
from offload_backend.settings import Settings
from offload_backend.settings.keyplaces import key_places

__all__ = ["SECONDS", "Refs"]

SECONDS = 60.0
_ENOUGH = 45.0
"""Seconds after which no further page of rows is read, so that what was seen is told in time."""
_PAGE = 1000
_NOT_KEPT = "if nothing in archives of airflow db clean, pinned or named by hooks is there"
_MEANING: dict[str, tuple[str, str]] = {
    "place": (
        "they lead to {0}, which no configured location covers: get raises ForeignRefError",
        "add it to [offload_backend] read_paths, with conn_id@ if it needs one: read_paths = {0}",
    ),
    "deployment": (
        "they are of the deployment {0!r}: get raises ForeignRefError",
        "correct [offload_backend] deployment if it was renamed",
    ),
    "foreign": (
        "they name no blob of this backend, or break the grammar of refs: get raises ForeignRefError",
        "find out who writes rows; set the keys again",
    ),
    "newer": ("they are of a newer format: get raises UnreadableBlobError", "upgrade offload-backend here"),
    "key": (
        "they need the key {0!r}: get raises UnreadableBlobError",
        "add {0}=<source> to [offload_backend] encryption_keys",
    ),
    "signer": (
        "they are signed with the key {0!r}: get raises UnreadableBlobError",
        "add {0}=<source> to [offload_backend] signing_keys",
    ),
    "unencrypted": (
        "their blobs are not encrypted, and unencrypted_blobs is refuse",
        "set [offload_backend] unencrypted_blobs = accept, run offload rekey, and then set it to refuse again",
    ),
    "unsigned": (
        "they are not signed, and unsigned_refs is refuse: get raises ForeignRefError",
        "set [offload_backend] unsigned_refs = accept, run offload rekey, and then set it to refuse again",
    ),
    "pickle": ("they are pickled, and codec is not pickle: get raises", "set [offload_backend] codec = pickle"),
    "large": (
        "their values are larger than max_value_bytes: get raises",
        "raise [offload_backend] max_value_bytes",
    ),
}
"""What each problem means and what mends it; ``{0}`` is its detail."""


@dataclass
class _Problem:
    rows: int = 0
    example: str = ""


@dataclass
class _Tally:
    """What was met: rows, refs, those of the peer, and problems by kind and detail."""

    rows: int = 0
    refs: int = 0
    peers: int = 0
    complete: bool = False
    places: Counter[str] = field(default_factory=Counter)
    problems: dict[tuple[str, str], _Problem] = field(default_factory=dict)


class Refs:
    """The rows of a database, looked through once, as far as the time allows."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._tally = _Tally()

    def about(self) -> Iterator[Finding]:
        """That every ref could be read with this configuration. No blob is asked for."""
        self._look()
        tally = self._tally
        for (kind, detail), problem in sorted(tally.problems.items()):
            means, mend = (text.format(detail) for text in _MEANING[kind])
            seen = f"{amount(problem.rows, 'ref')}, the first in {problem.example}"
            yield failed(seen, means, mend, setting=kind != "foreign")
        seen = f"{amount(tally.refs, 'ref')} in {amount(tally.rows, 'row')}"
        if not tally.complete:
            means = f"more rows than {_ENOUGH:g} s are enough for: the others were not looked at"
            yield Finding(Status.UNKNOWN, f"{seen}, and not all", means, "offload verify looks at all of them")
        elif not tally.problems:
            yield ok(f"{seen}; this configuration reads them all", "whether the blobs are there: offload verify")
        if tally.complete:
            yield from self._about_old_places()

    def about_peer(self) -> Iterator[Finding]:
        """What Airflow's own backend has left behind."""
        self._case.require("rows")
        if not self._tally.rows and not self._tally.complete:
            raise SkippedError("no rows were looked at")
        tally, path = self._tally, self._case.peer_path
        setting = "[common.io] state_store_objectstorage_path"
        if tally.peers:
            yield warn(
                f"{amount(tally.peers, 'ref')} of the backend that ships with Airflow",
                "they are read, but nothing in them can be verified, and their blobs are never collected; setting "
                "such a key again replaces its ref",
                f"offload migrate in; until then keep {setting}, or its path in [offload_backend] read_paths",
            )
        elif not tally.complete:
            yield Finding(Status.UNKNOWN, "none among the rows that were looked at")
        else:
            may_go = path and location_of(path) != location_of(self._case.settings.path or path)
            yield ok(
                "no row holds a ref of the backend that ships with Airflow",
                f"{setting} may go, {_NOT_KEPT}" if may_go else "",
            )

    def _about_old_places(self) -> Iterator[Finding]:
        for location in map(location_of, self._case.settings.read_paths):
            count = self._tally.places[location]
            move = f"offload migrate move --from {location} brings them to path"
            means = move if count else f"it may go, {_NOT_KEPT}"
            yield ok(f"{amount(count, 'ref')} to {location} of read_paths: {means}")

    def _look(self) -> None:
        end, after = time.monotonic() + _ENOUGH, None
        with rows_of(self._case) as rows:
            while time.monotonic() < end:
                page = rows.page(limit=_PAGE, after=after)
                for found in page:
                    self._see(found.row.text, f"{found.row.address} key {found.row.key!r}")
                if len(page) < _PAGE:
                    self._tally.complete = True
                    return
                after = page[-1]

    def _see(self, row: str, holder: str) -> None:
        self._tally.rows += 1
        text = _ref_in(row)
        if text is None:
            return
        self._tally.refs += 1
        url = without_user(text.partition("#")[0])
        for location in {location_of(path) for path in self._case.settings.read_paths}:
            self._tally.places[location] += relative_name(url, location) is not None
        kind, detail = _problem(text, self._case.settings)
        self._tally.peers += "#" not in text
        if kind:
            problem = self._tally.problems.setdefault((kind, detail), _Problem())
            problem.rows += 1
            problem.example = problem.example or holder


def _ref_in(row: str) -> str | None:
    if ENVELOPE_KEY not in row:
        return None
    try:
        text = open_envelope(json.loads(row))
    except (ValueError, RecursionError):
        return None
    return text if text is not None and is_ref(text) else None


def _problem(text: str, settings: Settings) -> tuple[str, str]:
    """Why a ref could not be read, or empty; and of what there is too little."""
    try:
        ref = parse_ref(text)
    except UnreadableBlobError:
        return "newer", ""
    except ForeignRefError:
        return "foreign", ""
    if ref is None:
        return "", ""
    locations = [location_of(path) for path in (settings.path, *settings.read_paths) if path]
    url = without_user(ref.url) if isinstance(ref, PeerRef) else ref.url
    names = [name for location in locations if (name := relative_name(url, location)) is not None]
    if not names:
        return "place", _place(ref)
    unsigned = _unsigned(text, settings)
    if unsigned != ("", "") or isinstance(ref, PeerRef):
        return unsigned
    return _problem_of_blob(ref, names, settings)


def _problem_of_blob(ref: BlobRef, names: list[str], settings: Settings) -> tuple[str, str]:
    blobs = [blob for name in names if (blob := parse_blob_name(name)) is not None]
    if not blobs:
        return "foreign", ""
    if all(blob.deployment != settings.deployment for blob in blobs):
        return "deployment", blobs[0].deployment
    if ref.key and ref.key not in _ids(settings.encryption_keys):
        return "key", ref.key
    if settings.encryption_keys and settings.unencrypted_blobs == "refuse" and not ref.key:
        return "unencrypted", ""
    if ref.codec == "pickle" and settings.codec != "pickle":
        return "pickle", ""
    return ("large", "") if ref.raw > settings.max_value_bytes else ("", "")


def _unsigned(text: str, settings: Settings) -> tuple[str, str]:
    if not settings.signing_keys:
        return "", ""
    signature = signature_of(text)
    if signature is None:
        return ("unsigned", "") if settings.unsigned_refs == "refuse" else ("", "")
    return ("signer", signature.signer) if signature.signer not in _ids(settings.signing_keys) else ("", "")


def _ids(entries: tuple[str, ...]) -> set[str]:
    return {place.id for place in key_places(entries)}


def _place(ref: BlobRef | PeerRef) -> str:
    """The location a ref of ours was written to; of the peer's, the bucket is all that is certain."""
    url = shown(ref.url)
    if isinstance(ref, BlobRef) and "/v1/" in url:
        return url.partition("/v1/")[0]
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.partition('/')[0]}"
